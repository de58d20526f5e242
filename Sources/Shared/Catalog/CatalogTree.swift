package import Foundation
package import Model

/// The files of a catalog as a value. Everything else about catalogs is a function of it.
package struct CatalogTree: Sendable, Hashable {
  package enum Content: Sendable, Hashable {
    case file(Data, executable: Bool)
    case symlink(target: String)
  }

  package struct Entry: Sendable, Hashable {
    /// Relative to the catalog, `/`-separated.
    package let path: String
    package let content: Content

    package init(path: String, content: Content) {
      self.path = path
      self.content = content
    }
  }

  package static let maxFileBytes = 64 * 1024 * 1024
  package static let maxTotalBytes = 256 * 1024 * 1024
  package static let maxFiles = 20_000
  package static let maxDepth = 32

  /// Folders that hold definitions; nothing else in a catalog's directory is looked at.
  package static let folders = ["fragments", "manifests", "plans", "products", "templates"]
  /// Where the files of other catalogs and of applications' sources are put: never read from a
  /// catalog's directory, but they travel with it.
  package static let foreignFolder = "catalogs"
  package static let applicationFolder = "contexts"
  /// Files beside them, the formats of `catalog` and the lock.
  package static let files = ["catalog.yml", "catalog.yaml", "catalog.json", Lock.fileName]

  /// Sorted by the bytes of their paths.
  package let entries: [Entry]
  private let index: [String: Int]

  /// Paths that Swift holds for equal (two Unicode forms of one name) are refused, as are symlinks
  /// that leave the folder of their fragment or template.
  package init(_ entries: [Entry]) throws(CatalogErrors) {
    let more = Self.contextPaths(in: entries) + [Self.foreignFolder, Self.applicationFolder]
    try self.init(entries) { Self.isDefinition($0) || more.contains(Self.top(of: $0)) }
  }

  init(_ entries: [Entry], keeping: (String) -> Bool) throws(CatalogErrors) {
    let kept = entries.filter { keeping($0.path) }
    let sorted = kept.sorted { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
    var index: [String: Int] = [:]
    let found = Diagnostics()
    for (position, entry) in sorted.enumerated() {
      if index.updateValue(position, forKey: entry.path) != nil {
        found.add(entry.path, nil, "there are two files of this name, which differ only in their Unicode form")
      }
      if entry.path.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) {
        found.add(entry.path, nil, "a control character in a file's name")
      }
      if case .symlink(let target) = entry.content, !Self.stays(link: entry.path, target: target) {
        let place = Self.home(of: entry.path) == nil ? "the catalog" : "the folder of its definition"
        found.add(entry.path, nil, "the symlink to '\(target)' leaves \(place)")
      }
    }
    try found.throwIfAny()
    self.entries = sorted
    self.index = index
  }

  package subscript(path: String) -> Content? { index[path].map { entries[$0].content } }

  /// The bytes of a regular file.
  package func file(_ path: String) -> Data? {
    if case .file(let bytes, _) = self[path] { bytes } else { nil }
  }

  /// All entries below `folder`, which has no slash at its end.
  package func entries(below folder: String) -> ArraySlice<Entry> {
    let prefix = Array((folder + "/").utf8)
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].path.utf8.lexicographicallyPrecedes(prefix) { low = middle + 1 } else { high = middle }
    }
    let end = entries[low...].firstIndex { !$0.path.utf8.starts(with: prefix) } ?? entries.count
    return entries[low..<end]
  }

  /// The names directly below `folder`, sorted.
  package func names(in folder: String) -> [String] {
    var names: [String] = []
    for entry in entries(below: folder) {
      let rest = entry.path.utf8.dropFirst(folder.utf8.count + 1)
      let name = String(decoding: rest.prefix { $0 != UInt8(ascii: "/") }, as: UTF8.self)
      if names.last != name { names.append(name) }
    }
    return Set(names).sorted()
  }

  /// What identifies the catalog where no git revision does.
  package var digest: Digest { Digest(of: tar()) }

  /// Of another catalog's files.
  func digest(of catalog: ForeignCatalog) -> Digest {
    Digest(
      of: TarArchive.write(
        entries(below: catalog.folder).map { entry in
          let path = String(entry.path.dropFirst(catalog.folder.count + 1))
          return TarArchive.Entry(path: path, content: entry.content.archived)
        }))
  }

  /// The catalog as a normalised archive: equal content, equal bytes.
  package func tar() -> Data {
    TarArchive.write(entries.map { TarArchive.Entry(path: $0.path, content: $0.content.archived) })
  }

  static func isDefinition(_ path: String) -> Bool {
    guard let slash = path.firstIndex(of: "/") else { return files.contains(path) }
    return folders.contains(String(path[..<slash]))
  }

  static func top(of path: String) -> String { String(path.prefix { $0 != "/" }) }

  /// What `context` of `catalog.yml` names; what is wrong there is for the loader to say.
  package static func contextPaths(in entries: [Entry]) -> [String] {
    for entry in entries where files.contains(entry.path) && entry.path != Lock.fileName {
      guard case .file(let bytes, _) = entry.content,
        case .map(let members)? = YAMLValue.parse(bytes, file: entry.path, into: Diagnostics())?.content,
        case .list(let items)? = members.first(where: { $0.key == "context" })?.value.content
      else { continue }
      return items.compactMap { if case .scalar(let text, _) = $0.content, isContextPath(text) { text } else { nil } }
    }
    return []
  }

  /// One folder or file beside the definitions.
  static func isContextPath(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.count <= 255 && !text.hasPrefix(".") && !text.hasPrefix("-")
      && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "/") }
      && !(folders + files + [foreignFolder, applicationFolder, "plans"]).contains(text)
  }

  /// The names at the top that fragments with `context: catalog` see, sorted.
  var topNames: [String] {
    Set(entries.map { Self.top(of: $0.path) }).subtracting(Self.files + [Self.foreignFolder, Self.applicationFolder])
      .sorted()
  }

  /// The folder of one version of a fragment, template or application that `path` is in.
  static func home(of path: String) -> [Substring]? {
    let parts = path.split(separator: "/")
    if parts.count > 5, parts[0] == foreignFolder, parts[2] == "fragments" { return Array(parts.prefix(5)) }
    guard parts.count > 3, ["fragments", "templates", applicationFolder].contains(String(parts[0])) else { return nil }
    return Array(parts.prefix(3))
  }

  /// Followed by its letters alone, does a link end where it may? Nothing on a host ever follows it:
  /// the bytes of a link travel as they are into a build's context.
  private static func stays(link: String, target: String) -> Bool {
    guard !target.hasPrefix("/"), !target.isEmpty else { return false }
    let parts = link.split(separator: "/")
    let home = home(of: link) ?? Array(parts.prefix(link.hasPrefix(foreignFolder + "/") ? 2 : 0))
    var place = parts.dropLast()
    for part in target.split(separator: "/") where part != "." {
      if part == ".." {
        guard place.count > home.count else { return false }
        place.removeLast()
      } else {
        place.append(part)
      }
    }
    return true
  }
}

