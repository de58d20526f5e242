import Foundation

/// Reads Dockerfile text as BuildKit's parser does: comments, continuations, heredocs, flags, the JSON
/// form. The escape character is the backslash; `BacktickEscape` rewrites or refuses others.
struct DockerfileParser {
  private let file: String
  private let lines: [String]
  private let firstLine: Int
  private let found: Diagnostics
  private var position = 0
  private var items: [DockerfileText.Item] = []

  /// `firstLine` is the number of `text`'s first line in `file`.
  static func parse(_ text: String, file: String, firstLine: Int = 1, into found: Diagnostics) -> DockerfileText {
    var parser = DockerfileParser(text, file: file, firstLine: firstLine, found: found)
    while parser.position < parser.lines.count { parser.readItem() }
    return DockerfileText(file: file, items: parser.items)
  }

  private init(_ text: String, file: String, firstLine: Int, found: Diagnostics) {
    self.file = file
    self.firstLine = firstLine
    self.found = found
    lines = Self.lines(of: text)
  }

  /// Without their ends; a newline at the very end begins no line.
  static func lines(of text: String) -> [String] {
    var lines = text.utf8.split(separator: 10, omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
    if lines.last == "" { lines.removeLast() }
    return lines
  }

  static func isComment(_ line: String) -> Bool { trimmedLeft(line).unicodeScalars.first == "#" }
  static func isBlank(_ line: String) -> Bool { trimmedLeft(line).isEmpty }
  /// Without what Go's `unicode.IsSpace` holds for a blank: the builder looks at code points.
  static func trimmedLeft(_ line: String) -> Substring {
    Substring(line.unicodeScalars.drop { $0.properties.isWhitespace })
  }

  private mutating func readItem() {
    let line = lines[position]
    if Self.isComment(line) || Self.isBlank(line) {
      items.append(.other(line + "\n"))
      position += 1
    } else {
      items.append(.instruction(readInstruction()))
    }
  }

  private mutating func readInstruction() -> Instruction {
    let number = firstLine + position
    var raw = lines[position] + "\n"
    var logical = String(Self.trimmedLeft(lines[position]))
    position += 1
    while let joined = Self.withoutContinuation(logical) {
      logical = joined
      var more: String?
      while more == nil, position < lines.count {
        let line = lines[position]
        raw += line + "\n"
        position += 1
        if !Self.isComment(line), !Self.isBlank(line) { more = line }
      }
      guard let more else {
        found.add(file, number, "the last line ends with a continuation: it would swallow what follows")
        break
      }
      logical += more
    }
    var instruction = header(logical, raw: raw, line: number)
    readHeredocs(of: &instruction, logical: logical)
    return instruction
  }

  /// The line without its continuation, or nil where it has none: a backslash that is not itself
  /// escaped, and only blanks after it.
  static func withoutContinuation(_ line: String) -> String? {
    let bytes = line.utf8
    guard let slash = bytes.lastIndex(where: { $0 != 32 && $0 != 9 }), bytes[slash] == 92 else { return nil }
    if slash > bytes.startIndex, bytes[bytes.index(before: slash)] == 92 { return nil }
    return String(line[..<slash])
  }

  private func header(_ logical: String, raw: String, line: Int) -> Instruction {
    var scanner = FlagScanner(logical)
    let keyword = scanner.keyword()
    let flags = scanner.flags()
    let rest = scanner.remainder
    var rawScanner = FlagScanner(raw)
    _ = rawScanner.keyword()
    _ = rawScanner.flags()

    let takesJSON = ["RUN", "CMD", "ENTRYPOINT", "COPY", "ADD", "SHELL", "VOLUME"].contains(keyword)
    let json = takesJSON && rest.hasPrefix("[") ? try? JSONDecoder().decode([String].self, from: Data(rest.utf8)) : nil
    // A path may begin with a set of characters; whoever writes a quote means JSON.
    let isPath = ["COPY", "ADD"].contains(keyword) && !Self.trimmedLeft(String(rest.dropFirst())).hasPrefix("\"")
    if json == nil, rest.hasPrefix("["), !isPath, ["COPY", "ADD", "SHELL", "VOLUME"].contains(keyword) {
      found.add(file, line, "\(keyword) looks like the JSON form, but is not valid JSON")
    }
    for flag in flags where !flag.word.utf8.allSatisfy({ $0 < 0x80 }) {
      found.add(file, line, "a flag has a character that is not ASCII, which BuildKit breaks: \(flag.word)")
    }
    return Instruction(
      keyword: keyword, line: line, flags: flags, rest: rest, json: json, heredocs: [], raw: raw,
      rawRest: rawScanner.remainder, rawHeredocs: "")
  }

  private mutating func readHeredocs(of instruction: inout Instruction, logical: String) {
    guard ["RUN", "COPY", "ADD"].contains(instruction.keyword), instruction.json == nil, logical.contains("<<") else {
      return
    }
    for word in Instruction.quotedWords(logical) {
      guard let (name, expands, chomps) = Self.heredoc(word) else { continue }
      var body = ""
      var ended = false
      while !ended, position < lines.count {
        let line = lines[position]
        position += 1
        instruction.raw += line + "\n"
        instruction.rawRest += line + "\n"
        instruction.rawHeredocs += line + "\n"
        ended = (chomps ? String(line.drop { $0 == "\t" }) : line) == name
        if !ended { body += line + "\n" }
      }
      if !ended { found.add(file, instruction.line, "the here-document '\(name)' does not end") }
      instruction.heredocs.append(Instruction.Heredoc(name: name, expands: expands, body: body))
    }
  }

  /// `<<EOF`, `3<<-"EOF"`, …; nil for any other word.
  static func heredoc(_ word: String) -> (name: String, expands: Bool, chomps: Bool)? {
    let text = word.drop { $0.isASCII && $0.isNumber }
    guard text.hasPrefix("<<") else { return nil }
    var rest = text.dropFirst(2)
    let chomps = rest.first == "-"
    if chomps { rest = rest.dropFirst() }
    guard !rest.isEmpty, !rest.contains("<") else { return nil }
    let name = Instruction.unquoted(String(rest))
    guard !name.isEmpty, !name.contains(" ") else { return nil }
    return (name, !rest.contains { "\"'\\".contains($0) }, chomps)
  }

  /// A parser directive such as `# syntax=…`; its name in lower case.
  static func directive(_ line: String) -> (name: String, value: String)? {
    guard line.unicodeScalars.first == "#" else { return nil }
    let text = trimmedLeft(String(line.unicodeScalars.dropFirst()))
    let name = text.prefix { $0.isASCII && ($0.isLetter || $0.isNumber) }
    let rest = trimmedLeft(String(text.dropFirst(name.count)))
    guard !name.isEmpty, rest.first == "=" else { return nil }
    let value = rest.dropFirst().trimmingCharacters(in: .whitespaces)
    return value.isEmpty ? nil : (name.lowercased(), value)
  }
}

/// Finds an instruction's keyword and flags in joined text, or in raw text with continuations.
private struct FlagScanner {
  private let bytes: [UInt8]
  private var position = 0

