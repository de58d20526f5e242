import ArgumentParser
import Catalog
import Foundation
import Model

struct CatalogImportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import",
    abstract: "Turn a store of the prototype into a catalog that renders the same Dockerfiles.",
    discussion: """
      DIR holds control_plane/data and dockerfiles/templates. What a catalog has no place for is listed on \
      standard error: file, field, why. Exit code 3 says that the catalog was written, but that something in \
      it has to be mended by hand.

      Example:
        kiln catalog import store --output catalog
      """)
  @ArgumentParser.Argument(help: "The store's folder.", completion: .directory) var store: String
  @Option(help: "The catalog's folder: it must not be there, or be empty.") var output: String
  @OptionGroup var format: OutputOptions

  func run() async throws {
    let folder = URL(fileURLWithPath: store, isDirectory: true).standardizedFileURL
    let writer = try DraftWriter(output)
    var entries: [CatalogTree.Entry] = []
    var asked: Set<String> = []
    while case let needed = StoreImport.needed(entries), !needed.isSubset(of: asked) {
      asked.formUnion(needed)
      entries = try CatalogTree.files(asked.sorted(), in: folder, emptyFolders: true)
    }
    try writer.write(try StoreImport.run(entries, name: folder.lastPathComponent), json: format.json)
  }
}
