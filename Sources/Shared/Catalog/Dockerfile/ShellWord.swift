/// BuildKit's reading of one word: quotes, backslashes, `$NAME` and the forms of `${NAME…}`. `value`
/// gives a variable's value (nil: it is not set), or throws where nobody can know it.
struct ShellWord {
  typealias Problem = ContextSources.Problem
  typealias Lookup = (String) throws(Problem) -> String?

  private let source: String
  private let scalars: [Unicode.Scalar]
  private let value: Lookup
  private var position = 0
  private var depth = 0
  private static let maxDepth = 32

  static func expanded(_ word: String, value: @escaping Lookup) throws(Problem) -> String {
    var reader = ShellWord(word, value: value)
    return try reader.read(upTo: nil, keepsEscapes: false)
  }

  private init(_ source: String, value: @escaping Lookup) {
    self.source = source
    scalars = Array(source.unicodeScalars)
    self.value = value
  }

  private var next: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

  private mutating func take() -> Unicode.Scalar? {
    guard let scalar = next else { return nil }
    position += 1
    return scalar
  }

  private mutating func read(upTo end: Unicode.Scalar?, keepsEscapes: Bool) throws(Problem) -> String {
    var text = String.UnicodeScalarView()
    while let scalar = next {
      if scalar == end {
        position += 1
        return String(text)
      }
      switch scalar {
      case "'": text += try singleQuoted().unicodeScalars
      case "\"": text += try doubleQuoted(keepsEscapes: keepsEscapes).unicodeScalars
      case "$": text += try variable().unicodeScalars
      case "\\":
        position += 1
        if keepsEscapes { text.append("\\") }
        if let escaped = take() { text.append(escaped) }
      default:
        position += 1
        text.append(scalar)
      }
    }
    if let end { throw Problem("'\(source)' has no '\(end)' where one is expected") }
    return String(text)
  }

  private mutating func singleQuoted() throws(Problem) -> String {
    position += 1
    var text = String.UnicodeScalarView()
    while let scalar = take() {
      if scalar == "'" { return String(text) }
      text.append(scalar)
    }
    throw Problem("'\(source)' has a quote without its end; blanks always separate paths, the JSON form keeps them")
  }

  private mutating func doubleQuoted(keepsEscapes: Bool) throws(Problem) -> String {
    position += 1
    var text = String.UnicodeScalarView()
    while let scalar = next {
      switch scalar {
      case "\"":
        position += 1
        return String(text)
      case "$": text += try variable().unicodeScalars
      case "\\":
        position += 1
        guard let escaped = next else { continue }
        let counts = escaped == "\"" || escaped == "$" || escaped == "\\"
        if keepsEscapes || !counts { text.append("\\") }
        if counts {
          position += 1
          text.append(escaped)
        }
      default:
        position += 1
        text.append(scalar)
      }
    }
    throw Problem("'\(source)' has a quote without its end; blanks always separate paths, the JSON form keeps them")
  }

  // MARK: Variables

  private mutating func name() -> String {
    var name = String.UnicodeScalarView()
    while let scalar = next {
      let isDigit = scalar.properties.numericType == .decimal
      if name.isEmpty, isDigit {
        while let digit = next, digit.properties.numericType == .decimal {
          name.append(digit)
          position += 1
        }
        return String(name)
      }
      if name.isEmpty, "@*#?-$!".unicodeScalars.contains(scalar) {
        position += 1
        return String(scalar)
      }
      guard scalar.properties.isAlphabetic || isDigit || scalar == "_" else { break }
      name.append(scalar)
      position += 1
    }
    return String(name)
  }

  /// Parameters of a shell (`$1`, `$@`) are never set.
  private func lookUp(_ name: String) throws(Problem) -> String? {
    guard let first = name.unicodeScalars.first, first == "_" || first.properties.isAlphabetic else { return nil }
    return try value(name)
  }