  init(_ text: String) {
    bytes = Array(text.utf8)
    while position < bytes.count, Instruction.isBlank(bytes[position]) { position += 1 }
  }

  mutating func keyword() -> String {
    let start = position
    while position < bytes.count, !Instruction.isBlank(bytes[position]), bytes[position] != 10, bytes[position] != 92 {
      position += 1
    }
    return String(decoding: bytes[start..<position], as: UTF8.self).uppercased()
  }

  mutating func flags() -> [Instruction.Flag] {
    var flags: [Instruction.Flag] = []
    skipGap()
    while position + 1 < bytes.count, bytes[position] == 45, bytes[position + 1] == 45 {
      let flag = flag()
      skipGap()
      // Two dashes alone end the flags.
      if flag.word == "--" { break }
      flags.append(flag)
    }
    return flags
  }

  /// Quotes and backslashes mean what they mean in the builder's own scanner, which is not its lexer.
  private mutating func flag() -> Instruction.Flag {
    var word: [UInt8] = []
    var plain: [UInt8] = []
    var quote: UInt8?
    while position < bytes.count {
      let byte = bytes[position]
      if let end = continuationEnd(position) {
        position = end
        while let next = endOfSkippedLine(position) { position = next }
        continue
      }
      if byte == 10 || quote == nil && Instruction.isBlank(byte) { break }
      word.append(byte)
      position += 1
      if byte == 92 {
        guard position < bytes.count, bytes[position] != 10, continuationEnd(position) == nil else { continue }
        word.append(bytes[position])
        plain.append(bytes[position])
        position += 1
      } else if byte == quote {
        quote = nil
      } else if quote == nil, byte == 34 || byte == 39 {
        quote = byte
      } else {
        plain.append(byte)
      }
    }
    let parts = plain.dropFirst(2).split(separator: 61, maxSplits: 1, omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
    return Instruction.Flag(
      name: parts[0], value: parts.count > 1 ? parts[1] : nil, word: String(decoding: word, as: UTF8.self))
  }

  var remainder: String { String(decoding: bytes[position...], as: UTF8.self) }

  /// The first byte after `\`, blanks and a line's end at `at`.
  private func continuationEnd(_ at: Int) -> Int? {
    guard at < bytes.count, bytes[at] == 92, at == 0 || bytes[at - 1] != 92 else { return nil }
    var next = at + 1
    while next < bytes.count, bytes[next] == 32 || bytes[next] == 9 { next += 1 }
    return next < bytes.count && bytes[next] == 10 ? next + 1 : nil
  }

  private mutating func skipGap() {
    while position < bytes.count {
      if Instruction.isBlank(bytes[position]) {
        position += 1
      } else if let end = continuationEnd(position) {
        position = end
        while let next = endOfSkippedLine(position) { position = next }
      } else {
        return
      }
    }
  }

  /// Comments and blank lines inside a continued instruction are no part of it.
  private func endOfSkippedLine(_ start: Int) -> Int? {
    var next = start
    while next < bytes.count, Instruction.isBlank(bytes[next]) { next += 1 }
    guard next < bytes.count, bytes[next] == 35 || bytes[next] == 10 else { return nil }
    while next < bytes.count, bytes[next] != 10 { next += 1 }
    return min(next + 1, bytes.count)
  }
}
