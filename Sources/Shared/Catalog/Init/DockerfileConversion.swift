import Model

/// Takes one Dockerfile apart. What is wrong with it goes to `found`, what is not taken over to `draft`.
///
/// Each stage of the chain that ends in the image becomes a fragment, or, where it has marked sections,
/// each of these, and the rest text of the template. What they take from other stages goes with them.
struct DockerfileConversion {
  let source: DockerfileSource
  /// What an image's last stage without a name is called.
  let product: String
  /// Before the names of stages, where several Dockerfiles may have the same.
  let prefix: String?
  let found: Diagnostics
  var draft: CatalogDraft

  let stages: DockerfileStages
  var globals: [String: String] = [:]
  var platforms: [Platform] = []
  /// Stages that something of the image is taken from.
  var used: Set<Int> = []
  /// Each argument's one value, and where it gets it.
  var arguments: [String: (value: String, line: Int)] = [:]
  let context: CatalogTree
  let ignore: IgnoreRules?
  var recipe: DockerfileRecipe

  static let contextFolder = "contexts/init"

  /// Throws where the text or its context cannot be read at all.
  init(
    _ source: DockerfileSource, product: String, prefix: String?, draft: CatalogDraft, found: Diagnostics
  ) throws(CatalogErrors) {
    guard let text = CatalogDraft.plainText(source.content) else {
      throw CatalogErrors([Diagnostic(file: source.file, "is not UTF-8")])
    }
    (self.source, self.product, self.prefix, self.draft, self.found) = (source, product, prefix, draft, found)
    let plain = BacktickEscape.removed(from: text, file: source.file, into: found)
    stages = DockerfileStages(DockerfileParser.parse(plain, file: source.file, into: found))
    context = try CatalogTree(
      source.context.map { CatalogTree.Entry(path: "\(Self.contextFolder)/\($0.path)", content: $0.content) }
    ) { _ in true }
    ignore = source.ignoreText.map { IgnoreRules($0) }
    recipe = DockerfileRecipe(file: source.file, base: "")
  }

  var file: String { source.file }

  func refuse(_ line: Int?, _ message: String, hint: String? = nil) {
    found.add(file, line, message, suggestion: hint.map(Diagnostic.Suggestion.hint))
  }

  mutating func run() -> DockerfileRecipe? {
    guard let last = lastStage() else { return nil }
    readHead()
    platforms = source.platforms.compactMap(Platform.init)
    var chain = [last]
    while let image = image(of: chain[0]), let parent = stages.stage(image, before: chain[0].index) {
      chain.insert(parent, at: 0)
    }
    readPlatforms(chain)
    guard let image = image(of: chain[0]), let base = base(image, chain[0].from.line) else { return nil }
    recipe.base = base
    recipe.platforms = platforms.map(\.description)
    let name = chain.count == 1 ? chain[0].name.flatMap { Name.isValid($0) ? $0 : nil } : nil
    recipe.template.append("FROM {base}\(name.map { " AS \($0)" } ?? "")\n", from: chain[0].from.line)
    var inherited = InheritedArguments()
    for stage in chain {
      for part in parts(of: stage) { add(part, &inherited) }
    }
    addLabels(last)
    listUnused(chain)
    recipe.arguments = Set(arguments.keys)
    for name in source.images.keys.sorted() where draft.bases[name] == nil {
      draft.leave(file, nil, "the context '\(name)': no FROM, COPY or mount of what is taken over names it")
    }
    return recipe
  }

  // MARK: Head and stages

  private func lastStage() -> DockerfileStages.Stage? {
    guard let name = source.stage else {
      if stages.stages.isEmpty { refuse(1, "has no FROM: this is not a Dockerfile") }
      return stages.stages.last
    }
    if let stage = stages.stage(name, before: stages.stages.count, byNumber: true) { return stage }
    found.add(
      file, nil, "has no stage '\(name)'",
      suggestion: NearestName.suggestion(for: name, among: stages.stages.compactMap(\.name)))
    return nil
  }

  private mutating func readHead() {
    for (item, line) in stages.head {
      switch item {
      case .other(let raw):
        let directive = DockerfileParser.directive(String(raw.dropLast()))
        if directive?.name == "syntax" {
          draft.leave(
            file, line: line, nil, "'\(raw.dropLast())': a frontend of its own, which no key covers, is not run")
        } else if directive?.name != "escape" {
          recipe.template.append(raw, from: line)
        }
      case .instruction(let instruction) where instruction.keyword == "ARG":
        recipe.template.append(declare(instruction, isGlobal: true, visible: globals), from: line)
        for argument in instruction.declaredArguments { globals[argument.name] = arguments[argument.name]?.value }
      case .instruction(let instruction): recipe.template.append(instruction.raw, from: line)
      }
    }
  }

