import ArgumentParser
import Foundation
import Model
import Planner
import RecordStore
import Registry

struct BuildCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "build",
    abstract: "Build products on this machine alone, with nothing but a container engine.",
    discussion: """
      What was built stays in .kiln beside the catalog (or in KILN_HOME). Interrupted, by Ctrl-C or a kill, \
      the next run goes on where this one stopped. With changes in the catalog that git has not committed, \
      everything is built and tested, but no tag is moved.

      Examples:
        kiln build hello --load              the images go into the container engine
        kiln build hello --output ./images   they are written as OCI layouts
        kiln build hello --push HOST:PORT/PREFIX
        kiln build --plan NAME               what a test plan explores; no tag is moved
        kiln build hello --until core --load up to one fragment, without tests
      """)
  @OptionGroup var catalog: CatalogOptions
  @OptionGroup var request: ProductArguments
  @OptionGroup var output: OutputOptions
  @OptionGroup var log: LogOptions
  @Option(help: "Only the layers up to this fragment; nothing is tested or tagged.") var until: String?
  @Flag(help: "Load the images into the container engine.") var load = false
  @Option(name: .customLong("output"), help: "Write the images as OCI layouts below this folder.") var outputPath:
    String?
  @Option(help: "Push the images below this registry prefix (HOST:PORT/PREFIX).") var push: String?
  @OptionGroup var local: LocalBuildOptions

  func run() async throws {
    guard push == nil || request.platformNames.isEmpty else {
      throw ValidationError("--push with --platform would take the other platforms from the pushed tags; leave one out")
    }
    guard until == nil || (outputPath == nil && push == nil) else {
      throw ValidationError("--until makes no image of a product to write or push; --load takes what it makes")
    }
    let loaded = try await catalog.load()
    let build = try LocalBuild(loaded, local, quiet: output.json, log: log)
    let state = await CatalogState.look(loaded)
    let work = try Planner.plan(
      catalog: loaded.catalog, lock: loaded.lock, request: try request.request(state), catalogRevision: state.revision)
    if let warning = state.warning { Exit.complain("kiln: \(warning)") }
    if let until {
      let (lower, tips) = try work.until(until)
      try await deliver(tips, of: lower, try await build.run(lower))
    } else {
      try await finish(try await build.run(work))
    }
  }

  private func finish(_ outcome: LocalBuild.Outcome) async throws {
    if output.json { try Output.json(outcome.detail) }
    try outcome.mustHavePassed()
    let delivery = ImageDelivery(images: outcome.images, folder: outcome.folder)
    for index in outcome.detail.published {
      if load { try await delivery.load(index, outcome.engine) }
      if let outputPath { try await delivery.write(index, to: URL(fileURLWithPath: outputPath, isDirectory: true)) }
      if let push { try await delivery.push(index, to: push) }
      if output.json { continue }
      for tag in index.tags { Output.write("image  \(index.repository):\(tag) \(index.digest)\n") }
      if index.tags.isEmpty {
        let isNamed = load || push != nil || outputPath != nil
        let name = isNamed ? ":\(index.deliveredTags[0])" : ""
        Output.write("image  \(index.repository)\(name) \(index.digest)\n")
      }
    }
  }

  /// The topmost layers of a build that stops at a fragment.
  private func deliver(_ tips: [PlannedLayer], of work: PlannedWork, _ outcome: LocalBuild.Outcome) async throws {
    if output.json { try Output.json(outcome.detail) }
    try outcome.mustHavePassed()
    let images = Dictionary(
      outcome.detail.layers.compactMap { layer in layer.image.map { (layer.key, $0) } }, uniquingKeysWith: { $1 })
    for tip in tips {
      guard let image = images[tip.key], let fragment = tip.fragment else { continue }
      let product = work.plan.images.first?.repository ?? "kiln"
      let name = "\(product):until-\(fragment.name)-\(tip.key.short)"
      if load {
        let delivery = ImageDelivery(images: outcome.images, folder: outcome.folder)
        try await delivery.load(image, in: Repositories.layers(.release), names: [name], outcome.engine)
      }
      if !output.json { Output.write("image  \(load ? name : tip.title) \(tip.platform) \(image)\n") }
    }
  }
}
