import Model

extension Instruction {
  typealias Problem = ContextSources.Problem

  /// Where a COPY or ADD gets something from.
  enum Source: Hashable {
    /// Expanded.
    case context(String)
    case heredoc
    case url(String)
    case git(String)
  }

  /// One word of a COPY or ADD, in its scope.
  private func source(_ word: String, _ scope: ArgumentScope) throws(Problem) -> Source {
    if json == nil, DockerfileParser.heredoc(word) != nil { return .heredoc }
    let path = try scope.expanded(word)
    guard keyword == "ADD" else { return .context(path) }
    if Self.isGit(path) { return .git(path) }
    if path.hasPrefix("http://") || path.hasPrefix("https://") { return .url(path) }
    if path.contains("://") { throw Problem("'\(path)' is not a URL that ADD reads: http://, https://, or of git") }
    return .context(path)
  }

  /// The words of a COPY or ADD that mean something outside of the image. With `--from` they mean
  /// files of a stage or an image, and there are none.
  private var sourceWords: [String] {
    guard keyword == "COPY" || keyword == "ADD", flag("from") == nil else { return [] }
    return Array(plainWords.dropLast())
  }

  func flag(_ name: String) -> Flag? { flags.first { $0.name == name } }

  private static func isGit(_ word: String) -> Bool {
    if ["git://", "ssh://", "git@"].contains(where: word.hasPrefix) { return true }
    guard word.hasPrefix("http://") || word.hasPrefix("https://") else { return false }
    let path = word.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)[0]
    return path.split(separator: "/").contains { $0.hasSuffix(".git") }
  }

  /// What an instruction needs of the build context.
  struct ContextPath: Hashable {
    /// Expanded.
    var path: String
    var patterns: Bool
  }

  /// The paths of the build context that it names; throws where a value that they need is missing.
  func contextPaths(_ scope: ArgumentScope) throws(Problem) -> [ContextPath] {
    var paths: [ContextPath] = []
    for word in sourceWords {
      if case .context(let path) = try source(word, scope) { paths.append(ContextPath(path: path, patterns: true)) }
    }
    for mount in mounts where mount.isContextBind {
      guard let source = mount["source", "src"] else { continue }
      paths.append(ContextPath(path: try scope.expanded(source), patterns: false))
    }
    return paths
  }

  /// The words that name something of the build context as they stand, before any value is known.
  var writtenContextPaths: [String] {
    let words = sourceWords.filter { word in
      if json == nil, DockerfileParser.heredoc(word) != nil { return false }
      return keyword != "ADD" || (!Self.isGit(word) && !word.contains("://"))
    }
    return words + mounts.filter(\.isContextBind).compactMap { $0["source", "src"] }
  }

  /// Of each word of a COPY or ADD: does rendering put it behind the fragment's folder?
  func contextWords(_ scope: ArgumentScope) throws(Problem) -> [(word: String, isContextPath: Bool)] {
    let sources = sourceWords.count
    var words: [(word: String, isContextPath: Bool)] = []
    for (index, word) in plainWords.enumerated() {
      var isContextPath = false
      if index < sources, case .context = try source(word, scope) { isContextPath = true }
      words.append((word, isContextPath))
    }
    return words
  }

  /// Does what it takes from outside depend on a variable?
  var hasVariableSources: Bool {
    sourceWords.contains { $0.contains("$") } || mounts.contains { $0["source", "src"]?.contains("$") ?? false }
  }

  /// What is wrong with the things that it takes from outside of the image: all that is known so far.
  func sourceProblems(_ scope: ArgumentScope, in context: ContextSources) -> [Problem] {
    var problems: [Problem] = []
    var empty: [Problem] = []
    func note(_ check: () throws(Problem) -> Void) {
      do {
        try check()
      } catch {
        if error.emptyIn != nil { empty.append(error) } else if !error.isOpen { problems.append(error) }
      }
    }
    for word in sourceWords {
      note { () throws(Problem) in
        switch try source(word, scope) {
        case .context(let path): _ = try context.matches(path)
        case .heredoc: break
        case .url(let url): try checkSum(of: url)
        case .git(let url): try Self.checkCommit(of: url)
        }
        if flag("checksum") != nil, plainWords.count > 2 { throw Problem("--checksum is for one file alone") }
        if flag("checksum") != nil, !Self.isLink(try scope.expanded(word)) {
          throw Problem("--checksum is for what http:// or https:// brings")
        }
      }
    }
    if empty.count == sourceWords.count { problems += empty }
    for mount in mounts where mount.isContextBind {
      note { () throws(Problem) in
        guard let source = mount["source", "src"] else {
          throw Problem("a bind mount without source is the whole context; name what is needed")
        }
        _ = try context.matches(try scope.expanded(source), patterns: false)
      }
    }
    return problems
  }

  private static func isLink(_ path: String) -> Bool {
    (path.hasPrefix("http://") || path.hasPrefix("https://")) && !isGit(path)
  }

  private func checkSum(of url: String) throws(Problem) {
    let checksum = flag("checksum")?.value ?? ""
    guard checksum.hasPrefix("sha256:"), Digest(checksum) != nil else {
      throw Problem(
        "ADD of '\(url)' without a checksum: it can be another file tomorrow", hint: "say --checksum=sha256:…")
    }
  }

  private static func checkCommit(of url: String) throws(Problem) {
    let parts = url.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
    let commit = parts.count > 1 ? parts[1].split(separator: ":", omittingEmptySubsequences: false)[0] : ""
    if commit.utf8.count != 40 || !commit.utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }) {
      throw Problem(
        "ADD of '\(url)' without a commit: a branch or a tag can move", hint: "say #COMMIT with 40 hex digits")
    }
  }

  /// The stages and images that it takes something from, by the names it says.
  var originNames: [String] {
    flags.filter { $0.name == "from" }.compactMap(\.value) + mounts.compactMap { $0["from"] }
      + (keyword == "FROM" ? Array(plainWords.prefix(1)) : [])
  }

  // MARK: Mounts

  /// One `--mount` of a RUN.
  struct Mount {
    /// In order, keys in lower case; a key without a value stands for itself.
    var options: [(key: String, value: String?)]

    init(_ flag: Flag) {
      options = Self.fields(of: flag.value ?? "").map { part in
        let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        return (pair[0].lowercased(), pair.count > 1 ? pair[1] : nil)
      }
    }

    /// Comma-separated; a field in double quotes may have commas, and quotes that are doubled.
    private static func fields(of text: String) -> [String] {
      var fields: [String.UnicodeScalarView] = [String.UnicodeScalarView()]
      var isQuoted = false
      var wasQuote = false
      for scalar in text.unicodeScalars {
        if scalar == "\"" {
          if wasQuote { fields[fields.count - 1].append(scalar) }
          wasQuote = isQuoted && !wasQuote
          isQuoted.toggle()
          continue
        }
        wasQuote = false
        if scalar == ",", !isQuoted {
          fields.append(String.UnicodeScalarView())
        } else {
          fields[fields.count - 1].append(scalar)
        }
      }
      return fields.map { String($0) }
    }

    subscript(keys: String...) -> String? { options.first { keys.contains($0.key) }?.value }
    func has(_ key: String) -> Bool { options.contains { $0.key == key } }
    var type: String { (self["type"] ?? "bind").lowercased() }
    var isContextBind: Bool { type == "bind" && !has("from") }

    /// As a flag's value that is read as this.
    var value: String {
      options.map { option in
        let field = option.value.map { "\(option.key)=\($0)" } ?? option.key
        return field.contains(",") || field.contains("\"") ? "\"\(field.replacing("\"", with: "\"\""))\"" : field
      }.joined(separator: ",")
    }

    /// As a flag that is read as this.
    var word: String {
      value.unicodeScalars.reduce(into: "--mount=") { text, scalar in
        if " \t\u{b}\u{c}'\"\\".unicodeScalars.contains(scalar) { text.append("\\") }
        text.unicodeScalars.append(scalar)
      }
    }
  }

  var mounts: [Mount] { keyword == "RUN" ? flags.filter { $0.name == "mount" }.map(Mount.init) : [] }
}
