import Model

extension DockerfileConversion {
  /// A fragment's text, or text of the template.
  struct Part {
    var name: String?
    var version: String?
    var description = ""
    var isMarked: Bool
    var line: Int
    var stage: DockerfileStages.Stage
    var items: [(item: DockerfileText.Item, line: Int)] = []
    /// Nothing is in it: its marker stays, and is optional.
    var isEmpty: Bool {
      !items.contains { if case .instruction = $0.item { true } else { false } }
    }
  }

  mutating func parts(of stage: DockerfileStages.Stage) -> [Part] {
    let markers = stage.items.compactMap { entry in
      if case .other(let raw) = entry.item { MarkerLine(String(raw.dropLast())) } else { nil }
    }
    guard !markers.isEmpty else {
      let isLast = stage.name == nil && stage.index == stages.stages.count - 1
      let own = stage.name?.lowercased() ?? (isLast ? product : "stage-\(stage.index)")
      var name = draft.name(own, file, line: stage.from.line, "FROM") ?? "stage-\(stage.index)"
      if let prefix, prefix != name { name = "\(prefix)-\(name)" }
      return [
        Part(
          name: name, description: "From the stage \(stage.title).", isMarked: false, line: stage.from.line,
          stage: stage, items: stage.items)
      ]
    }
    return sections(of: stage)
  }

  private func sections(of stage: DockerfileStages.Stage) -> [Part] {
    var parts: [Part] = []
    func outside(_ line: Int) -> Part { Part(isMarked: true, line: line, stage: stage) }
    var open = outside(stage.from.line)
    for (item, line) in stage.items {
      guard case .other(let raw) = item, let marker = MarkerLine(String(raw.dropLast())) else {
        open.items.append((item, line))
        continue
      }
      switch marker {
      case .malformed: refuse(line, "expected '#--MODULE:NAME--#', '#--MODULE:NAME@VERSION--#' or '#--ENDMODULE--#'")
      case .start(let text, _):
        if let name = open.name {
          refuse(
            line, "a section inside '\(name)', which began on line \(open.line)", hint: "end it by #--ENDMODULE--#")
          continue
        }
        let words = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        if !Name.isValid(words[0]) { refuse(line, "'\(words[0])' is not a name: \(Fields.nameRule)") }
        if words.count > 1, !Name.isTag(words[1]) {
          refuse(line, "'\(words[1])' is not a version: \(Fields.versionRule)")
        }
        parts.append(open)
        open = Part(
          name: words[0], version: words.count > 1 ? words[1] : nil, description: "From the section '\(words[0])'.",
          isMarked: true, line: line, stage: stage)
      case .end where open.name == nil: refuse(line, "#--ENDMODULE--# without a section before it")
      case .end:
        parts.append(open)
        open = outside(line + 1)
      }
    }
    if let name = open.name { refuse(open.line, "the section '\(name)' has no #--ENDMODULE--#") }
    return (parts + [open]).filter { $0.name != nil || !$0.items.isEmpty }
  }

  mutating func addLabels(_ last: DockerfileStages.Stage) {
    let line = last.items.last?.line ?? last.from.line
    for (name, value) in source.labels.sorted(by: { $0.key < $1.key }) {
      if (name + value).utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) {
        refuse(nil, "the label '\(name)' has a line end or another control character")
      }
      recipe.template.append("LABEL \(Instruction.quoted(name))=\(Instruction.quoted(value))\n", from: line)
    }
  }

  mutating func add(_ part: Part, _ inherited: inout InheritedArguments) {
    var items = part.items
    // Kiln's own line after FROM.
    if part.line == part.stage.from.line,
      let first = items.firstIndex(where: { if case .instruction = $0.item { true } else { false } }),
      case .instruction(let instruction) = items[first].item, instruction.keyword == "ARG",
      instruction.rest == ArgumentRule.epoch
    {
      items.remove(at: first)
    }
    guard let name = part.name else {
      var text = PartText(self, owner: nil, folder: nil, stage: part.stage, line: part.line)
      text.read(items, &inherited, isMarked: true)
      self = text.conversion
      recipe.template.append(text.text)
      recipe.templateFiles += text.files
      return
    }
    let optional = part.isEmpty && part.isMarked ? "?" : ""
    recipe.template.append("#--MODULE\(optional):\(name)--#\n", from: part.line)
    defer { recipe.template.append("#--ENDMODULE--#\n", from: part.line) }
    if part.isEmpty, part.isMarked {
      for (item, line) in items { if case .other(let raw) = item { recipe.template.append(raw, from: line) } }
      return
    }
    if let other = recipe.fragments.first(where: { $0.name == name }) {
      refuse(part.line, "a second part '\(name)'; the first begins on line \(other.text.lines.first ?? 1)")
      return
    }
    let folder = part.version.map { "fragments/\(name)/\($0)" }
    var text = PartText(self, owner: name, folder: folder, stage: part.stage, line: part.line)
    text.read(items, &inherited, isMarked: part.isMarked)
    self = text.conversion
    recipe.fragments.append(
      DockerfileRecipe.Fragment(
        name: name, version: part.version, description: part.description, text: text.text, stages: text.stagesText,
        files: text.files, secrets: text.secrets, isReproducible: text.isReproducible, arguments: text.declared))
  }
}
