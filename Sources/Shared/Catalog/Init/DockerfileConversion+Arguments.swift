import Model

extension DockerfileConversion {
  var sources: ContextSources {
    ContextSources(buildContext: Self.contextFolder, tree: context, ignore: ignore)
  }

  /// The files that a path (expanded, relative to the context) names, by their paths in the context.
  mutating func files(_ path: Instruction.ContextPath, line: Int) throws(ContextSources.Problem) -> [CatalogTree.Entry]
  {
    let found = try sources.entries(path.path, patterns: path.patterns)
    let start = Self.contextFolder.utf8.count + 1
    return found.compactMap { entry in
      guard let content = context[entry.path] else {
        if !found.contains(where: { context[$0.path] != nil && $0.path.hasPrefix(entry.path + "/") }) {
          draft.leave(
            file, line: line, nil,
            "'\(entry.path.dropFirst(start))': a folder without files, which a catalog cannot keep")
        }
        return nil
      }
      return CatalogTree.Entry(path: String(entry.path.dropFirst(start)), content: content)
    }
  }

  /// An ARG with its arguments' values in place. `visible` are those of the arguments that it can see;
  /// `environment` the variables whose values nobody knows.
  mutating func declare(
    _ instruction: Instruction, isGlobal: Bool = false, visible: [String: String], environment: Set<String> = []
  ) -> String {
    var visible = visible
    var values: [String: String] = [:]
    for (argument, word) in zip(instruction.declaredArguments, Instruction.quotedWords(instruction.rest)) {
      let name = argument.name
      if Composition.isSetByBuild(name) { continue }
      var value = source.arguments[name]
      if value == nil, argument.value != nil {
        value = standardValue(of: argument, word, visible, environment)
        if value == nil { continue }
      }
      if value == nil, !isGlobal, let global = globals[name] {
        note(name, global, instruction.line)
        continue
      }
      let known = value ?? visible[name]
      if known == nil {
        draft.leave(
          file, line: instruction.line, nil, "the argument '\(name)' without a value: it is empty now, not unset",
          hint: "say its value in a manifest's args")
      }
      values[name] = known ?? ""
      visible[name] = known ?? ""
      note(name, known ?? "", instruction.line)
    }
    return instruction.withValues(values)
  }

  /// Nil where it is left as it is, for the check to refuse.
  private mutating func standardValue(
    of argument: Argument, _ word: String, _ visible: [String: String], _ environment: Set<String>
  ) -> String? {
    guard word.contains("$") else { return argument.value }
    let text = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).last.map(String.init) ?? ""
    let value = try? ShellWord.expanded(text) { name throws(ContextSources.Problem) in
      if environment.contains(name) || Composition.isSetByBuild(name) { throw ContextSources.Problem(name) }
      return visible[name]
    }
    guard let value, !value.contains("$") else { return nil }
    draft.leave(
      file, line: argument.line, nil,
      "the variables in the default of '\(argument.name)': it is '\(value)' now, whatever they are")
    return value
  }

  /// A builder has one place for each name, and a catalog one value.
  private mutating func note(_ name: String, _ value: String, _ line: Int) {
    if value.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) {
      refuse(line, "the argument '\(name)' has a line end or another control character in its value")
    }
    if let other = arguments[name], other.value != value {
      refuse(
        line, "the argument '\(name)' is '\(value)' here and '\(other.value)' on line \(other.line)",
        hint: "give one of the two another name: in a catalog an argument has one value in one image")
    } else if arguments[name] == nil {
      arguments[name] = (value, line)
    }
  }
}
