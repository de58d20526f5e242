import Model

/// The arguments and variables that a text has from those before it in the chain.
struct InheritedArguments {
  /// In the order of their declarations. Nil: a global argument, or one that the build sets.
  private(set) var arguments: [(name: String, value: String?)] = []
  private(set) var environment: Set<String> = []

  mutating func read(_ instruction: Instruction, _ conversion: DockerfileConversion) {
    for argument in instruction.keyword == "ARG" ? instruction.declaredArguments : [] {
      arguments.removeAll { $0.name == argument.name }
      let isSetElsewhere = Composition.isSetByBuild(argument.name) || conversion.globals[argument.name] != nil
      arguments.append((argument.name, isSetElsewhere ? nil : conversion.arguments[argument.name]?.value))
    }
    if instruction.keyword == "ENV" { environment.formUnion(instruction.environmentNames) }
  }

  var visible: [String: String] {
    Dictionary(arguments.compactMap { pair in pair.value.map { (pair.name, $0) } }, uniquingKeysWith: { $1 })
  }
}

/// The text of one part, with the stages and the files that it takes something from.
struct PartText {
  var conversion: DockerfileConversion
  /// The fragment's name; nil for the template.
  private let owner: String?
  /// Where a rendered Dockerfile looks for the part's files.
  private let folder: String?
  private let stage: DockerfileStages.Stage
  private let line: Int

  private(set) var text = TracedText()
  private(set) var stagesText = TracedText()
  private(set) var files: [CatalogTree.Entry] = []
  private(set) var secrets: Set<String> = []
  private(set) var isReproducible = true
  private(set) var declared: Set<String> = []

  /// What `--from` means in a stage, by its index: a stage and an image may have one name.
  private var images: [Int: [String: String]] = [:]
  /// What FROM of a stage means.
  private var parents: [Int: String] = [:]
  private var needed: Set<Int> = []
  private var place = Place.asIs

  /// Where the files of the context are in the part's own folder.
  private enum Place {
    case asIs
    /// Where a path may mean what is for the definition.
    case inFolder
    /// What a rendered Dockerfile has before each path.
    case without(String)
  }
  private static let filesFolder = "context"

  private typealias Entry = (item: DockerfileText.Item, line: Int)

  init(
    _ conversion: DockerfileConversion, owner: String?, folder: String?, stage: DockerfileStages.Stage, line: Int
  ) {
    (self.conversion, self.owner, self.folder, self.stage, self.line) = (conversion, owner, folder, stage, line)
  }

  mutating func read(
    _ items: [(item: DockerfileText.Item, line: Int)], _ inherited: inout InheritedArguments, isMarked: Bool
  ) {
    let own = amended(items)
    var entries = prelude(own, inherited, isMarked: isMarked) + own
    entries = withValues(entries, inherited)
    for case .instruction(let instruction) in own.map(\.item) { inherited.read(instruction, conversion) }
    for entry in entries { follow(entry, from: stage) }
    var builders: [(stage: DockerfileStages.Stage, entries: [Entry])] = []
    for index in needed.sorted() {
      let builder = conversion.stages.stages[index]
      conversion.used.insert(index)
      conversion.leavePlatform(of: builder)
      builders.append((builder, withValues(amended(builder.items), InheritedArguments())))
    }
    takeFiles([entries] + builders.map(\.entries))
    text = written(entries, of: stage)
    for (builder, entries) in builders {
      let image = parents[builder.index] ?? "scratch"
      stagesText.append("FROM \(image) AS \(name(of: builder))\n", from: builder.from.line)
      stagesText.append(written(entries, of: builder))
    }
  }

  // MARK: Arguments

  /// ARG lines for what this part sees of those before it. A stage sees all, a section what it names.
  private mutating func prelude(_ entries: [Entry], _ inherited: InheritedArguments, isMarked: Bool) -> [Entry] {
    var more: [Entry] = []
    for (name, value) in inherited.arguments where !inherited.environment.contains(name) {
      var runs = false
      var names = false
      for case .instruction(let instruction) in entries.map(\.item) {
        if instruction.keyword == "ARG", instruction.declaredArguments.contains(where: { $0.name == name }) { break }
        runs = runs || instruction.keyword == "RUN"
        names = names || instruction.variableNames.contains(name)
      }
      if names || runs && !isMarked {
        let text = "ARG \(name)\(value.map { "=\(Instruction.quoted($0))" } ?? "")\n"
        let parsed = DockerfileParser.parse(text, file: conversion.file, into: Diagnostics())
        more += parsed.items.map { ($0, line) }
      } else if runs {
        conversion.draft.leave(
          conversion.file, line: line, nil,
          "the argument '\(name)', which this section does not name: its steps no longer see it",
          hint: "'ARG \(name)' in the section declares it")
      }
    }
    return more
  }

