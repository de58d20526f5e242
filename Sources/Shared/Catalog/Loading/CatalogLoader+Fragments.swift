import Model

extension CatalogLoader {
  static let fragmentFile = "Dockerfile.fragment"
  static let stagesFile = "Dockerfile.stages"
  /// What a fragment's own folder holds that is not for its image.
  static let definitionFiles: Set<String> = [
    "fragment.yml", "fragment.yaml", "fragment.json", fragmentFile, stagesFile, templateFile,
  ]

  func fragment(_ folder: VersionFolder, bases: [String: BaseDefinition]) -> Fragment? {
    guard let (path, content) = document("fragment", in: folder.path) else {
      missed(folder.id, in: "fragments")
      return nil
    }
    let fields = Fields(content, file: path, found: found)
    checkName(fields, is: folder.ownName, required: true)
    checkName(fields, is: folder.id.version, required: true, field: "version")
    let description = fields.requireString("description")
    let arguments = arguments(fields)
    let secrets = secrets(fields)
    let requires = relations("requires", of: folder, fields)
    let conflicts = relations("conflicts", of: folder, fields)
    let order = fields.integer("order", in: 0...1_000_000)
    let deprecation = fields.mapping("deprecated").map(deprecation)
    let refresh = refresh(fields)
    let reproducible = fields.bool("reproducible", default: true)
    let independent = fields.bool("independent", default: false)
    let (root, extra) = context(fields, isOwn: folder.id.name == folder.ownName)
    let tests = tests(fields)
    fields.finish()
    guard let text = text("\(folder.path)/\(Self.fragmentFile)") else {
      missed(folder.id, in: "fragments")
      return nil
    }
    let stagesPath = "\(folder.path)/\(Self.stagesFile)"
    let stages = tree[stagesPath] == nil ? nil : self.text(stagesPath)
    let fragment = Fragment(
      id: folder.id, ownName: folder.ownName, folder: folder.path, description: description?.value ?? "", order: order,
      deprecation: deprecation, file: path, arguments: arguments, secrets: secrets,
      requires: requires, conflicts: conflicts, refreshSeconds: refresh, reproducible: reproducible,
      independent: independent, contextRoot: root, extraFiles: extra, tests: tests,
      text: DockerfileParser.parse(text, file: "\(folder.path)/\(Self.fragmentFile)", into: found),
      stages: stages.map { DockerfileParser.parse($0, file: stagesPath, into: found) })
    FragmentCheck(fragment: fragment, tree: tree, bases: bases, basesUnread: unread.bases, found: found).run()
    return fragment
  }

  private func arguments(_ fields: Fields) -> [String: Located<String?>] {
    var arguments: [String: Located<String?>] = [:]
    for (name, value) in dictionary("args", fields) {
      let field = "args.\(name)"
      guard checkArgument(name, line: value.line, field: field, fields) else { continue }
      if let text = value.value, checkedValue(Located(text, line: value.line), field: field, fields) == nil { continue }
      arguments[name] = value
    }
    return arguments
  }

  /// `id: version`, where the version is raised whenever the secret's value changes what is built.
  private func secrets(_ fields: Fields) -> [String: String] {
    var secrets: [String: String] = [:]
    for (id, version) in dictionary("secrets", fields) {
      let field = "secrets.\(id)"
      guard Name.isTag(id) else {
        fields.report(field, line: version.line, "'\(id)' is not a secret's id: \(Fields.versionRule)")
        continue
      }
      guard let text = version.value, Name.isTag(text) else {
        fields.report(
          field, line: version.line, "expected a version, such as 1: the builder cannot see whether the value changed")
        continue
      }
      secrets[id] = text
    }
    return secrets
  }

