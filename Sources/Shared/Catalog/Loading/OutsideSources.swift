import Model

/// Files that belong to a catalog but are not in its directory, and where they go in its tree.
package struct OutsideSource: Sendable, Hashable {
  package enum Kind: Sendable, Hashable {
    /// The fragments of another catalog, and what it lets them name.
    case catalog
    /// Of an application's source, what these paths begin with; an empty one is all of it.
    case application([String])
  }

  package var kind: Kind
  package var place: Fragment.ApplicationSource
  /// In the tree.
  package var folder: String
  /// Who says so, for messages.
  package var file: String
}

extension CatalogTree {
  /// What `catalog.yml` and the fragments take from outside. What is wrong with them is said when the
  /// whole tree is loaded.
  package func outsideSources() -> [OutsideSource] {
    let found = Diagnostics()
    let loader = CatalogLoader(tree: self, found: found)
    let settings = loader.settings()
    var sources = settings.catalogs.values.sorted { $0.name < $1.name }.map { catalog in
      OutsideSource(
        kind: .catalog, place: .git(catalog.source), folder: catalog.folder,
        file: CatalogTree.files.first { self[$0] != nil } ?? CatalogTree.files[0])
    }
    for folder in loader.versions(in: "fragments") {
      guard let (path, content) = loader.document("fragment", in: folder.path) else { continue }
      let (root, extra) = loader.context(Fields(content, file: path, found: found), isOwn: true)
      guard case .application(let place) = root else { continue }
      var paths = [".dockerignore"] + extra.map { DockerfileText.fixedPart(of: $0.value) }
      for name in [CatalogLoader.fragmentFile, CatalogLoader.stagesFile] {
        guard let text = CatalogDraft.plainText(self["\(folder.path)/\(name)"]) else { continue }
        let parsed = DockerfileParser.parse(text, file: path, into: found)
        paths += parsed.writtenContextPaths.map(DockerfileText.fixedPart)
      }
      sources.append(
        OutsideSource(
          kind: .application(Set(paths).sorted()), place: place,
          folder: "\(CatalogTree.applicationFolder)/\(folder.id.name)/\(folder.id.version)", file: path))
    }
    return sources
  }

  package func adding(_ more: [Entry]) throws(CatalogErrors) -> CatalogTree {
    more.isEmpty ? self : try CatalogTree(entries + more)
  }
}

extension DockerfileText {
  var writtenContextPaths: [String] { instructions.flatMap(\.writtenContextPaths) }

  /// The parts of a path before the first that stands for several.
  static func fixedPart(of path: String) -> String {
    let parts = path.split(separator: "/").filter { $0 != "." }
    let fixed = parts.prefix { part in !part.contains { "*?[\\$\"'".contains($0) } }
    return fixed.contains("..") ? "" : fixed.joined(separator: "/")
  }
}
