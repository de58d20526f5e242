import Model

/// Whose text it is, and what it may therefore do.
struct TextOwner {
  let sources: ContextSources
  /// Stages that `--from` reaches.
  var stages: Set<String> = []
  /// Images that it reaches, locked by these names.
  var bases: [String: BaseDefinition] = [:]
  /// Some of catalog.yml could not be read: a base that is not known may be there.
  var basesUnread = false
  var secrets: [String: String] = [:]
  var reproducible = true
  /// For messages.
  let definition: String

  init(template: Template, tree: CatalogTree, bases: [String: BaseDefinition] = [:], basesUnread: Bool = false) {
    (self.bases, self.basesUnread) = (bases, basesUnread)
    sources = ContextSources(folder: template.folder, tree: tree)
    definition = template.file
  }

  init(fragment: Fragment, tree: CatalogTree, bases: [String: BaseDefinition] = [:], basesUnread: Bool = false) {
    (self.bases, self.basesUnread) = (bases, basesUnread)
    sources = ContextSources(folder: fragment.contextFolder, tree: tree)
    stages = Set((fragment.stages?.instructions ?? []).compactMap(\.stageName))
    secrets = fragment.secrets
    reproducible = fragment.reproducible
    definition = fragment.file
  }
}

extension Instruction {
  /// Of a `FROM image AS name`.
  var stageName: String? {
    let words = plainWords
    return keyword == "FROM" && words.count == 3 && words[1].uppercased() == "AS" ? words[2] : nil
  }
}

/// What a text must not say, because a key could not cover it, or because the chain of layers would
/// not mean what the single Dockerfile means. What is not understood is refused.
struct TextCheck {
  let text: DockerfileText
  let owner: TextOwner
  let found: Diagnostics
  /// In `Dockerfile.stages`, where FROM is at home.
  var inStages = false

  private static let flags: [String: Set<String>] = [
    "RUN": ["mount", "network", "security"],
    "COPY": ["from", "chown", "chmod", "link", "parents", "exclude"],
    "ADD": ["chown", "chmod", "link", "checksum", "keep-git-dir", "exclude"],
    "HEALTHCHECK": ["interval", "timeout", "start-period", "start-interval", "retries"],
    "FROM": ["platform"],
  ]
  private static let keywords = [
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD",
    "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
  ]

  func run() {
    Self.refuseDirectives(text, allowed: [], found: found)
    // A stage reaches the stages before it alone.
    var stages = inStages ? [] : owner.stages
    // What the arguments are is known only in a manifest.
    var current: String?
    for (instruction, scope) in text.scoped(value: { _ in nil }) {
      if inStages, let name = instruction.stageName {
        if let current { stages.insert(current) }
        current = name
      }
      check(instruction, scope, stages)
    }
  }

  /// A directive is one only at the top of a file: here it would become a comment, or, where the
  /// text happens to come first, change how everything is read.
  static func refuseDirectives(_ text: DockerfileText, allowed: Set<String>, found: Diagnostics) {
    var line = text.firstLine
    for item in text.items {
      switch item {
      case .other(let raw):
        if let directive = DockerfileParser.directive(String(DockerfileParser.trimmedLeft(raw).prefix { $0 != "\n" })),
          ["syntax", "escape", "check"].contains(directive.name), !allowed.contains(directive.name)
        {
          let reason =
            directive.name == "syntax"
            ? "'# syntax' would run a frontend that no key covers"
            : "'# \(directive.name)' belongs to the top of a template"
          found.add(text.file, line, reason)
        }
        line += 1
      case .instruction(let instruction): line = instruction.line + instruction.raw.utf8.count { $0 == 10 }
      }
    }
  }

  private func refuse(_ instruction: Instruction, _ message: String, hint: String? = nil) {
    found.add(text.file, instruction.line, message, suggestion: hint.map(Diagnostic.Suggestion.hint))
  }