extension CatalogTree.Content {
  package var archived: TarArchive.Entry.Content {
    switch self {
    case .file(let bytes, let executable): .file(bytes, executable: executable)
    case .symlink(let target): .symlink(target: target)
    }
  }
}

extension CatalogTree {
  /// Reads a catalog that travelled as a tar.
  package init(tar: Data, maxBytes: Int = maxTotalBytes) throws(CatalogErrors) {
    let limits = TarArchive.Limits(
      maxArchiveBytes: maxBytes, maxFileBytes: Self.maxFileBytes, maxEntries: 2 * Self.maxFiles)
    let archived: [TarArchive.Entry]
    do {
      archived = try TarArchive.read(tar, limits: limits)
    } catch {
      throw CatalogErrors([Diagnostic(file: "catalog.tar", error.message)])
    }
    let entries = archived.compactMap { item -> Entry? in
      switch item.content {
      case .file(let bytes, let executable): Entry(path: item.path, content: .file(bytes, executable: executable))
      case .symlink(let target): Entry(path: item.path, content: .symlink(target: target))
      case .directory: nil
      }
    }
    guard entries.count <= Self.maxFiles else {
      throw CatalogErrors([Diagnostic(file: "catalog.tar", "more than \(Self.maxFiles) files")])
    }
    try self.init(entries)
  }
}
