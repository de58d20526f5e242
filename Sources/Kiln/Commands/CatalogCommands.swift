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

struct RenderCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "render", abstract: "Print a manifest as one plain Dockerfile that docker alone can build.")
  @ArgumentParser.Argument(help: "A manifest's name.") var manifest: String
  @Option(help: "The platform whose base is pinned.") var platform = "linux/amd64"
  @Option(name: .customLong("set"), help: "Another version of a fragment: FRAGMENT=VERSION; may be repeated.")
  var choices: [String] = []
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
    Output.write(try loaded.catalog.render(composition, platform: platform, lock: loaded.lock).text)
  }
}
