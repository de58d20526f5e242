import Model

/// The files that a text's paths mean.
struct ContextSources {
  /// What paths are relative to; empty for the catalog itself.
  let folder: String
  let tree: CatalogTree
  /// What the folder's .dockerignore takes away.
  private let ignore: IgnoreRules?
  /// For messages, in place of what the folder says.
  private let name: String?

  struct Problem: Error {
    let message: String
    var hint: String?
    /// Nothing is wrong as yet: a value is missing that comes later.
    var isOpen = false
    /// A pattern matches nothing in this folder, which the builder takes where the folder is there and the
    /// instruction has other sources.
    var emptyIn: String?

    init(_ message: String, hint: String? = nil, isOpen: Bool = false, emptyIn: String? = nil) {
      (self.message, self.hint) = (message, hint)
      (self.isOpen, self.emptyIn) = (isOpen, emptyIn)
    }
  }

  init(folder: String, tree: CatalogTree) {
    self.folder = folder
    self.tree = tree
    let file = folder.isEmpty ? nil : tree.file("\(folder)/\(IgnoreRules.fileName)")
    ignore = file.flatMap { String(validating: $0, as: UTF8.self) }.map { IgnoreRules($0) }
    name = nil
  }

  /// The build context of a Dockerfile that is no part of a catalog, put into `folder` of a tree.
  init(buildContext folder: String, tree: CatalogTree, ignore: IgnoreRules?) {
    (self.folder, self.tree, self.ignore) = (folder, tree, ignore)
    name = "build context"
  }

  /// The folder's rules, as a .dockerignore of the catalog would say them.
  var ignoreText: String { ignore?.rebased(to: folder) ?? "" }

  /// A source as it is written, relative to the catalog, as the rendered Dockerfile writes it.
  func rewritten(_ source: String) throws(Problem) -> String {
    // A text whose paths are the catalog's already stays as it is.
    if folder.isEmpty { return source }
    // The builder makes of the rest what it would make of it alone.
    if source.utf8.contains(where: { "$'\"\\".utf8.contains($0) }) { return "\(folder)/\(source)" }
    return ([folder] + (try parts(of: source))).joined(separator: "/")
  }

  /// Of an expanded path; none for the whole folder.
  private func parts(of source: String) throws(Problem) -> [String] {
    if source.hasPrefix("/") { throw Problem("'\(source)' is absolute; paths are relative to the \(place)") }
    var parts: [String] = []
    for part in source.split(separator: "/") where part != "." {
      if part != ".." {
        parts.append(String(part))
      } else if parts.isEmpty {
        throw Problem("'\(source)' leaves the \(place)")
      } else {
        parts.removeLast()
      }
    }
    return parts
  }

  private var place: String {
    if let name { return name }
    if folder.isEmpty { return "catalog" }
    return isApplication
      ? "application's folder" : folder.hasPrefix("templates/") ? "template's folder" : "fragment's folder"
  }

  /// A folder without definitions, which may be taken as a whole.
  private var isApplication: Bool { name != nil || folder.hasPrefix(CatalogTree.applicationFolder + "/") }

  /// What `source` (expanded: a path, or a pattern where those count) matches, relative to the catalog
  /// and sorted; never nothing.
  func matches(_ source: String, patterns: Bool = true) throws(Problem) -> [String] {
    let parts = try parts(of: source)
    if parts.isEmpty, folder.isEmpty || takesDefinition(folder) {
      throw Problem("'\(source)' is the \(place) as a whole, with its definition; name files or a folder in it")
    }
    var places = [folder]
    var emptyIn: String?
    for part in parts {
      var next: [String] = []
      let pattern = patterns && PathPattern.isPattern(part) ? PathPattern(part: part) : nil
      if patterns, pattern == nil {
        if PathPattern.isPattern(part) {
          throw Problem("'\(source)' has a set of characters or a backslash without end")
        }
        if part.utf8.contains(92) { throw Problem("'\(source)' has a backslash, which is no part of a name in a path") }
      }
      if pattern != nil, emptyIn == nil { emptyIn = places.first { !children(of: $0).isEmpty } }
      for place in places {
        if !place.isEmpty, case .symlink = tree[place] {
          throw Problem("'\(source)' passes through the symlink '\(place)'; name what it points to")
        }
        let names = pattern.map { pattern in children(of: place).filter { pattern.matches($0) } } ?? [part]
        next += names.map { place.isEmpty ? $0 : "\(place)/\($0)" }.filter(isVisible)
      }
      places = next
    }
    if places.isEmpty {
      throw Problem("'\(source)' matches nothing in the \(self.place)", emptyIn: emptyIn)
    }
    for place in places {
      if case .symlink = tree[place] {
        throw Problem("'\(source)' names the symlink '\(place)'; name what it points to, or the folder that holds it")
      }
      if isDefinition(place) {
        throw Problem("'\(source)' takes the definition '\(place)' into the image; name the files that are meant")
      }
    }
    return places
  }

  private func isDefinition(_ path: String) -> Bool {
    guard !folder.isEmpty, !isApplication, path.hasPrefix(folder + "/") else { return false }
    let rest = path.dropFirst(folder.count + 1)
    return !rest.contains("/") && CatalogLoader.definitionFiles.contains(String(rest))
  }

  private func takesDefinition(_ folder: String) -> Bool {
    tree.names(in: folder).map { "\(folder)/\($0)" }.contains { isDefinition($0) && isVisible($0) }
  }

  private func children(of folder: String) -> [String] {
    folder.isEmpty ? tree.topNames : tree.names(in: folder)
  }

  private func isIgnored(_ path: String) -> Bool {
    guard let ignore, path.hasPrefix(folder + "/") else { return false }
    return ignore.ignores(String(path.dropFirst(folder.count + 1)))
  }

  /// Is it there, for the builder? A folder whose files are ignored is there, unless it is ignored itself.
  private func isVisible(_ path: String) -> Bool {
    if tree[path] != nil { return !isIgnored(path) }
    let below = tree.entries(below: path)
    return !below.isEmpty && (!isIgnored(path) || below.contains { !isIgnored($0.path) })
  }

  /// What to send for `source`: folders whole, with the symlinks in them as they are. For a pattern that
  /// matches nothing, the folder where the builder looks: `Instruction.sourceProblems` says where that is an
  /// error.
  func entries(_ source: String, patterns: Bool = true) throws(Problem) -> [TarArchive.Entry] {
    var entries: [TarArchive.Entry] = []
    let paths: [String]
    do throws(Problem) {
      paths = try matches(source, patterns: patterns)
    } catch {
      guard let folder = error.emptyIn else { throw error }
      return folder.isEmpty ? [] : [TarArchive.Entry(path: folder, content: .directory)]
    }
    for path in paths {
      if let content = tree[path] {
        entries.append(TarArchive.Entry(path: path, content: content.archived))
        continue
      }
      var folders = Set([path])
      for entry in tree.entries(below: path) {
        if !isIgnored(entry.path) {
          entries.append(TarArchive.Entry(path: entry.path, content: entry.content.archived))
        }
        var parent = entry.path.split(separator: "/").dropLast()
        while parent.count > path.split(separator: "/").count, folders.insert(parent.joined(separator: "/")).inserted {
          parent = parent.dropLast()
        }
      }
      // The builder sends a folder of which it ignores all files.
      entries += folders.sorted().filter { !isIgnored($0) }.map { TarArchive.Entry(path: $0, content: .directory) }
    }
    return entries
  }
}
