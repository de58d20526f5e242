/// A Dockerfile that chose the backtick as its escape character, said with the backslash.
///
/// Line for line: what only continues a line or escapes a character is exchanged, and what a shell gets
/// stays as it is. A text in which the exchange would mean something else is refused.
enum BacktickEscape {
  static func removed(from text: String, file: String, into found: Diagnostics) -> String {
    var lines = DockerfileParser.lines(of: text)
    guard let directive = directive(lines) else { return text }
    if directive.value == "\\" { return text }
    guard directive.value == "`" else {
      found.add(file, directive.index + 1, "the escape character is '\\' or '`', not '\(directive.value)'")
      return text
    }
    lines[directive.index] = "# escape=\\"
    // The parser knows the backslash alone: it reads the text with both characters exchanged.
    let exchanged = lines.map { exchange($0) + "\n" }.joined()
    return DockerfileParser.parse(exchanged, file: file, into: found).items.map { item in
      switch item {
      case .other(let raw): exchange(raw)
      case .instruction(let instruction): written(instruction, file, found)
      }
    }.joined()
  }

  private static func directive(_ lines: [String]) -> (index: Int, value: String)? {
    for (index, line) in lines.enumerated() {
      guard let directive = DockerfileParser.directive(line), ["syntax", "escape", "check"].contains(directive.name)
      else { return nil }
      if directive.name == "escape" { return (index, directive.value) }
    }
    return nil
  }

  private static func written(_ instruction: Instruction, _ file: String, _ found: Diagnostics) -> String {
    let body = instruction.rawHeredocs
    let head = instruction.raw.dropLast(body.count)
    let isForShell = ["RUN", "CMD", "ENTRYPOINT", "HEALTHCHECK", "SHELL"].contains(instruction.keyword)
    var problem = isForShell && instruction.flags.contains { $0.word.contains { $0 == "`" || $0 == "\\" } }
    var text = ""
    for line in DockerfileParser.lines(of: String(head)) {
      let continued = DockerfileParser.isComment(line) ? nil : DockerfileParser.withoutContinuation(line)
      var converted = line
      if isForShell {
        converted = continued.map { exchange($0) + line.dropFirst($0.count) } ?? exchange(line)
        let isContinued = DockerfileParser.withoutContinuation(converted) != nil
        if !DockerfileParser.isComment(line), isContinued != (continued != nil) { problem = true }
      } else if line.contains("`") || instruction.json != nil && line.contains("\\") {
        problem = true
      }
      text += converted + "\n"
    }
    if !isForShell, isEscapeQuoted(instruction.rest) { problem = true }
    // The builder looks for variables in files that are written here, and for what escapes them.
    if !isForShell, body.contains(where: { $0 == "`" || $0 == "\\" }) { problem = true }
    if problem {
      found.add(
        file, instruction.line, "a backslash or a backtick here cannot be said with '\\' as escape character",
        suggestion: .hint("write the file without '# escape=`'"))
    }
    return text + exchange(body)
  }

  /// Is there an escape character (a backslash by now) in quotes, where it mostly stands for itself?
  private static func isEscapeQuoted(_ text: String) -> Bool {
    var quote: Character?
    var isEscaped = false
    for character in text {
      if character == "\\", quote != nil { return true }
      if isEscaped {
        isEscaped = false
      } else if character == "\\" {
        isEscaped = true
      } else if character == quote {
        quote = nil
      } else if quote == nil, character == "'" || character == "\"" {
        quote = character
      }
    }
    return false
  }

  private static func exchange(_ text: String) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.map { $0 == "`" ? "\\" : $0 == "\\" ? "`" : $0 }))
  }
}