  /// `fragment: version`, `fragment: [versions]` or `fragment: any`.
  private func relations(_ name: String, of folder: VersionFolder, _ fields: Fields) -> [Fragment.Relation] {
    // Another catalog's fragments speak of each other by their own names.
    let prefix = String(folder.id.name.dropLast(folder.ownName.count))
    return fields.members(name).compactMap { member in
      let field = "\(name).\(member.key)"
      guard fields.checkedName(Located(member.key, line: member.line), field) != nil else { return nil }
      if member.key == folder.ownName {
        fields.report(field, line: member.line, "a fragment cannot be related to itself")
        return nil
      }
      var relation = Fragment.Relation(fragment: prefix + member.key, versions: nil, line: member.line)
      switch member.value.content {
      case .scalar("any", _): return relation
      case .list:
        relation.versions = fields.items(of: member.value, field).enumerated().compactMap { index, item in
          fields.checkedVersion(fields.text(of: item, "\(field)[\(index)]"), "\(field)[\(index)]")?.value
        }
        return relation
      case .scalar:
        guard let version = fields.checkedVersion(fields.text(of: member.value, field), field) else { return nil }
        relation.versions = [version.value]
        return relation
      case .null, .map:
        fields.report(field, line: member.line, "expected a version, a list of versions, or 'any'")
        return nil
      }
    }
  }

  /// A number and a unit: `12h`, `7d`, `4w`.
  private func refresh(_ fields: Fields) -> Int? {
    guard let text = fields.string("refresh") else { return nil }
    let units: [Character: Int] = ["h": 3600, "d": 86_400, "w": 604_800]
    guard let last = text.value.last, let unit = units[last], let count = Int(text.value.dropLast()),
      (1...10_000).contains(count), text.value.first != "+"
    else {
      fields.report("refresh", line: text.line, "expected a number and a unit, such as 12h, 7d or 4w")
      return nil
    }
    return count * unit
  }

  /// `{use: VERSION, until: YYYY-MM-DD}`; either may be left out.
  private func deprecation(_ fields: Fields) -> Fragment.Deprecation {
    var deprecation = Fragment.Deprecation(line: fields.line)
    deprecation.use = fields.checkedVersion(fields.string("use"), "use")?.value
    if let text = fields.string("until") {
      deprecation.until = Day(text.value)
      if deprecation.until == nil {
        fields.report("until", line: text.line, "'\(text.value)' is not a day, such as 2027-01-31")
      }
    }
    fields.finish()
    return deprecation
  }

  /// `context: catalog`, a list of extra files, or a mapping that says where an application's source is.
  func context(_ fields: Fields, isOwn: Bool) -> (Fragment.ContextRoot, [Located<String>]) {
    guard let value = fields.value("context") else { return (.fragment, []) }
    switch value.content {
    case .scalar("catalog", _): return (.catalog, [])
    case .list: return (.fragment, fields.strings("context"))
    case .map:
      if !isOwn {
        fields.report("context", line: value.line, "a fragment of another catalog can only have files of that catalog")
      }
      return application(fields) ?? (.fragment, [])
    default:
      fields.report(
        "context", line: value.line,
        "expected 'catalog', a list of files besides those that the text names, or {dir: PATH} or {git: URL, revision: COMMIT}"
      )
      return (.fragment, [])
    }
  }

  private func application(_ parent: Fields) -> (Fragment.ContextRoot, [Located<String>])? {
    guard let fields = parent.mapping("context") else { return nil }
    let folder = fields.string("dir")
    let extra = fields.strings("files")
    let isGit = folder == nil || fields.value("git") != nil
    let git = isGit ? gitSource(fields) : nil
    fields.finish()
    if let folder {
      if isGit {
        fields.report("dir", line: folder.line, "either 'dir' or 'git' says where the source is, not both")
      } else if folder.value.hasPrefix("/") || folder.value.hasPrefix("-") || !Reference.isFolder(folder.value) {
        fields.report("dir", line: folder.line, "'\(folder.value)' is not a path relative to the catalog's folder")
      }
      return (.application(.folder(folder.value)), extra)
    }
    return git.map { (.application(.git($0)), extra) }
  }
}