  private mutating func variable() throws(Problem) -> String {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.maxDepth else { throw Problem("a word has more than \(Self.maxDepth) variables in each other") }
    position += 1
    guard next == "{" else {
      let name = name()
      return name.isEmpty ? "$" : try lookUp(name) ?? ""
    }
    position += 1
    let name = name()
    let bad = Problem("'\(source)' has a '${' that BuildKit does not read: a name, and at most one modifier")
    guard !name.isEmpty, var operation = take() else { throw bad }
    var emptyIsUnset = false
    switch operation {
    case "}": return try lookUp(name) ?? ""
    case "/": return try replaced(name)
    case ":":
      emptyIsUnset = true
      guard let after = take() else { throw bad }
      operation = after
    default: break
    }
    guard "+-?#%".unicodeScalars.contains(operation) else { throw bad }
    let word = try read(upTo: "}", keepsEscapes: operation == "#" || operation == "%")
    let value = try lookUp(name)
    let isSet = value != nil && !(emptyIsUnset && value == "")
    switch operation {
    case "-": return isSet ? value ?? "" : word
    case "+": return isSet ? word : ""
    case "?":
      guard isSet else { throw Problem("'\(source)': \(name): \(word.isEmpty ? "has no value" : word)") }
      return value ?? ""
    default: return try trimmed(value ?? "", word, operation)
    }
  }

  /// `${NAME#pattern}`, `##`, `%`, `%%`.
  private func trimmed(_ value: String, _ word: String, _ operation: Unicode.Scalar) throws(Problem) -> String {
    let longest = word.unicodeScalars.first == operation
    let pattern = try glob(longest ? String(word.unicodeScalars.dropFirst()) : word)
    let scalars = Array(value.unicodeScalars)
    let lengths = longest ? Array((0...scalars.count).reversed()) : Array(0...scalars.count)
    for length in lengths {
      let part = operation == "#" ? scalars.prefix(length) : scalars.suffix(length)
      guard pattern.matches(part) else { continue }
      let rest = operation == "#" ? scalars.dropFirst(length) : scalars.dropLast(length)
      return rest.reduce(into: "") { $0.unicodeScalars.append($1) }
    }
    return value
  }

  /// `${NAME/pattern/text}` and `${NAME//pattern/text}`: the leftmost, longest match.
  private mutating func replaced(_ name: String) throws(Problem) -> String {
    let all = next == "/"
    if all { position += 1 }
    let pattern = try glob(try read(upTo: "/", keepsEscapes: true))
    let replacement = try read(upTo: "}", keepsEscapes: true)
    guard !pattern.matches([][...]), !replacement.contains("$"), !replacement.contains("\\") else {
      throw Problem("'\(source)' replaces in a way that is not supported: nothing, or by '$' or a backslash")
    }
    let scalars = Array((try lookUp(name) ?? "").unicodeScalars)
    var text = ""
    var start = 0
    var done = false
    while start < scalars.count {
      let end = done ? nil : (start...scalars.count).reversed().first { pattern.matches(scalars[start..<$0]) }
      if let end {
        text += replacement
        start = end
        done = !all
      } else {
        text.unicodeScalars.append(scalars[start])
        start += 1
      }
    }
    return text
  }

  /// `*` and `?`, which here match a slash too.
  private func glob(_ text: String) throws(Problem) -> PathPattern {
    var tokens: [PathPattern.Token] = []
    var isEscaped = false
    for scalar in text.unicodeScalars {
      if isEscaped {
        guard "*?\\}/".unicodeScalars.contains(scalar) else {
          throw Problem("'\(source)' has a backslash that BuildKit does not read in a pattern")
        }
        tokens.append(.literal(scalar))
        isEscaped = false
      } else {
        switch scalar {
        case "\\": isEscaped = true
        case "*": tokens.append(.anything)
        case "?": tokens.append(.set(negated: true, []))
        default: tokens.append(.literal(scalar))
        }
      }
    }
    if isEscaped { throw Problem("'\(source)' has a backslash that BuildKit does not read in a pattern") }
    return PathPattern(tokens)
  }
}
