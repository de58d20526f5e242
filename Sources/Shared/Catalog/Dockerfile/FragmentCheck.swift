import Model

/// What can be said about a fragment without knowing what it is combined with.
struct FragmentCheck {
  let fragment: Fragment
  let tree: CatalogTree
  let bases: [String: BaseDefinition]
  /// Some of catalog.yml could not be read: a base that is not known may be there.
  let basesUnread: Bool
  let found: Diagnostics

  func run() {
    let owner = TextOwner(fragment: fragment, tree: tree, bases: bases, basesUnread: basesUnread)
    checkIgnoreFile()
    TextCheck(text: fragment.text, owner: owner, found: found).run()
    if let stages = fragment.stages {
      TextCheck(text: stages, owner: owner, found: found, inStages: true).run()
      checkStages(stages)
    }
    if fragment.independent { IndependenceCheck(text: fragment.text, found: found).run() }
    checkDefaults()
    for file in fragment.extraFiles {
      do {
        _ = try owner.sources.matches(file.value)
      } catch {
        found.add(fragment.file, file.line, field: "context", error.message)
      }
    }
    let used = Set(
      ([fragment.text] + [fragment.stages].compactMap(\.self)).flatMap(\.instructions).flatMap(\.mounts)
        .filter { $0.type == "secret" }.compactMap { $0["id"] })
    for id in fragment.secrets.keys.sorted() where !used.contains(id) {
      found.add(fragment.file, nil, field: "secrets.\(id)", "no RUN of this fragment mounts this secret")
    }
  }

  private func checkIgnoreFile() {
    let path = "\(fragment.folder)/\(IgnoreRules.fileName)"
    guard let content = tree[path] else { return }
    guard case .file(let bytes, _) = content, let text = String(validating: bytes, as: UTF8.self) else {
      found.add(path, nil, "is not a text file")
      return
    }
    if fragment.contextRoot == .catalog {
      found.add(path, nil, "has no effect: the paths of this fragment are the catalog's")
    }
    _ = IgnoreRules(text) { line, message in found.add(path, line, message) }
  }

  /// One place says a default: fragment.yml, or the text, never both in two ways.
  private func checkDefaults() {
    let declared = fragment.text.arguments + (fragment.stages?.arguments ?? [])
    for argument in declared {
      guard let listed = fragment.arguments[argument.name], let value = argument.value else { continue }
      if listed.value != value {
        let file = fragment.text.arguments.contains(argument) ? fragment.text.file : fragment.stages?.file
        found.add(
          file ?? fragment.text.file, argument.line,
          "'\(argument.name)' has another default in \(fragment.file):\(listed.line)",
          suggestion: .hint("leave it out here"))
      }
    }
    let names = Set(declared.map(\.name))
    for (name, value) in fragment.arguments where !names.contains(name) {
      found.add(
        fragment.file, value.line, field: "args.\(name)", "the text of the fragment does not declare it: 'ARG \(name)'",
        suggestion: NearestName.suggestion(for: name, among: names.sorted()))
    }
  }

  private func checkStages(_ stages: DockerfileText) {
    var names: Set<String> = []
    let prefix = fragment.ownName + "-"
    if let first = stages.instructions.first, first.keyword != "FROM" {
      found.add(
        stages.file, first.line,
        "\(first.keyword) before the first FROM; arguments for all stages belong to the template")
    }
    for instruction in stages.instructions where instruction.keyword == "FROM" {
      guard let name = instruction.stageName, let image = instruction.plainWords.first else {
        found.add(stages.file, instruction.line, "expected 'FROM image AS \(prefix)NAME'")
        continue
      }
      if !name.hasPrefix(prefix) || !Name.isValid(name) || name == Recipe.parentContextName {
        found.add(stages.file, instruction.line, "the stage '\(name)' needs a name that begins with '\(prefix)'")
      }
      if image != "scratch", !names.contains(image) { checkStageImage(image, stages.file, instruction, names) }
      if !names.insert(name).inserted { found.add(stages.file, instruction.line, "a second stage '\(name)'") }
    }
  }

  private func checkStageImage(_ image: String, _ file: String, _ instruction: Instruction, _ stages: Set<String>) {
    guard let base = bases[image] else {
      if !basesUnread {
        found.add(
          file, instruction.line,
          "'\(image)' is neither an earlier stage nor a base image of catalog.yml, so it cannot be locked",
          suggestion: NearestName.suggestion(for: image, among: stages.sorted() + bases.keys.sorted()))
      }
      return
    }
    if base.layoutPath != nil {
      found.add(
        file, instruction.line, "'\(image)' is an OCI layout; a stage can begin only with an image from a registry")
    }
  }
}