  private func check(_ instruction: Instruction, _ scope: ArgumentScope, _ stages: Set<String>) {
    guard Self.keywords.contains(instruction.keyword) else {
      found.add(
        text.file, instruction.line, "'\(instruction.keyword)' is not an instruction",
        suggestion: NearestName.suggestion(for: instruction.keyword, among: Self.keywords))
      return
    }
    checkFlags(instruction, stages)
    checkVariables(instruction)
    switch instruction.keyword {
    case "ONBUILD": refuse(instruction, "ONBUILD takes effect in the next layer, but not in a single Dockerfile")
    case "MAINTAINER":
      refuse(instruction, "MAINTAINER is obsolete", hint: "say LABEL org.opencontainers.image.authors=…")
    case "FROM" where !inStages:
      refuse(instruction, "FROM begins another image", hint: "builder stages go to Dockerfile.stages")
    case "ARG": checkArguments(instruction)
    case "ENV" where instruction.environmentNames.contains(ArgumentRule.epoch):
      refuse(instruction, "'\(ArgumentRule.epoch)' is set by the build itself")
    case "COPY", "ADD":
      if instruction.plainWords.count < 2 {
        refuse(instruction, "\(instruction.keyword) needs a source and a destination")
      }
    case "RUN": checkRun(instruction, stages)
    default: break
    }
    for problem in instruction.sourceProblems(scope, in: owner.sources) {
      refuse(instruction, problem.message, hint: problem.hint)
    }
    if instruction.rest.isEmpty { refuse(instruction, "\(instruction.keyword) says nothing") }
  }

  private func checkFlags(_ instruction: Instruction, _ stages: Set<String>) {
    let known = Self.flags[instruction.keyword] ?? []
    for flag in instruction.flags where !known.contains(flag.name) {
      found.add(
        text.file, instruction.line, "\(instruction.keyword) has no flag '--\(flag.name)'",
        suggestion: NearestName.suggestion(for: flag.name, among: known.sorted()))
    }
    for flag in instruction.flags {
      switch flag.name {
      case "exclude", "parents":
        refuse(instruction, "--\(flag.name) is not known to the stable frontend of every builder")
      case "chmod" where !(flag.value ?? "").utf8.allSatisfy { (48...55).contains($0) } || (flag.value ?? "").isEmpty:
        refuse(
          instruction, "--chmod=\(flag.value ?? "") is not known to every builder; write octal digits, such as 0755")
      case "network" where flag.value != "none" && flag.value != "default":
        refuse(instruction, "--network=\(flag.value ?? "") is not supported: only 'default' and 'none'")
      case "security": refuse(instruction, "--security is not supported: a step runs without extra rights")
      case "from": checkFrom(flag.value ?? "", instruction, stages)
      case "platform": refuse(instruction, "--platform is not supported: a stage has the platform of its layer")
      case "keep-git-dir" where flag.value != "false":
        refuse(instruction, "--keep-git-dir brings a folder that is another one each time")
      case "link" where !["true", "false", nil].contains(flag.value):
        refuse(instruction, "--link=\(flag.value ?? "") is neither true nor false")
      default: break
      }
    }
  }

  private func checkFrom(_ name: String, _ instruction: Instruction, _ stages: Set<String>) {
    if stages.contains(name) { return }
    if let base = owner.bases[name] {
      if base.layoutPath != nil {
        refuse(instruction, "'\(name)' is an OCI layout; files can be taken only from an image in a registry")
      }
      return
    }
    if !name.isEmpty, name.utf8.allSatisfy({ (48...57).contains($0) }) {
      refuse(
        instruction, "--from=\(name) is a number, which means another stage in a layer than in the single Dockerfile")
    } else if !owner.basesUnread {
      found.add(
        text.file, instruction.line,
        "'\(name)' is neither an earlier stage of this fragment's Dockerfile.stages nor a base image of catalog.yml, so it is not locked",
        suggestion: NearestName.suggestion(for: name, among: stages.sorted() + owner.bases.keys.sorted()))
    }
  }