  /// The ARG lines as they will be.
  private mutating func withValues(_ entries: [Entry], _ inherited: InheritedArguments) -> [Entry] {
    var inherited = inherited
    return entries.map { entry in
      guard case .instruction(var instruction) = entry.item else { return entry }
      defer { inherited.read(instruction, conversion) }
      guard instruction.keyword == "ARG" else { return entry }
      declared.formUnion(instruction.declaredArguments.map(\.name))
      instruction.raw = conversion.declare(
        instruction, visible: inherited.visible, environment: inherited.environment)
      return (.instruction(instruction), entry.line)
    }
  }

  // MARK: Stages

  /// Finds what an instruction takes from stages and images.
  private mutating func follow(_ entry: Entry, from stage: DockerfileStages.Stage) {
    guard case .instruction(let instruction) = entry.item else { return }
    for reference in instruction.originNames where !reference.contains("$") && !reference.isEmpty {
      if let origin = conversion.stages.stage(reference, before: stage.index, byNumber: true) {
        guard owner != nil else {
          conversion.refuse(
            entry.line, "what is outside of the sections takes something from the stage \(origin.title)",
            hint: "put it between '#--MODULE:NAME--#' and '#--ENDMODULE--#'")
          continue
        }
        images[stage.index, default: [:]][reference] = name(of: origin)
        need(origin)
      } else if Int(reference) != nil {
        conversion.refuse(entry.line, "there is no stage number \(reference) before this one")
      } else if reference != "scratch", let base = conversion.base(reference, entry.line) {
        images[stage.index, default: [:]][reference] = base
      }
    }
  }

  private mutating func need(_ stage: DockerfileStages.Stage) {
    guard needed.insert(stage.index).inserted else { return }
    if let image = conversion.image(of: stage) {
      if let parent = conversion.stages.stage(image, before: stage.index) {
        parents[stage.index] = name(of: parent)
        need(parent)
      } else if image != "scratch" {
        parents[stage.index] = conversion.base(image, stage.from.line)
      }
    }
    for entry in stage.items { follow(entry, from: stage) }
  }

  /// Stages of a fragment begin with its name.
  private mutating func name(of stage: DockerfileStages.Stage) -> String {
    let own = stage.name.map { $0.lowercased() }.flatMap {
      conversion.draft.name($0, conversion.file, line: stage.from.line, "FROM")
    }
    let name = own ?? "stage-\(stage.index)"
    let prefix = (owner ?? "") + "-"
    return name.hasPrefix(prefix) ? name : prefix + name
  }

  // MARK: Files

  private typealias Scoped = (instruction: Instruction, scope: ArgumentScope)

  private func scoped(_ entries: [Entry], _ platform: Platform?) -> [Scoped] {
    DockerfileText(file: conversion.file, items: entries.map(\.item)).scoped { argument in
      Composition.isSetByBuild(argument.name)
        ? platform.flatMap { ArgumentRule.values(of: $0)[argument.name] } : conversion.arguments[argument.name]?.value
    }
  }

  /// The files of the context that the texts name, and the place for them.
  private mutating func takeFiles(_ texts: [[Entry]]) {
    var taken: [String: CatalogTree.Entry] = [:]
    var paths: [String] = []
    for platform in conversion.platforms {
      for (instruction, scope) in texts.flatMap({ scoped($0, platform) }) {
        do throws(ContextSources.Problem) {
          for var path in try instruction.contextPaths(scope) {
            path.path = Self.relative(path.path)
            paths.append(path.path)
            for entry in try conversion.files(path, line: instruction.line) { taken[entry.path] = entry }
          }
        } catch {
          conversion.refuse(instruction.line, error.message, hint: error.hint)
        }
      }
    }
    if let folder, !paths.isEmpty, paths.allSatisfy({ $0.hasPrefix(folder + "/") }) {
      place = .without(folder + "/")
    } else if paths.contains(where: Self.mayMeanDefinition) {
      place = .inFolder
    }
    files = taken.values.sorted { $0.path < $1.path }.map { entry in
      CatalogTree.Entry(path: placed(entry.path), content: entry.content)
    }
  }

