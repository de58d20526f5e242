import Model

extension CatalogLoader {
  static let templateFile = "Dockerfile.tpl"

  func template(_ folder: VersionFolder, bases: [String: BaseDefinition]) -> Template? {
    let path = "\(folder.path)/\(Self.templateFile)"
    guard let text = text(path) else {
      missed(folder.id, in: "templates")
      return nil
    }
    let lines = DockerfileParser.lines(of: text)
    guard let from = fromLine(lines, file: path) else {
      missed(folder.id, in: "templates")
      return nil
    }
    var template = Template(
      id: folder.id, file: path, directives: directives(lines[..<from], file: path),
      globalArguments: [], head: head(lines[..<from], file: path), stageName: stageName(lines[from]), parts: [])
    template.globalArguments = globalArguments(template.head)
    if let name = template.stageName, !Name.isValid(name) {
      found.add(path, from + 1, "'\(name)' is not a name: \(Fields.nameRule)")
    }
    template.parts = parts(lines, after: from, file: path)
    let owner = TextOwner(template: template, tree: tree, bases: bases, basesUnread: unread.bases)
    for part in template.parts {
      switch part {
      case .text(let text): TextCheck(text: text, owner: owner, found: found).run()
      case .marker(let marker) where marker.optional:
        TextCheck(text: marker.standard, owner: owner, found: found).run()
      case .marker: break
      }
    }
    return template
  }

  /// The index of `FROM {base}`: the one FROM of a template, outside of everything else.
  private func fromLine(_ lines: [String], file: String) -> Int? {
    let candidates = lines.indices.filter { index in
      let words = lines[index].split(whereSeparator: { $0 == " " || $0 == "\t" })
      guard words.count == 2 || (words.count == 4 && words[2].uppercased() == "AS") else { return false }
      return words[0].uppercased() == "FROM" && words[1] == "{base}"
    }
    guard let first = candidates.first else {
      let other = lines.firstIndex { DockerfileParser.trimmedLeft($0).uppercased().hasPrefix("FROM") }
      found.add(
        file, other.map { $0 + 1 } ?? 1, "expected a line 'FROM {base}', which stands for the manifest's base image")
      return nil
    }
    for other in candidates.dropFirst() { found.add(file, other + 1, "a second 'FROM {base}'") }
    return first
  }

  private func directives(_ lines: ArraySlice<String>, file: String) -> [String] {
    var directives: [String] = []
    for (index, line) in lines.enumerated() {
      guard let directive = DockerfileParser.directive(line) else { break }
      switch directive.name {
      case "syntax": break  // refused with every other place where it can stand, below
      case "escape":
        if directive.value == "\\" {
          directives.append(line)
        } else {
          found.add(
            file, index + 1, "fragments are written for the escape character '\\'; another one is not supported")
        }
      case "check": directives.append(line)
      default: return directives
      }
    }
    return directives
  }

  private func stageName(_ line: String) -> String? {
    let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
    return words.count == 4 ? String(words[3]) : nil
  }

  private func head(_ lines: ArraySlice<String>, file: String) -> DockerfileText {
    let text = DockerfileParser.parse(lines.map { $0 + "\n" }.joined(), file: file, into: found)
    TextCheck.refuseDirectives(text, allowed: ["escape", "check"], found: found)
    return text
  }

  private func globalArguments(_ text: DockerfileText) -> [Argument] {
    let file = text.file
    var arguments: [Argument] = []
    for instruction in text.instructions {
      guard instruction.keyword == "ARG" else {
        found.add(file, instruction.line, "\(instruction.keyword) before FROM; only ARG can stand there")
        continue
      }
      for argument in instruction.declaredArguments {
        if let problem = ArgumentRule.problem(with: argument.name) {
          found.add(file, argument.line, problem)
        } else if argument.value.map({ $0.contains("$") }) ?? false {
          found.add(file, argument.line, "a default made of other variables is not supported")
        } else if arguments.contains(where: { $0.name == argument.name }) {
          found.add(file, argument.line, "'\(argument.name)' is declared twice")
        } else {
          arguments.append(argument)
        }
      }
    }
    return arguments
  }

  /// Text and markers after FROM. What stands between a marker and its end is what the fragment
  /// replaces.
  private func parts(_ lines: [String], after from: Int, file: String) -> [Template.Part] {
    var parts: [Template.Part] = []
    var start = from + 1
    var open: Template.Marker?
    func text(upTo end: Int) {
      guard start < end else { return }
      let joined = lines[start..<end].map { $0 + "\n" }.joined()
      parts.append(.text(DockerfileParser.parse(joined, file: file, firstLine: start + 1, into: found)))
    }
    for index in lines.indices.dropFirst(from + 1) {
      let number = index + 1
      switch MarkerLine(lines[index]) {
      case nil: continue
      case .malformed:
        found.add(
          file, number, "expected '#--MODULE:FRAGMENT--#', '#--MODULE?:FRAGMENT--#' or '#--ENDMODULE--#'")
      case .end:
        guard var marker = open else {
          found.add(file, number, "'#--ENDMODULE--#' without a marker before it")
          continue
        }
        if marker.optional {
          let between = lines[marker.line..<index + 1].map { $0 + "\n" }.joined()
          let raw = lines[marker.line - 1].replacing("#--MODULE?:", with: "#--MODULE:") + "\n" + between
          marker.standard = DockerfileParser.parse(raw, file: file, firstLine: marker.line, into: found)
        }
        parts.append(.marker(marker))
        open = nil
        start = index + 1
      case .start(let fragment, let optional):
        if let marker = open {
          found.add(file, number, "a marker inside that of '\(marker.fragment)', which began on line \(marker.line)")
        } else if !Name.isValid(fragment) {
          found.add(file, number, "'\(fragment)' is not a name: \(Fields.nameRule)")
        } else if let other = parts.firstMarker(of: fragment) {
          found.add(file, number, "a second marker for '\(fragment)'; the first is on line \(other.line)")
        }
        if open == nil {
          text(upTo: index)
          open = Template.Marker(
            fragment: fragment, optional: optional, line: number, standard: DockerfileText(file: file, items: []))
        }
      }
    }
    if let open {
      found.add(file, open.line, "the marker for '\(open.fragment)' has no '#--ENDMODULE--#'")
      parts.append(.marker(open))
    } else {
      text(upTo: lines.count)
    }
    return parts
  }
}

extension [Template.Part] {
  fileprivate func firstMarker(of fragment: String) -> Template.Marker? {
    for case .marker(let marker) in self where marker.fragment == fragment { return marker }
    return nil
  }
}

/// `#--MODULE:name--#`, `#--MODULE?:name--#`, `#--ENDMODULE--#`.
enum MarkerLine: Equatable {
  case start(fragment: String, optional: Bool)
  case end
  case malformed

  /// Nil for every other line.
  init?(_ line: String) {
    var text = DockerfileParser.trimmedLeft(line)
    while text.last == " " || text.last == "\t" { text.removeLast() }
    guard text.hasPrefix("#--MODULE") || text.hasPrefix("#--ENDMODULE") else { return nil }
    guard text.hasSuffix("--#") else {
      self = .malformed
      return
    }
    let body = text.dropFirst(3).dropLast(3)
    if body == "ENDMODULE" {
      self = .end
    } else if body.hasPrefix("MODULE:") {
      self = .start(fragment: String(body.dropFirst(7)), optional: false)
    } else if body.hasPrefix("MODULE?:") {
      self = .start(fragment: String(body.dropFirst(8)), optional: true)
    } else {
      self = .malformed
    }
  }
}
