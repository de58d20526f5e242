import Model

/// One mapping of a definition while it is read: every field is asked for by name, and `finish`
/// reports those that nobody asked for.
final class Fields {
  let file: String
  let line: Int
  let found: Diagnostics
  /// `targets[1].`, empty at the root.
  private let prefix: String
  private var members: [String: YAMLValue.Member] = [:]
  private var asked: [String] = []

  /// Reports and reads nothing when `value` is not a mapping.
  init(_ value: YAMLValue, file: String, prefix: String = "", found: Diagnostics) {
    self.file = file
    self.line = value.line
    self.found = found
    self.prefix = prefix
    guard case .map(let all) = value.content else {
      let field = prefix.isEmpty ? nil : String(prefix.dropLast())
      found.add(file, value.line, field: field, "expected a mapping, found \(value.kind)")
      return
    }
    for member in all {
      if members.updateValue(member, forKey: member.key) != nil {
        found.add(file, member.line, field: prefix + member.key, "is said twice")
      }
    }
  }

  func path(_ name: String) -> String { prefix + name }

  func report(_ name: String, line: Int?, _ message: String, suggestion: Diagnostic.Suggestion? = nil) {
    found.add(file, line ?? self.line, field: path(name), message, suggestion: suggestion)
  }

  /// Nil where the field is absent or says nothing.
  func value(_ name: String) -> YAMLValue? {
    asked.append(name)
    guard let member = members[name] else { return nil }
    if case .null = member.value.content { return nil }
    return member.value
  }

  /// The line of the field's name, else of the mapping.
  func line(of name: String) -> Int { members[name]?.line ?? line }

  func require(_ name: String) -> YAMLValue? {
    let value = value(name)
    if value == nil {
      let close = members.keys.sorted().first { key in
        !asked.contains(key) && NearestName.suggestion(for: key, among: [name]) != nil
      }
      // What is misspelt is reported by finish, once.
      if close == nil || members[name] != nil { report(name, line: line(of: name), "is required") }
    }
    return value
  }

  func finish() {
    for (name, member) in members where !asked.contains(name) {
      report(name, line: member.line, "unknown field", suggestion: NearestName.suggestion(for: name, among: asked))
    }
  }

  // MARK: Scalars

  func text(of value: YAMLValue, _ name: String, maxBytes: Int = 4096) -> Located<String>? {
    guard case .scalar(let text, _) = value.content else {
      report(name, line: value.line, "expected a single value, found \(value.kind)")
      return nil
    }
    guard text.utf8.count <= maxBytes, !text.utf8.contains(0) else {
      report(name, line: value.line, "is longer than \(maxBytes) bytes, or holds a NUL")
      return nil
    }
    return Located(text, line: value.line)
  }

  func string(_ name: String) -> Located<String>? { value(name).flatMap { text(of: $0, name) } }
  func requireString(_ name: String) -> Located<String>? { require(name).flatMap { text(of: $0, name) } }

  func bool(_ name: String, default standard: Bool) -> Bool {
    guard let value = value(name) else { return standard }
    switch value.content {
    case .scalar("true", plain: true): return true
    case .scalar("false", plain: true): return false
    default:
      report(name, line: value.line, "expected true or false")
      return standard
    }
  }

  func integer(_ name: String, in range: ClosedRange<Int>) -> Int? {
    guard let value = value(name) else { return nil }
    guard case .scalar(let text, plain: true) = value.content, let number = Int(text), range.contains(number) else {
      report(name, line: value.line, "expected a whole number from \(range.lowerBound) to \(range.upperBound)")
      return nil
    }
    return number
  }

  /// A name by `Name.isValid`.
  func checkedName(_ text: Located<String>?, _ field: String) -> Located<String>? {
    guard let text else { return nil }
    guard Name.isValid(text.value) else {
      report(field, line: text.line, "'\(text.value)' is not a name: \(Self.nameRule)")
      return nil
    }
    return text
  }

  /// A version by `Name.isTag`.
  func checkedVersion(_ text: Located<String>?, _ field: String) -> Located<String>? {
    guard let text else { return nil }
    guard Name.isTag(text.value) else {
      report(field, line: text.line, "'\(text.value)' is not a version: \(Self.versionRule)")
      return nil
    }
    return text
  }

  static let nameRule = "lower-case letters and digits, separated by '.', '_' or '-', at most 63"
  static let versionRule = "letters, digits, '_', '.' and '-', not first a '.' or '-', at most 128"

  // MARK: Lists and mappings

  static let maxItems = 1000

  func items(_ name: String) -> [YAMLValue] {
    guard let value = value(name) else { return [] }
    return items(of: value, name)
  }

  func items(of value: YAMLValue, _ name: String) -> [YAMLValue] {
    guard case .list(let items) = value.content else {
      report(name, line: value.line, "expected a list, found \(value.kind)")
      return []
    }
    return bounded(items, name, line: value.line)
  }

  func strings(_ name: String) -> [Located<String>] {
    items(name).enumerated().compactMap { text(of: $1, "\(name)[\($0)]") }
  }

  func mappings(_ name: String) -> [Fields] {
    items(name).enumerated().map { Fields($1, file: file, prefix: "\(path(name))[\($0)].", found: found) }
  }

  func mapping(_ name: String) -> Fields? {
    value(name).map { Fields($0, file: file, prefix: "\(path(name)).", found: found) }
  }

  func members(of value: YAMLValue, _ name: String) -> [YAMLValue.Member] {
    guard case .map(let members) = value.content else {
      report(name, line: value.line, "expected a mapping, found \(value.kind)")
      return []
    }
    return bounded(members, name, line: value.line)
  }

  func members(_ name: String) -> [YAMLValue.Member] {
    guard let value = value(name) else { return [] }
    return members(of: value, name)
  }

  private func bounded<Item>(_ items: [Item], _ name: String, line: Int) -> [Item] {
    if items.count > Self.maxItems { report(name, line: line, "more than \(Self.maxItems) entries") }
    return Array(items.prefix(Self.maxItems))
  }
}
