import Model

/// Proves of a fragment that says `independent: true` that it comes to the same on every parent: it
/// adds files and config, and nothing that it says looks at what is below.
struct IndependenceCheck {
  let text: DockerfileText
  let found: Diagnostics

  func run() {
    var known: Set<String> = []
    for instruction in text.instructions {
      check(instruction)
      if Self.expanded.contains(instruction.keyword) {
        for name in instruction.variableNames.subtracting(known).sorted() {
          refuse(instruction, "$\(name) may be set below it", hint: "declare it here: ARG \(name)")
        }
      }
      known.formUnion(instruction.keyword == "ARG" ? instruction.declaredArguments.map(\.name) : [])
      known.formUnion(instruction.keyword == "ENV" ? instruction.environmentNames : [])
    }
  }

  /// Where BuildKit replaces variables.
  private static let expanded: Set<String> = [
    "ADD", "COPY", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME",
  ]

  private func check(_ instruction: Instruction) {
    switch instruction.keyword {
    case "ADD", "COPY": checkCopy(instruction)
    case "ARG", "EXPOSE", "HEALTHCHECK", "LABEL", "STOPSIGNAL", "USER", "VOLUME": break
    case "ENV":
      if instruction.environmentNames.contains("PATH") {
        refuse(
          instruction, "ENV PATH would hide what is below it", hint: "say it in the fragment below, or in the template")
      }
    case "CMD", "ENTRYPOINT":
      if instruction.json == nil {
        refuse(
          instruction, "\(instruction.keyword) for a shell depends on the SHELL below", hint: "write it as a JSON array"
        )
      } else if instruction.json?.isEmpty ?? true {
        refuse(instruction, "an empty \(instruction.keyword) takes something away from what is below")
      }
    case "RUN":
      refuse(
        instruction, "RUN sees the files below", hint: "run it in a stage of Dockerfile.stages, and copy from there")
    case "WORKDIR":
      refuse(
        instruction, "WORKDIR makes a folder in what is below", hint: "say it in the fragment below, or in the template"
      )
    default: refuse(instruction, "\(instruction.keyword) depends on what is below")
    }
  }

  private func checkCopy(_ instruction: Instruction) {
    if !instruction.flags.contains(where: { $0.name == "link" && ($0.value ?? "true") == "true" }) {
      refuse(
        instruction, "\(instruction.keyword) without --link depends on the folders below",
        hint: "write \(instruction.keyword) --link")
    }
    if let target = instruction.plainWords.last, !target.hasPrefix("/") {
      refuse(
        instruction, "'\(target)' is relative to the WORKDIR below", hint: "write the whole path, beginning with /")
    }
    if let owner = instruction.flag("chown")?.value, owner.wholeMatch(of: /[0-9]+(:[0-9]+)?/) == nil {
      refuse(
        instruction, "--chown=\(owner) is looked up in files below", hint: "write numbers, such as --chown=1000:1000")
    }
  }

  private func refuse(_ instruction: Instruction, _ message: String, hint: String? = nil) {
    found.add(
      text.file, instruction.line, "an independent fragment: " + message,
      suggestion: hint.map(Diagnostic.Suggestion.hint))
  }
}
