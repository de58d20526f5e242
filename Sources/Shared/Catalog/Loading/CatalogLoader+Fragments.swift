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
    checkName(fields, is: folder.id.name, required: true)
    checkName(fields, is: folder.id.version, required: true, field: "version")
    let description = fields.requireString("description")
    let arguments = arguments(fields)
    let secrets = secrets(fields)
    let requires = relations("requires", of: folder.id, fields)
    let conflicts = relations("conflicts", of: folder.id, fields)
    let refresh = refresh(fields)
    let reproducible = fields.bool("reproducible", default: true)
    let (root, extra) = context(fields)
    let tests = tests(fields)
    fields.finish()
    guard let text = text("\(folder.path)/\(Self.fragmentFile)") else {
      missed(folder.id, in: "fragments")
      return nil
    }
    let stagesPath = "\(folder.path)/\(Self.stagesFile)"
    let stages = tree[stagesPath] == nil ? nil : self.text(stagesPath)
    let fragment = Fragment(
      id: folder.id, description: description?.value ?? "", file: path, arguments: arguments, secrets: secrets,
      requires: requires, conflicts: conflicts, refreshSeconds: refresh, reproducible: reproducible,
      contextRoot: root, extraFiles: extra, tests: tests,
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
  private func relations(_ name: String, of id: FragmentVersion, _ fields: Fields) -> [Fragment.Relation] {
    fields.members(name).compactMap { member in
      let field = "\(name).\(member.key)"
      guard fields.checkedName(Located(member.key, line: member.line), field) != nil else { return nil }
      if member.key == id.name {
        fields.report(field, line: member.line, "a fragment cannot be related to itself")
        return nil
      }
      var relation = Fragment.Relation(fragment: member.key, versions: nil, line: member.line)
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

  /// `context: catalog`, or a list of extra files.
  private func context(_ fields: Fields) -> (Fragment.ContextRoot, [Located<String>]) {
    guard let value = fields.value("context") else { return (.fragment, []) }
    switch value.content {
    case .scalar("catalog", _): return (.catalog, [])
    case .list: return (.fragment, fields.strings("context"))
    default:
      fields.report(
        "context", line: value.line, "expected 'catalog', or a list of files besides those that the text names")
      return (.fragment, [])
    }
  }
}
