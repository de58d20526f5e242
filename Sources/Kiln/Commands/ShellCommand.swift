import ArgumentParser
import Catalog
import Foundation
import KilnExecutor
import Model
import Planner
import RecordStore
import Registry

struct ShellCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "shell",
    abstract: "A shell where a fragment would be built: on its parent, with its files, mounts and arguments.",
    discussion: """
      The fragment's files are in /kiln/context, as its text names them, the layer's Dockerfile is /kiln/Dockerfile; \
      both are copies. Build arguments are in the environment. What stands below is built first where it is not \
      there yet. The container is gone when the shell ends.

      Examples:
        kiln shell hello --at app
        kiln shell hello --at app --platform linux/arm64 --variant app=1.1.0
        kiln shell hello --at app -- ls -l /kiln/context
      """)
  @ArgumentParser.Argument(help: "A product.") var product: String
  @Option(name: .customLong("at"), help: "A fragment: NAME or NAME@VERSION.") var fragment: String
  @Option(help: "A target's platform (default: this machine's, else the first).") var platform: String?
  @Option(help: "A variant as 'kiln plan' names it, needed where several differ here.") var variant: String?
  @ArgumentParser.Argument(parsing: .postTerminator, help: "A command in place of /bin/sh.") var command: [String] = []
  @OptionGroup var catalog: CatalogOptions
  @OptionGroup var log: LogOptions
  @OptionGroup var local: LocalBuildOptions

  func run() async throws {
    let platforms = try platform.map { text in
      guard let platform = Platform(text) else { throw ValidationError("'\(text)' is not a platform") }
      return [platform]
    }
    let loaded = try await catalog.load()
    let work = try Planner.plan(
      catalog: loaded.catalog, lock: loaded.lock,
      request: PlanRequest(products: [product], platforms: platforms ?? [], movesTags: false), catalogRevision: nil)
    let layer = try place(in: work)
    let build = try LocalBuild(loaded, local, quiet: true, log: log)
    let shell = try FragmentShell(
      loaded, layer, of: work, product: product, for: build)
    defer { shell.removeFolder() }
    switch layer.parent {
    case .scratch: throw Failure(.input, code: "no-parent", "\(layer.title) stands on nothing")
    case .base(let base):
      let (images, repository) = try await Sources(catalogFolder: loaded.folder).open(base.source)
      try await shell.load(base.digest, from: images, repository)
    case .layer(let key):
      let outcome = try await build.run(work.below(layer))
      try outcome.mustHavePassed()
      guard let image = outcome.detail.layers.first(where: { $0.key == key })?.image else {
        throw Failure(.infrastructure, code: "no-parent", "layer \(key.short) was built, but its image is not known")
      }
      try await shell.load(image, from: outcome.images, Repositories.layers(.release))
    }
    let status = try await shell.run(command)
    if status != 0 { throw ExitCode(status) }
  }

  private func place(in work: PlannedWork) throws -> PlannedLayer {
    var places = try work.places(of: fragment)
    if let variant {
      let known = Set(places.map(\.cell.variant)).sorted()
      places = places.filter { $0.cell.variant == variant }
      if places.isEmpty {
        throw ValidationError("there is no variant '\(variant)'; there is \(known.joined(separator: ", "))")
      }
    }
    let platforms = Set(places.map(\.layer.platform)).sorted()
    let chosen = platforms.first { $0.description == Self.native } ?? platforms[0]
    places = places.filter { $0.layer.platform == chosen }
    guard let first = places.first, places.allSatisfy({ $0.layer.key == first.layer.key }) else {
      let variants = Set(places.map(\.cell.variant)).sorted().joined(separator: ", ")
      throw ValidationError("'\(fragment)' differs between variants; choose one by --variant: \(variants)")
    }
    return first.layer
  }

  private static var native: String {
    #if arch(arm64)
      "linux/arm64"
    #else
      "linux/amd64"
    #endif
  }
}