  private func checkVariables(_ instruction: Instruction) {
    for name in instruction.variableNames.sorted() {
      if ArgumentRule.buildHost.contains(name) {
        refuse(
          instruction, "$\(name) differs from host to host",
          hint: "$\(name.replacing("BUILD", with: "TARGET")) does not")
      } else if name.hasPrefix("BUILDKIT_") {
        refuse(instruction, "$\(name) is a setting of the builder")
      }
    }
  }

  private func checkArguments(_ instruction: Instruction) {
    for argument in instruction.declaredArguments {
      if ArgumentRule.predefined.contains(argument.name) || argument.name == ArgumentRule.epoch {
        if argument.value != nil {
          refuse(instruction, "'\(argument.name)' is set by the build itself; declare it without a value")
        }
      } else if let problem = ArgumentRule.problem(with: argument.name) {
        refuse(instruction, problem)
      } else if argument.value.map({ $0.contains("$") }) ?? false {
        refuse(instruction, "a default made of other variables is not supported")
      } else if argument.value.map({ $0.utf8.contains { $0 < 0x20 || $0 == 0x7F } }) ?? false {
        refuse(instruction, "control characters are not supported in an argument's value")
      }
    }
  }

  private static let mountKeys: [String: Set<String>] = [
    "bind": ["type", "target", "dst", "destination", "source", "src", "from", "rw", "readwrite", "ro", "readonly"],
    "cache": [
      "type", "id", "target", "dst", "destination", "source", "src", "from", "ro", "readonly", "sharing", "mode", "uid",
      "gid",
    ],
    "tmpfs": ["type", "target", "dst", "destination", "size"],
    "secret": ["type", "id", "target", "dst", "destination", "required", "mode", "uid", "gid"],
  ]

  private func checkRun(_ instruction: Instruction, _ stages: Set<String>) {
    for mount in instruction.mounts {
      if mount.type == "ssh" {
        refuse(
          instruction, "an ssh mount brings what an agent opens, which no key covers and no build machine has",
          hint: "use a secret, whose version is in the key")
        continue
      }
      guard let keys = Self.mountKeys[mount.type] else {
        refuse(instruction, "a mount of type '\(mount.type)' is not supported; there are bind, cache, secret and tmpfs")
        continue
      }
      for option in mount.options where !keys.contains(option.key) {
        found.add(
          text.file, instruction.line, "a mount of type '\(mount.type)' has no option '\(option.key)'",
          suggestion: NearestName.suggestion(for: option.key, among: keys.sorted()))
      }
      for key in ["type", "from", "id"] where mount[key]?.contains("$") ?? false {
        refuse(instruction, "a variable in a mount's '\(key)' is not supported")
      }
      if mount.has("from") { checkFrom(mount["from"] ?? "", instruction, stages) }
      switch mount.type {
      case "cache": checkCache(mount, instruction)
      case "secret": checkSecret(mount, instruction)
      default: break
      }
    }
  }

  private func checkCache(_ mount: Instruction.Mount, _ instruction: Instruction) {
    if owner.reproducible {
      refuse(
        instruction, "a cache mount leaks between builds and differs from host to host",
        hint: "say 'reproducible: false' in \(owner.definition), or do without")
    }
    if mount["source", "src"] != nil, !mount.has("from") {
      refuse(instruction, "a cache mount's source needs 'from'")
    }
  }

  private func checkSecret(_ mount: Instruction.Mount, _ instruction: Instruction) {
    let isRequired = mount.options.contains { $0.key == "required" && ($0.value ?? "true") == "true" }
    if !isRequired {
      refuse(
        instruction, "a secret that may be missing gives another layer under the same key", hint: "say required=true")
    }
    guard let id = mount["id"] else {
      refuse(instruction, "a secret mount needs an id")
      return
    }
    if owner.secrets[id] == nil {
      found.add(
        text.file, instruction.line, "the secret '\(id)' is not declared in \(owner.definition)",
        suggestion: NearestName.suggestion(for: id, among: owner.secrets.keys.sorted()))
    }
  }
}

extension DockerfileText {
  var firstLine: Int {
    var before = 0
    for item in items {
      switch item {
      case .other: before += 1
      case .instruction(let instruction): return instruction.line - before
      }
    }
    return 1
  }
}