  /// Docker takes an absolute path for one from the context's top.
  private static func relative(_ path: String) -> String {
    let path = String(path.drop { $0 == "/" })
    return path.isEmpty ? "." : path
  }

  private static func mayMeanDefinition(_ path: String) -> Bool {
    guard let first = path.split(separator: "/").first(where: { $0 != "." }) else { return true }
    return first == ".." || PathPattern.isPattern(String(first)) || first == IgnoreRules.fileName
      || CatalogLoader.definitionFiles.contains(String(first))
  }

  private func placed(_ path: String) -> String {
    switch place {
    case .asIs: path
    case .inFolder: "\(Self.filesFolder)/\(path)"
    case .without(let folder): String(path.dropFirst(folder.count))
    }
  }

  /// A path as a text writes it.
  private func rewritten(_ word: String) throws(ContextSources.Problem) -> String {
    let word = Self.relative(word)
    switch place {
    case .asIs: return word
    case .inFolder:
      return try ContextSources(buildContext: Self.filesFolder, tree: conversion.sources.tree, ignore: nil)
        .rewritten(word)
    case .without(let folder): return word.hasPrefix(folder) ? String(word.dropFirst(folder.count)) : word
    }
  }

  // MARK: Writing

  /// What instructions need to say in a fragment.
  private mutating func amended(_ entries: [Entry]) -> [Entry] {
    var amended: [Entry] = []
    for entry in entries {
      guard case .instruction(var instruction) = entry.item else {
        amended.append(entry)
        continue
      }
      if amendMounts(of: &instruction) {
        instruction.raw = (["RUN"] + instruction.flags.map(\.word)).joined(separator: " ") + " " + instruction.rawRest
      }
      amended.append((.instruction(instruction), entry.line))
    }
    return amended
  }

  private mutating func amendMounts(of instruction: inout Instruction) -> Bool {
    var isChanged = false
    for (index, flag) in instruction.flags.enumerated() where instruction.keyword == "RUN" && flag.name == "mount" {
      var mount = Instruction.Mount(flag)
      if mount.type == "secret", !mount.has("required") {
        mount.options.append(("required", "true"))
        conversion.draft.leave(
          conversion.file, line: instruction.line, nil,
          "that the secret '\(mount["id"] ?? "")' may be missing: it is required now")
      } else if mount.isContextBind, mount["source", "src"] == nil {
        mount.options.append(("source", "."))
      } else {
        continue
      }
      isChanged = true
      instruction.flags[index] = Instruction.Flag(name: "mount", value: mount.value, word: mount.word)
    }
    return isChanged
  }

  private mutating func written(_ entries: [Entry], of stage: DockerfileStages.Stage) -> TracedText {
    var text = TracedText()
    let part = self
    let rewriting = DockerfileText.Rewriting(
      sources: conversion.sources, arguments: [:], value: { _ in nil },
      images: images[stage.index] ?? [:],
      path: { word throws(ContextSources.Problem) in try part.rewritten(word) })
    var scopes = scoped(entries, conversion.platforms.first)[...]
    for entry in entries {
      switch entry.item {
      case .other(let raw):
        if MarkerLine(String(raw.dropLast())) == nil { text.append(raw, from: entry.line) }
      case .instruction(let instruction):
        let scope = scopes.removeFirst().scope
        note(instruction, entry.line)
        // What cannot be rewritten has been refused already.
        text.append((try? instruction.rewritten(rewriting, scope)) ?? instruction.raw, from: entry.line)
      }
    }
    return text
  }

  private mutating func note(_ instruction: Instruction, _ line: Int) {
    for mount in instruction.mounts {
      if mount.type == "cache" { isReproducible = false }
      if mount.type == "secret", let id = mount["id"] { secrets.insert(id) }
    }
    guard owner == nil, !instruction.mounts.allSatisfy({ !["cache", "secret"].contains($0.type) }) else { return }
    conversion.refuse(
      line, "a secret or a cache mount outside of the sections",
      hint: "put it between '#--MODULE:NAME--#' and '#--ENDMODULE--#'")
  }
}
