/// A `.dockerignore`, read as BuildKit reads it.
package struct IgnoreRules: Sendable {
  package static let fileName = ".dockerignore"

  struct Rule: Sendable, Hashable {
    /// Cleaned, without `!`.
    let text: String
    let isException: Bool
    let line: Int
    fileprivate let pattern: PathPattern
  }

  let rules: [Rule]

  /// `found` is told each line that cannot be read.
  package init(_ text: String, problem found: (_ line: Int, _ message: String) -> Void = { _, _ in }) {
    var rules: [Rule] = []
    for (index, whole) in DockerfileParser.lines(of: text).enumerated() where whole.unicodeScalars.first != "#" {
      var line = Self.trimmed(whole)
      let isException = line.unicodeScalars.first == "!"
      if isException { line = Self.trimmed(String(line.unicodeScalars.dropFirst())) }
      if line.isEmpty {
        if isException { found(index + 1, "'!' without a pattern") }
        continue
      }
      // Nothing in a folder is called like that.
      guard let path = Self.cleaned(line) else { continue }
      guard let pattern = Self.pattern(path) else {
        found(index + 1, "'\(line)' is not a pattern: a set without its end, or a backslash before nothing or a letter")
        continue
      }
      rules.append(Rule(text: path, isException: isException, line: index + 1, pattern: pattern))
    }
    self.rules = rules
  }

  private static func trimmed(_ text: String) -> String {
    let scalars = text.unicodeScalars.drop { $0.properties.isWhitespace }
    guard let last = scalars.lastIndex(where: { !$0.properties.isWhitespace }) else { return "" }
    return String(scalars[...last])
  }

  /// Go's `filepath.Clean`, relative; nil for the folder itself and what is outside of it.
  private static func cleaned(_ path: String) -> String? {
    let isAbsolute = path.hasPrefix("/")
    var parts: [Substring] = []
    for part in path.split(separator: "/") where part != "." {
      if part != ".." {
        parts.append(part)
      } else if !parts.isEmpty {
        parts.removeLast()
      } else if !isAbsolute {
        return nil
      }
    }
    return parts.isEmpty ? nil : parts.joined(separator: "/")
  }

  private static func pattern(_ path: String) -> PathPattern? {
    guard !path.contains("[:") else { return nil }
    var reader = PathPattern.Reader(path)
    var tokens: [PathPattern.Token] = []
    while !reader.isAtEnd {
      if reader.next == "\\" {
        var ahead = reader
        ahead.skip()
        // To a regular expression, which the builder makes of it, `\d` is more than a letter.
        guard let escaped = ahead.next, !escaped.properties.isAlphabetic, escaped.properties.numericType == nil else {
          return nil
        }
      }
      guard let token = reader.token() else { return nil }
      guard token == .many, reader.next == "*" else {
        tokens.append(token)
        continue
      }
      reader.skip()
      let hasSlash = reader.next == "/"
      if hasSlash { reader.skip() }
      if reader.isAtEnd {
        tokens.append(.anything)
      } else if tokens.isEmpty, !hasSlash, !path.dropFirst(2).contains(where: { "*?[]\\".contains($0) }) {
        // The builder takes `**` before plain letters for "ends with".
        tokens.append(.anything)
      } else {
        tokens.append(.folders)
      }
    }
    return PathPattern(tokens)
  }

  /// What the rules say of a path, and what its children need to know. `parent` is nil at the top.
  ///
  /// Rules are asked in order; a folder's match counts for all in it, unless the rule was not asked
  /// because an earlier one had decided: so it is in the builder.
  private func matched(_ path: String, _ parent: [Bool]?) -> (isIgnored: Bool, rules: [Bool]) {
    var isIgnored = false
    var matches = [Bool](repeating: false, count: rules.count)
    for (index, rule) in rules.enumerated() {
      var match = parent?[index] ?? false
      if !match {
        if rule.isException != isIgnored { continue }
        match = rule.pattern.matches(path)
      }
      matches[index] = match
      if match { isIgnored = !rule.isException }
    }
    return (isIgnored, matches)
  }

  /// `path` is relative to the folder of the rules.
  package func ignores(_ path: String) -> Bool {
    var whole = ""
    var last: (isIgnored: Bool, rules: [Bool])?
    for part in path.split(separator: "/") {
      whole += (whole.isEmpty ? "" : "/") + part
      last = matched(whole, last?.rules)
    }
    return last?.isIgnored ?? false
  }

  /// The same rules for the folder's files seen from further up, where it is `folder`.
  func rebased(to folder: String) -> String {
    rules.map { rule in
      var text = rule.text
      // Only at the very beginning is this "ends with".
      if rule.pattern.tokens.first == .anything, text.hasPrefix("**"), text.count > 2, !text.hasPrefix("**/") {
        text = "**/*" + text.dropFirst(2)
      }
      return (rule.isException ? "!" : "") + folder + "/" + text + "\n"
    }.joined()
  }
}
