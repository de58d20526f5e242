extension DockerfileText {
  /// The arguments that this text declares, in order.
  package var arguments: [Argument] { instructions.filter { $0.keyword == "ARG" }.flatMap(\.declaredArguments) }

  /// The names that this text sets by ENV.
  var environment: Set<String> { Set(instructions.filter { $0.keyword == "ENV" }.flatMap(\.environmentNames)) }

  func first(_ keyword: String) -> Instruction? { instructions.first { $0.keyword == keyword } }
}

extension Instruction {
  /// Of an ARG.
  var declaredArguments: [Argument] {
    Self.quotedWords(rest).map { word in
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      return Argument(
        name: String(parts[0]), value: parts.count > 1 ? Self.unquoted(String(parts[1])) : nil, line: line)
    }
  }

  /// Of an ENV: `A=1 B=2`, or the old `A 1`.
  var environmentNames: [String] {
    let words = Self.quotedWords(rest)
    guard let first = words.first else { return [] }
    guard first.contains("=") else { return [first] }
    return words.compactMap { $0.split(separator: "=", omittingEmptySubsequences: false).first.map(String.init) }
  }

  /// `$NAME` and `${NAME…}` that are not escaped. What a shell would read counts too, quoted or not:
  /// a string in single quotes may be a script for another shell.
  var variableNames: Set<String> {
    var names = Self.variableNames(in: rest)
    for flag in flags { names.formUnion(Self.variableNames(in: flag.word)) }
    for heredoc in heredocs where heredoc.expands || keyword == "RUN" {
      names.formUnion(Self.variableNames(in: heredoc.body))
    }
    return names
  }

  static func variableNames(in text: String) -> Set<String> {
    let bytes = Array(text.utf8)
    var names: Set<String> = []
    var index = 0
    while index < bytes.count {
      if bytes[index] == UInt8(ascii: "\\") {
        index += 2
        continue
      }
      guard bytes[index] == UInt8(ascii: "$") else {
        index += 1
        continue
      }
      index += 1
      if index < bytes.count, bytes[index] == UInt8(ascii: "{") { index += 1 }
      let start = index
      while index < bytes.count, isNameByte(bytes[index]) { index += 1 }
      if index > start, !(48...57).contains(bytes[start]) {
        names.insert(String(decoding: bytes[start..<index], as: UTF8.self))
      }
    }
    return names
  }

  static func isVariableName(_ text: String) -> Bool {
    guard let first = text.utf8.first, !(48...57).contains(first), text.utf8.count <= 128 else { return false }
    return text.utf8.allSatisfy(isNameByte)
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || byte == 95
  }
}