  /// What FROM names, its arguments in place.
  func image(of stage: DockerfileStages.Stage) -> String? {
    guard let word = stage.from.plainWords.first, [1, 3].contains(stage.from.plainWords.count) else {
      refuse(stage.from.line, "expected 'FROM IMAGE' or 'FROM IMAGE AS NAME'")
      return nil
    }
    return expanded(word, stage.from.line)
  }

  private func expanded(_ word: String, _ line: Int) -> String? {
    let known = globals
    let platform = platforms.count == 1 ? ArgumentRule.values(of: platforms[0]) : [:]
    do {
      return try ShellWord.expanded(word) { name throws(ContextSources.Problem) in
        if let value = known[name] ?? platform[name] { return value }
        if ArgumentRule.predefined.contains(name) || ArgumentRule.buildHost.contains(name) {
          throw ContextSources.Problem("'\(word)' is another image on another platform: one base has one name")
        }
        throw ContextSources.Problem(
          "'\(word)' has the argument '\(name)', which no ARG before the first FROM declares")
      }
    } catch {
      refuse(line, error.message, hint: "name the image itself")
      return nil
    }
  }

  /// An image's name in the catalog.
  mutating func base(_ image: String, _ line: Int) -> String? {
    if image == "scratch" {
      refuse(line, "an image from scratch has no base, and a catalog's images have one", hint: "name a small image")
      return nil
    }
    if let address = source.images[image] {
      guard Reference.isBaseName(image), draft.addBase(image, at: address) else {
        refuse(line, "'\(image)' at '\(address)' cannot be a base image")
        return nil
      }
      return image
    }
    guard ImageName(image) != nil else {
      refuse(line, "'\(image)' is not an image's name: it can be no base of a catalog")
      return nil
    }
    return draft.base(image, file, line: line, nil)
  }

  /// FROM's own platform is the image's, where nobody says another.
  private mutating func readPlatforms(_ chain: [DockerfileStages.Stage]) {
    let said = chain.compactMap { stage in platform(of: stage).map { (stage, $0) } }
    if platforms.isEmpty { platforms = [said.first?.1 ?? Self.standardPlatform].compactMap(\.self) }
    for (stage, platform) in said where platforms != [platform] {
      refuse(
        stage.from.line, "the image is for \(platform) alone", hint: "ask for '--platform \(platform)', or for no other"
      )
    }
  }

  private static let standardPlatform = Platform("linux/amd64")

  /// Nil where FROM has none, or the one that the image is for.
  private func platform(of stage: DockerfileStages.Stage) -> Platform? {
    guard let value = stage.from.flag("platform")?.value, !isVariable(value) else { return nil }
    guard let text = expanded(value, stage.from.line) else { return nil }
    guard let platform = Platform(text), CatalogLoader.knownPlatforms.contains(platform.description) else {
      refuse(stage.from.line, "'\(text)' is not a platform that Kiln knows")
      return nil
    }
    return platform
  }

  private func isVariable(_ platform: String) -> Bool {
    ["$BUILDPLATFORM", "$TARGETPLATFORM", "${BUILDPLATFORM}", "${TARGETPLATFORM}"].contains(platform)
  }

  /// A stage has the platform of its layer.
  mutating func leavePlatform(of stage: DockerfileStages.Stage) {
    guard let flag = stage.from.flag("platform") else { return }
    if !isVariable(flag.value ?? ""), let platform = platform(of: stage), platforms != [platform] {
      refuse(stage.from.line, "the stage is for \(platform), the image for another platform")
    }
    draft.leave(
      file, line: stage.from.line, nil, "FROM \(flag.word): a stage is built on the platform of its image")
  }

  private mutating func listUnused(_ chain: [DockerfileStages.Stage]) {
    for stage in stages.stages where !chain.contains(where: { $0.index == stage.index }) {
      if used.contains(stage.index) { continue }
      draft.leave(file, line: stage.from.line, nil, "the stage \(stage.title): nothing of it is in the image")
    }
    for stage in chain + stages.stages.filter({ used.contains($0.index) }) where stage.from.rest.contains("$") {
      draft.leave(
        file, line: stage.from.line, nil,
        "the argument in 'FROM \(stage.from.rest)': the image is '\(image(of: stage) ?? "")' now",
        hint: "another base is another manifest")
    }
  }
}
