import ArgumentParser
import Catalog
import Foundation
import Model
import Planner
import Registry

struct CatalogCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "catalog", abstract: "Check a catalog, or make one from what there is.",
    subcommands: [CatalogCheckCommand.self, CatalogInitCommand.self, CatalogImportCommand.self])
}

struct CatalogCheckCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Read every definition and say all that is wrong, with file, line and field.",
    discussion: """
      With --against, a version of a fragment or template that was there at that git revision must still be \
      what it was. A fragment's 'deprecated' and 'description' may change, and a version may go as a whole.

      Examples:
        kiln catalog check
        kiln catalog check --against origin/main
      """)
  @OptionGroup var catalog: CatalogOptions
  @OptionGroup var output: OutputOptions
  @Option(help: "A git revision whose versions must not have changed.") var against: String?

  struct Report: Encodable {
    var products: Int
    var fragments: Int
    var warnings: [String]
  }

  func run() async throws {
    let time = SystemTime()
    let loaded = try await catalog.load(time: time)
    if let against { try await check(loaded, against: against) }
    let found = loaded.catalog
    if output.json {
      let warnings = found.deprecations(on: Day(time.now())).warnings.map(\.description)
      try Output.json(Report(products: found.products.count, fragments: found.fragments.count, warnings: warnings))
    } else {
      Output.write(
        "\(found.settings.name): \(found.products.count) products, \(found.manifests.count) manifests, "
          + "\(found.templates.count) templates, \(found.fragments.count) fragments: nothing wrong\n")
    }
  }

  private func check(_ loaded: LoadedCatalog, against revision: String) async throws {
    let repository = GitRepository(folder: loaded.folder, name: loaded.folder.path)
    guard let commit = try await repository.commit(revision) else {
      throw ValidationError("'\(revision)' is no git revision that \(loaded.folder.path) knows")
    }
    let entries = try await repository.entries(at: commit, below: "./") { file in
      ["fragments/", "templates/"].contains(where: file.hasPrefix)
    }
    let before = try CatalogTree(entries)
    let changes = ReleasedVersions.changes(from: before, to: loaded.tree, revision: revision)
    if !changes.isEmpty { throw CatalogErrors(changes) }
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
  @Flag(help: "Put each fragment between comments that 'kiln catalog init' reads.") var markers = false
  @OptionGroup var catalog: CatalogOptions

  func run() async throws {
    guard let platform = Platform(platform) else { throw ValidationError("'\(platform)' is not a platform") }
    var choice: [String: String] = [:]
    for pair in choices {
      let parts = pair.split(separator: "=", maxSplits: 1).map(String.init)
      guard parts.count == 2 else { throw ValidationError("'\(pair)' is not FRAGMENT=VERSION") }
      choice[parts[0]] = parts[1]
    }
    let loaded = try await catalog.load()
    let unlocked = loaded.catalog.unlockedCatalogs(loaded.lock)
    if !unlocked.isEmpty { throw CatalogErrors(unlocked) }
    let composition = try loaded.catalog.compose(manifest: manifest, choice: choice)
    let rendered = try loaded.catalog.render(composition, platform: platform, lock: loaded.lock)
    let text = markers ? rendered.markedText : rendered.text
    guard let output else {
      Output.write(text)
      if !rendered.ignoreText.isEmpty {
        FileHandle.standardError.write(
          Data("note: fragments ignore files; 'kiln render --output FILE' writes FILE.dockerignore too\n".utf8))
      }
      return
    }
    try Data(text.utf8).write(to: URL(fileURLWithPath: output))
    let ignoreFile = URL(fileURLWithPath: output + ".dockerignore")
    if rendered.ignoreText.isEmpty {
      // One of an earlier render would hide files from docker.
      try? FileManager.default.removeItem(at: ignoreFile)
    } else {
      try Data(rendered.ignoreText.utf8).write(to: ignoreFile)
    }
  }
}
