/// A piece of Dockerfile, parsed as far as keys, checks and rewriting need it.
package struct DockerfileText: Sendable, Hashable {
  package enum Item: Sendable, Hashable {
    /// A comment or a blank line, with its end.
    case other(String)
    case instruction(Instruction)
  }

  /// Where it was read, for messages.
  package var file: String
  package var items: [Item]

  package var instructions: [Instruction] {
    items.compactMap { if case .instruction(let instruction) = $0 { instruction } else { nil } }
  }

  /// Comments and blank lines build nothing.
  package var isEmpty: Bool { instructions.isEmpty }
}

package struct Instruction: Sendable, Hashable {
  package struct Flag: Sendable, Hashable {
    /// Without `--`; quotes and backslashes are taken from name and value.
    package var name: String
    package var value: String?
    /// As written.
    package var word: String
  }

  package struct Heredoc: Sendable, Hashable {
    package var name: String
    /// Variables inside are replaced by the builder (where the instruction's bodies are at all).
    package var expands: Bool
    package var body: String
  }

  /// In capitals.
  package var keyword: String
  package var line: Int
  package var flags: [Flag]
  /// What follows the flags, continuation lines joined as BuildKit joins them.
  package var rest: String
  /// The elements of the JSON form, where it is one.
  package var json: [String]?
  package var heredocs: [Heredoc]
  /// All lines, with their ends.
  package var raw: String
  /// What follows the flags as it stands in `raw`, with continuations, comments and heredocs.
  package var rawRest: String
  /// The heredocs' lines, terminators included, as they stand in `raw`.
  package var rawHeredocs: String

  /// White space separates; quotes mean nothing (how COPY and ADD read their shell form).
  package var plainWords: [String] {
    json ?? rest.utf8.split(whereSeparator: Self.isBlank).map { String(decoding: $0, as: UTF8.self) }
  }

  /// What BuildKit separates words by.
  static func isBlank(_ byte: UInt8) -> Bool { byte == 32 || byte == 9 || byte == 11 || byte == 12 }
}

extension Instruction {
  /// Words of a shell-like line, quotes and escapes kept as they are.
  static func quotedWords(_ text: String) -> [String] {
    var words: [String] = []
    var word = String.UnicodeScalarView()
    var quote: Unicode.Scalar?
    var escaped = false
    for character in text.unicodeScalars {
      if escaped {
        escaped = false
        word.append(character)
      } else if character == "\\", quote != "'" {
        escaped = true
        word.append(character)
      } else if let open = quote {
        word.append(character)
        if character == open { quote = nil }
      } else if character == "'" || character == "\"" {
        quote = character
        word.append(character)
      } else if character.properties.isWhitespace {
        if !word.isEmpty { words.append(String(word)) }
        word = String.UnicodeScalarView()
      } else {
        word.append(character)
      }
    }
    if !word.isEmpty { words.append(String(word)) }
    return words
  }

  /// A word without its quotes and escapes.
  static func unquoted(_ word: String) -> String {
    var text = String.UnicodeScalarView()
    var quote: Unicode.Scalar?
    var escaped = false
    for character in word.unicodeScalars {
      if escaped {
        // Inside double quotes only some characters can be escaped; the others keep the backslash.
        if quote == "\"", !"\"$\\".unicodeScalars.contains(character) { text.append("\\") }
        text.append(character)
        escaped = false
      } else if character == "\\", quote != "'" {
        escaped = true
      } else if let open = quote {
        if character == open { quote = nil } else { text.append(character) }
      } else if character == "'" || character == "\"" {
        quote = character
      } else {
        text.append(character)
      }
    }
    return String(text)
  }

  /// A literal value as one word that the builder reads as exactly that. `value` has no newline.
  static func quoted(_ value: String) -> String {
    let plain = value.utf8.allSatisfy { byte in
      (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
        || "._/:@+-,".utf8.contains(byte)
    }
    if plain, !value.isEmpty { return value }
    return "\""
      + value.unicodeScalars.reduce(into: "") { text, scalar in
        if "\"\\$".unicodeScalars.contains(scalar) { text.append("\\") }
        text.unicodeScalars.append(scalar)
      } + "\""
  }
}
