import Model

/// What is wrong only in this combination of fragments.
struct CompositionCheck {
  let composition: Composition
  let tree: CatalogTree
  let found: Diagnostics

  func run() {
    checkMarkers()
    checkOrder()
    checkForeignArguments()
    checkArgumentValues()
    checkCommand()
    checkStageNames()
    checkSources()
  }

  /// Paths that the manifest's arguments make. What the platform decides is known at planning.
  private func checkSources() {
    for part in composition.parts {
      let context = composition.sources(of: part, in: tree)
      for text in part.texts {
        let scoped = text.scoped { composition.value(of: $0, in: part, on: nil) }
        for (instruction, scope) in scoped where instruction.hasVariableSources {
          for problem in instruction.sourceProblems(scope, in: context) {
            found.add(
              text.file, instruction.line, problem.message, suggestion: problem.hint.map(Diagnostic.Suggestion.hint))
          }
        }
      }
    }
  }

  private func checkMarkers() {
    let manifest = composition.manifest
    let names = manifest.fragments.map(\.value.name)
    let markers = composition.template.markers
    for marker in markers where !marker.optional && !names.contains(marker.fragment) {
      found.add(
        manifest.file, manifest.fragmentsLine, field: "fragments",
        "the template's marker for '\(marker.fragment)' (\(composition.template.file):\(marker.line)) has no fragment",
        suggestion: .hint(
          "name a version of '\(marker.fragment)', or make the marker optional: #--MODULE?:\(marker.fragment)--#"))
    }
    for (index, fragment) in manifest.fragments.enumerated()
    where !markers.contains(where: { $0.fragment == fragment.value.name }) {
      found.add(
        manifest.file, fragment.line, field: "fragments[\(index)]",
        "the template \(composition.template.id) has no marker for the fragment '\(fragment.value.name)'",
        suggestion: NearestName.suggestion(for: fragment.value.name, among: markers.map(\.fragment)))
    }
  }

  /// The template's order of markers is the order; what fragments say of theirs must agree.
  private func checkOrder() {
    let ordered = composition.fragments.compactMap { fragment in fragment.order.map { (fragment, $0) } }
    for ((below, low), (above, high)) in zip(ordered, ordered.dropFirst()) where low > high {
      found.add(
        composition.manifest.file, composition.manifest.fragmentsLine, field: "fragments",
        "the template \(composition.template.id) puts \(below.id) (order \(low)) below \(above.id) (order \(high))",
        suggestion: .hint("change the order of its markers, or what 'order' says"))
    }
  }

  /// In the single Dockerfile an ARG is seen by all that follows, in the chain only by what follows it
  /// in its own layer.
  private func checkForeignArguments() {
    var environment: Set<String> = []
    for (position, part) in composition.parts.enumerated() {
      for text in part.texts {
        // A builder stage sees nothing of what the fragments below set.
        checkReferences(in: text, of: position, environment: text == part.text ? environment : [])
      }
      environment.formUnion(part.text.environment)
    }
  }

  private func checkReferences(in text: DockerfileText, of position: Int, environment: Set<String>) {
    var environment = environment
    var arguments: Set<String> = []
    for instruction in text.instructions {
      if instruction.keyword == "ARG" {
        for argument in instruction.declaredArguments {
          arguments.insert(argument.name)
          // From here on the single Dockerfile would read the argument, the next layer the variable.
          if environment.contains(argument.name) {
            found.add(
              text.file, instruction.line,
              "the argument '\(argument.name)' hides the ENV of the same name for what follows",
              suggestion: .hint("give it another name"))
          }
        }
        continue
      }
      for name in instruction.variableNames.sorted() where !arguments.contains(name) && !environment.contains(name) {
        guard let declarer = declarer(of: name, except: position) else { continue }
        found.add(
          text.file, instruction.line, "$\(name) is an argument of \(declarer), which this text does not see",
          suggestion: .hint("declare it here too: ARG \(name)"))
      }
      if instruction.keyword == "ENV" { environment.formUnion(instruction.environmentNames) }
    }
  }

  private func declarer(of name: String, except position: Int) -> String? {
    if Composition.isSetByBuild(name) { return nil }
    if composition.template.globalArguments.contains(where: { $0.name == name }) { return "the template" }
    for (other, part) in composition.parts.enumerated() where other != position {
      if part.declared.contains(where: { $0.name == name }) { return part.name }
    }
    return nil
  }

  /// An argument has one value in one image: the builder has a single place for each name.
  private func checkArgumentValues() {
    let manifest = composition.manifest
    var values: [String: (value: String, place: String)] = [:]
    func check(_ argument: Argument, in part: Composition.Part?, file: String) {
      guard !Composition.isSetByBuild(argument.name) else { return }
      let name = part?.name ?? "the template"
      guard let value = composition.value(of: argument, in: part) else {
        found.add(
          manifest.file, manifest.template.line, field: "args.\(argument.name)",
          "\(name) needs a value (\(file):\(argument.line) has no default)",
          suggestion: .hint("say it in the manifest's args"))
        return
      }
      if let other = values[argument.name], other.value != value {
        found.add(
          file, argument.line,
          "the argument '\(argument.name)' is '\(value)' here and '\(other.value)' in \(other.place)",
          suggestion: .hint("give it one value in the args of \(manifest.file)"))
      } else {
        values[argument.name] = (value, name)
      }
    }
    for argument in composition.template.globalArguments { check(argument, in: nil, file: composition.template.file) }
    for part in composition.parts {
      for text in part.texts {
        for argument in text.arguments { check(argument, in: part, file: text.file) }
      }
    }
  }

  /// ENTRYPOINT clears the CMD of a parent image, but not one of an earlier line.
  private func checkCommand() {
    var command: (instruction: Instruction, part: Composition.Part)?
    for part in composition.parts {
      let own = part.text.first("CMD")
      if own == nil, let entrypoint = part.text.first("ENTRYPOINT"), let command {
        found.add(
          part.text.file, entrypoint.line,
          "ENTRYPOINT clears the CMD of \(command.part.name) (\(command.part.text.file):\(command.instruction.line)) in a layer, but not in the single Dockerfile",
          suggestion: .hint("say CMD here too"))
      }
      if let own { command = (own, part) }
    }
  }

  private func checkStageNames() {
    var names: [String: String] = [:]
    if let name = composition.template.stageName { names[name] = composition.template.file }
    for part in composition.parts {
      for instruction in part.fragment?.stages?.instructions ?? [] {
        guard let name = instruction.stageName, let file = part.fragment?.stages?.file else { continue }
        if name == composition.base.name {
          found.add(file, instruction.line, "the stage '\(name)' has the name of the base image")
        }
        if let other = names.updateValue(file, forKey: name), other != file {
          found.add(file, instruction.line, "the stage '\(name)' is in \(other) too")
        }
      }
    }
  }
}
