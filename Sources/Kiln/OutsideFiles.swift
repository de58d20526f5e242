import Catalog
import Foundation
import Model

/// Brings what a catalog takes from outside into its tree: other catalogs' fragments and applications'
/// sources. From there on it is a catalog like any other, also where it is sent to a coordinator.
struct OutsideFiles {
  let catalog: URL

  func adding(to tree: CatalogTree) async throws -> CatalogTree {
    var entries: [CatalogTree.Entry] = []
    for source in tree.outsideSources() {
      entries += try await files(of: source).map { entry in
        CatalogTree.Entry(path: "\(source.folder)/\(entry.path)", content: entry.content)
      }
    }
    return try tree.adding(entries)
  }

  private func files(of source: OutsideSource) async throws -> [CatalogTree.Entry] {
    switch source.place {
    case .folder(let path):
      let folder = URL(fileURLWithPath: path, relativeTo: catalog).standardizedFileURL
      guard case .application(let paths) = source.kind else { return [] }
      return try CatalogTree.files(paths, in: folder)
    case .git(let git):
      let cache = Embedded.folder(for: catalog).appendingPathComponent("git", isDirectory: true)
      let repository = try await GitRepository.fetched(git, relativeTo: catalog, cache: cache)
      switch source.kind {
      case .application(let paths):
        return try await repository.entries(at: git.revision, below: git.path) { file in
          paths.contains { $0.isEmpty || file == $0 || file.hasPrefix($0 + "/") }
        }
      case .catalog:
        let settings = try await repository.entries(
          at: git.revision, below: git.path, where: CatalogTree.files.contains)
        let wanted = ["fragments"] + CatalogTree.contextPaths(in: settings)
        return try await repository.entries(at: git.revision, below: git.path) { file in
          wanted.contains { file == $0 || file.hasPrefix($0 + "/") }
        }
      }
    }
  }
}
