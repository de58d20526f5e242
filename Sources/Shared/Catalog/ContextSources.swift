import Model

/// The files that a text's paths mean.
struct ContextSources {
  /// What paths are relative to; empty for the catalog itself.
  let folder: String
  let tree: CatalogTree

  struct Problem: Error {
    let message: String
    init(_ message: String) { self.message = message }
  }

  /// `source` relative to the catalog, as the rendered Dockerfile writes it.
  func rewritten(_ source: String) throws(Problem) -> String {
    // A text whose paths are the catalog's already stays as it is.
    if folder.isEmpty { return source }
    return ([folder] + (try parts(of: source))).joined(separator: "/")
  }

  private func parts(of source: String) throws(Problem) -> [String] {
    if source.hasPrefix("/") { throw Problem("'\(source)' is absolute; paths are relative to the \(place)") }
    if source.contains("$") {
      throw Problem("'\(source)' has a variable: which files are meant must be known before the build")
    }
    if source.contains(where: { "\"'\\".contains($0) }) {
      throw Problem(
        "'\(source)' has a quote or a backslash, which is not supported in a path; use the JSON form for blanks")
    }
    let parts = source.split(separator: "/").map(String.init).filter { $0 != "." }
    if parts.contains("..") { throw Problem("'\(source)' leaves the \(place)") }
    if parts.isEmpty, !isApplication {
      throw Problem("'\(source)' is the \(place) as a whole, with its definition; name files or a folder in it")
    }
    return parts
  }

  private var place: String {
    if folder.isEmpty { return "catalog" }
    return isApplication
      ? "application's folder" : folder.hasPrefix("templates/") ? "template's folder" : "fragment's folder"
  }

  /// A folder without definitions, which may be taken as a whole.
  private var isApplication: Bool { folder.hasPrefix(CatalogTree.applicationFolder + "/") }

  /// What `source` (a path or a pattern) matches, relative to the catalog and sorted; never nothing.
  func matches(_ source: String) throws(Problem) -> [String] {
    let parts = try parts(of: source)
    if source.contains("[") {
      throw Problem("'\(source)' has a set of characters; of patterns, only '*' and '?' are supported")
    }
    var places = [folder]
    for part in parts {
      var next: [String] = []
      for place in places {
        if !place.isEmpty, case .symlink = tree[place] {
          throw Problem("'\(source)' passes through the symlink '\(place)'; name what it points to")
        }
        let isPattern = part.contains { $0 == "*" || $0 == "?" }
        let names = isPattern ? children(of: place).filter { Self.matches($0, part) } : [part]
        next += names.map { place.isEmpty ? $0 : "\(place)/\($0)" }.filter(exists)
      }
      places = next
    }
    if places.isEmpty { throw Problem("'\(source)' matches nothing in the \(self.place)") }
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
    guard !folder.isEmpty, !isApplication else { return false }
    let rest = path.dropFirst(folder.count + 1)
    return !rest.contains("/") && CatalogLoader.definitionFiles.contains(String(rest))
  }

  private func children(of folder: String) -> [String] {
    folder.isEmpty ? tree.topNames : tree.names(in: folder)
  }

  private func exists(_ path: String) -> Bool { tree[path] != nil || !tree.entries(below: path).isEmpty }

  /// The files to send for `source`: folders whole, with the symlinks in them as they are.
  func entries(_ source: String) throws(Problem) -> [CatalogTree.Entry] {
    var entries: [CatalogTree.Entry] = []
    for path in try matches(source) {
      if let content = tree[path] {
        entries.append(CatalogTree.Entry(path: path, content: content))
      } else {
        entries += tree.entries(below: path)
      }
    }
    return entries
  }

  /// Go's `filepath.Match` for one part of a path, of `*` and `?` alone.
  static func matches(_ name: String, _ pattern: String) -> Bool {
    let name = Array(name.unicodeScalars)
    let pattern = Array(pattern.unicodeScalars)
    var (n, p) = (0, 0)
    var retry: (n: Int, p: Int)?
    while n < name.count {
      if p < pattern.count, pattern[p] == "*" {
        retry = (n, p)
        p += 1
      } else if p < pattern.count, pattern[p] == "?" || pattern[p] == name[n] {
        (n, p) = (n + 1, p + 1)
      } else if let last = retry {
        retry = (last.n + 1, last.p)
        (n, p) = (last.n + 1, last.p + 1)
      } else {
        return false
      }
    }
    return pattern[p...].allSatisfy { $0 == "*" }
  }
}

extension Instruction {
  /// Where a COPY or ADD gets something from.
  enum Source: Hashable {
    case context(String)
    case heredoc
    case url(String)
    case git(String)
  }

  /// Of a COPY or ADD. With `--from` the words mean files of a stage, and this is empty.
  var sources: [Source] {
    guard keyword == "COPY" || keyword == "ADD", flag("from") == nil else { return [] }
    return plainWords.dropLast().map { word in
      if json == nil, DockerfileParser.heredoc(word) != nil { return .heredoc }
      guard keyword == "ADD" else { return .context(word) }
      if Self.isGit(word) { return .git(word) }
      return Self.isURL(word) ? .url(word) : .context(word)
    }
  }

  func flag(_ name: String) -> Flag? { flags.first { $0.name == name } }

  private static func isURL(_ word: String) -> Bool {
    ["http://", "https://", "ftp://"].contains { word.lowercased().hasPrefix($0) }
  }

  private static func isGit(_ word: String) -> Bool {
    let lower = word.lowercased()
    if ["git://", "ssh://", "git@"].contains(where: lower.hasPrefix) { return true }
    let path = lower.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)[0]
    return isURL(word) && (path.hasSuffix(".git") || path.split(separator: "/").contains { $0.hasSuffix(".git") })
  }

  /// One `--mount` of a RUN.
  struct Mount {
    /// In order, keys in lower case; a key without a value stands for itself.
    var options: [(key: String, value: String?)]

    init(_ flag: Flag) {
      options = (flag.value ?? "").split(separator: ",", omittingEmptySubsequences: false).map { part in
        let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        return (pair[0].lowercased(), pair.count > 1 ? pair[1] : nil)
      }
    }

    subscript(keys: String...) -> String? { options.first { keys.contains($0.key) }?.value }
    func has(_ key: String) -> Bool { options.contains { $0.key == key } }
    var type: String { self["type"] ?? "bind" }
    var isContextBind: Bool { type == "bind" && !has("from") }
    var word: String {
      "--mount="
        + options.map { option in option.value.map { "\(option.key)=\($0)" } ?? option.key }.joined(separator: ",")
    }
  }

  var mounts: [Mount] { keyword == "RUN" ? flags.filter { $0.name == "mount" }.map(Mount.init) : [] }
}

extension DockerfileText {
  /// Every path of the build context that the text names.
  var contextPaths: [String] {
    instructions.flatMap { instruction in
      instruction.sources.compactMap { if case .context(let path) = $0 { path } else { nil } }
        + instruction.mounts.filter(\.isContextBind).compactMap { $0["source", "src"] }
    }
  }
}
