import Foundation
import Yams

/// A YAML or JSON document with the line of everything in it.
struct YAMLValue {
  enum Content {
    case null
    /// `plain`: written without quotes, so that it may be a number or a truth value.
    case scalar(String, plain: Bool)
    case list([YAMLValue])
    case map([Member])
  }

  struct Member {
    let key: String
    let line: Int
    let value: YAMLValue
  }

  let line: Int
  let content: Content

  static let maxBytes = 1024 * 1024
  /// Enough for people; too few for a document that grows when its aliases are followed.
  static let maxAliases = 16

  /// Nil after reporting what is wrong with it.
  static func parse(_ bytes: Data, file: String, into found: Diagnostics) -> YAMLValue? {
    guard bytes.count <= maxBytes else {
      found.add(file, nil, "has \(bytes.count) bytes; a definition may have \(maxBytes)")
      return nil
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      found.add(file, nil, "is not UTF-8")
      return nil
    }
    guard aliases(in: text) <= maxAliases else {
      found.add(file, nil, "more than \(maxAliases) aliases")
      return nil
    }
    do {
      // The encoding is named: by default the library asks the environment.
      let parser = try Parser(yaml: text, encoding: .utf8)
      guard let node = try parser.singleRoot() else {
        found.add(file, 1, "is empty")
        return nil
      }
      return YAMLValue(node, line: 1)
    } catch let error as YamlError {
      report(error, file: file, into: found)
    } catch {
      found.add(file, nil, "cannot be understood: \(error)")
    }
    return nil
  }

  /// Upper bound of the aliases in `text`: a `*` before a letter, after white space or an indicator.
  private static func aliases(in text: String) -> Int {
    var count = 0
    var before: UInt8 = 10
    var star = false
    for byte in text.utf8 {
      if star,
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || byte > 127 || byte == 95
      {
        count += 1
      }
      star = byte == UInt8(ascii: "*") && " \t\r\n[{,:?-".utf8.contains(before)
      before = byte
    }
    return count
  }

  private static func report(_ error: YamlError, file: String, into found: Diagnostics) {
    switch error {
    case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
      .composer(let context, let problem, let mark, _):
      let prefix = context.map { "\($0.text): " } ?? ""
      found.add(file, mark.line, "not YAML: \(prefix)\(problem)")
    case .duplicatedKeysInMapping(let names, let context):
      let list = names.map { "'\($0)'" }.joined(separator: ", ")
      found.add(file, context.mark.line, field: names.first, "\(list) is said twice")
    case .reader(let problem, _, _, _):
      found.add(file, nil, "not YAML: \(problem)")
    default:
      found.add(file, nil, "not YAML")
    }
  }

  private init(_ node: Node, line: Int) {
    let line = node.mark?.line ?? line
    self.line = line
    switch node {
    case .scalar(let scalar):
      let plain = scalar.style == .plain || scalar.style == .any
      if plain, ["", "~", "null", "Null", "NULL"].contains(scalar.string) {
        content = .null
      } else {
        content = .scalar(scalar.string, plain: plain)
      }
    case .sequence(let nodes):
      content = .list(nodes.map { YAMLValue($0, line: line) })
    case .mapping(let mapping):
      content = .map(
        mapping.map { key, value in
          let keyLine = key.mark?.line ?? line
          return Member(key: key.scalar?.string ?? "", line: keyLine, value: YAMLValue(value, line: keyLine))
        })
    case .alias:
      content = .null
    }
  }

  /// For messages.
  var kind: String {
    switch content {
    case .null: "nothing"
    case .scalar: "a single value"
    case .list: "a list"
    case .map: "a mapping"
    }
  }
}

/// A value and the line that says it.
package struct Located<Value: Sendable & Hashable>: Sendable, Hashable {
  package var value: Value
  package var line: Int

  package init(_ value: Value, line: Int) {
    self.value = value
    self.line = line
  }
}
