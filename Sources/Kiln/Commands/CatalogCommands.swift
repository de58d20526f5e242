import ArgumentParser
import Catalog
import Foundation
import Model
import Planner
import Registry

struct CatalogCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "catalog", abstract: "Check a catalog.", subcommands: [Check.self])

  struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Read every definition and say all that is wrong, with file, line and field.")
    @OptionGroup var catalog: CatalogOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      let loaded = try catalog.load()
      let found = loaded.catalog
      if output.json {
        try Output.json(["products": found.products.count, "fragments": found.fragments.count])
      } else {
        Output.write(
          "\(found.settings.name): \(found.products.count) products, \(found.manifests.count) manifests, "
            + "\(found.templates.count) templates, \(found.fragments.count) fragments: nothing wrong\n")
      }
    }
  }
}

struct LockCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lock",
    abstract: "Pin every base image to a digest per platform, in catalog.lock.",
    discussion: "What is pinned already stays as it is; --refresh looks again on purpose.")
  @OptionGroup var catalog: CatalogOptions
  @Flag(help: "Look again, also at what is pinned.") var refresh = false

  func run() async throws {
    let loaded = try catalog.load()
    let locker = Locker(loaded: loaded, refresh: refresh)
    let lock = try await locker.lock()
    let text = lock.text()
    let file = loaded.folder.appendingPathComponent(Lock.fileName)
    if text == loaded.tree.file(Lock.fileName).map({ String(decoding: $0, as: UTF8.self) }) {
      Output.write("\(Lock.fileName): nothing to change\n")
      return
    }
    try Data(text.utf8).write(to: file, options: .atomic)
    for (name, base) in lock.bases.sorted(by: { $0.key < $1.key }) {
      for (platform, digest) in base.platforms.sorted(by: { $0.key < $1.key }) {
        let old = loaded.lock.bases[name]?.platforms[platform]
        Output.write(
          "\(name) \(platform) \(digest)\(old == digest ? "" : old == nil ? " (new)" : " (was \(old?.short ?? ""))")\n")
      }
    }
  }
}

struct RenderCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "render", abstract: "Print a manifest as one plain Dockerfile that docker alone can build.")
  @ArgumentParser.Argument(help: "A manifest's name.") var manifest: String
  @Option(help: "The platform whose base is pinned.") var platform = "linux/amd64"
  @Option(name: .customLong("set"), help: "Another version of a fragment: FRAGMENT=VERSION; may be repeated.")
  var choices: [String] = []
  @Option(help: "A file to write instead; fragments' .dockerignore files go to FILE.dockerignore, where docker looks.")
  var output: String?
  @OptionGroup var catalog: CatalogOptions

  func run() async throws {
    guard let platform = Platform(platform) else { throw ValidationError("'\(platform)' is not a platform") }
    var choice: [String: String] = [:]
    for pair in choices {
      let parts = pair.split(separator: "=", maxSplits: 1).map(String.init)
      guard parts.count == 2 else { throw ValidationError("'\(pair)' is not FRAGMENT=VERSION") }
      choice[parts[0]] = parts[1]
    }
    let loaded = try catalog.load()
    let composition = try loaded.catalog.compose(manifest: manifest, choice: choice)
    let rendered = try loaded.catalog.render(composition, platform: platform, lock: loaded.lock)
    guard let output else {
      Output.write(rendered.text)
      if !rendered.ignoreText.isEmpty {
        FileHandle.standardError.write(
          Data("note: fragments ignore files; 'kiln render --output FILE' writes FILE.dockerignore too\n".utf8))
      }
      return
    }
    try Data(rendered.text.utf8).write(to: URL(fileURLWithPath: output))
    let ignoreFile = URL(fileURLWithPath: output + ".dockerignore")
    if rendered.ignoreText.isEmpty {
      // One of an earlier render would hide files from docker.
      try? FileManager.default.removeItem(at: ignoreFile)
    } else {
      try Data(rendered.ignoreText.utf8).write(to: ignoreFile)
    }
  }
}
