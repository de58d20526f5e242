import Foundation
import Model

/// A catalog that is made from something else, and what of that it could not take over.
package struct CatalogDraft: Sendable {
  package private(set) var files: [String: CatalogTree.Content] = [:]
  /// Each with its place in what it was made from.
  package private(set) var leftOut: [Diagnostic] = []

  var bases: [String: ImageName] = [:]
  private var names: [String: String] = [:]
  /// What each name was given for, in small letters.
  private var given: [String: String] = [:]

  /// What `kiln catalog check` will say of it.
  package var wrong: [Diagnostic] {
    do {
      _ = try Catalog.load(
        CatalogTree(files.map { CatalogTree.Entry(path: $0.key, content: $0.value) }))
      return []
    } catch {
      return error.diagnostics
    }
  }

  /// How many definitions there are in `folder`.
  package func count(_ folder: String) -> Int {
    let depth = ["fragments", "templates"].contains(folder) ? 3 : 2
    return Set(files.keys.map { $0.split(separator: "/") }.filter { $0.first == folder[...] }.map { $0.prefix(depth) })
      .count
  }

  mutating func write(_ path: String, _ text: String) {
    files[path] = .file(Data(text.utf8), executable: false)
  }

  mutating func write(_ entry: CatalogTree.Entry) { files[entry.path] = entry.content }

  mutating func leave(_ item: Diagnostic) { leftOut.append(item) }

  mutating func leave(_ file: String, line: Int? = nil, _ field: String?, _ why: String, hint: String? = nil) {
    leftOut.append(
      Diagnostic(file: file, line: line, field: field, why, suggestion: hint.map(Diagnostic.Suggestion.hint)))
  }

  /// `text` as a valid name; says so where it had to be changed, or could not.
  mutating func name(_ text: String, _ file: String, line: Int? = nil, _ field: String) -> String? {
    if let known = names[text] { return known }
    var name = Name.isValid(text) ? text : ""
    for character in Name.isValid(text) ? "" : text.lowercased() {
      if character.isASCII, character.isLetter || character.isNumber {
        name.append(character)
      } else if !name.isEmpty, name.last != "-" {
        name.append("-")
      }
    }
    name = String(name.prefix(63))
    while name.last == "-" { name.removeLast() }
    guard Name.isValid(name) else {
      leave(file, line: line, field, "'\(text)' is not a name: \(Fields.nameRule)")
      return nil
    }
    // Another name that comes to the same must not take its place.
    let own = name.prefix(60)
    var number = 2
    while let other = given[name], other != text.lowercased() {
      name = "\(own)-\(number)"
      number += 1
    }
    names[text] = name
    given[name] = text.lowercased()
    if name == text { return name }
    leave(file, line: line, field, "'\(text)' is not a name: \(Fields.nameRule); it is called '\(name)' now")
    return name
  }

  /// Notes a base image; nil, having said why, where it cannot be one.
  mutating func base(_ text: String, _ file: String, line: Int? = nil, _ field: String?) -> String? {
    guard let image = ImageName(text) else {
      leave(
        file, line: line, field,
        "'\(text)' cannot be a base image: \(text == "scratch" ? "it is no image" : "not understood")")
      return nil
    }
    if image.digest != nil {
      leave(
        file, line: line, field, "the digest of '\(text)': digests are in catalog.lock",
        hint: "'kiln lock' pins what the tag is now")
    }
    bases[image.baseName] = image
    return image.baseName
  }

  /// Notes the base image `name` that is at `address`: an image's name, or `oci-layout:PATH[:TAG]`.
  mutating func addBase(_ name: String, at address: String) -> Bool {
    var image = ImageName(address)
    if address.hasPrefix(BaseDefinition.layoutPrefix), let whole = ImageName(name) {
      image = whole
      let path = address.dropFirst(BaseDefinition.layoutPrefix.count)
      let parts = path.split(separator: ":", maxSplits: 1).map(String.init)
      image?.source = BaseDefinition.layoutPrefix + (parts.first ?? "")
      image?.tag = parts.count > 1 ? parts[1] : nil
    }
    bases[name] = image
    return image.map { Reference.isSource($0.source) && $0.tag.map(Name.isTag) ?? true } ?? false
  }

  mutating func writeSettings(name: String, context: Set<String>, registry: String? = nil) {
    var text = "name: \(name)\n"
    if let registry { text += "registry: \(Self.quoted(registry))\n" }
    text += bases.isEmpty ? "bases: {}\n" : "bases:\n"
    for (base, image) in bases.sorted(by: { $0.key < $1.key }) {
      text += "  \(Self.quoted(base)):\n    source: \(Self.quoted(image.source))\n"
      text += "    tag: \(Self.quoted(image.tag ?? "latest"))\n"
    }
    if !context.isEmpty {
      text += "# Beside the definitions: what fragments with 'context: catalog' take files from.\ncontext:\n"
      for path in context.sorted() { text += "  - \(Self.quoted(path))\n" }
    }
    write("catalog.yml", text)
  }

  /// In YAML's double quotes.
  static func quoted(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\n": quoted += "\\n"
      case "\t": quoted += "\\t"
      default:
        if scalar.value < 0x20 || scalar.value == 0x7F || scalar.value == 0xFEFF {
          quoted +=
            "\\u" + String(repeating: "0", count: 4 - String(scalar.value, radix: 16).count)
            + String(scalar.value, radix: 16)
        } else {
          quoted.unicodeScalars.append(scalar)
        }
      }
    }
    return quoted + "\""
  }

  static func list(_ texts: [String]) -> String { "[" + texts.map(quoted).joined(separator: ", ") + "]" }

  /// Text with plain line ends and without a byte order mark; nil where it is not UTF-8.
  static func plainText(_ content: CatalogTree.Content?) -> String? {
    guard case .file(let bytes, _) = content, var text = String(validating: bytes, as: UTF8.self) else { return nil }
    if text.unicodeScalars.first == "\u{FEFF}" { text.unicodeScalars.removeFirst() }
    return text.replacing("\r\n", with: "\n").replacing("\r", with: "\n")
  }
}
