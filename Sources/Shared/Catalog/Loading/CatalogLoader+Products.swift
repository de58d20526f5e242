import Model

extension CatalogLoader {
  func manifest(_ definition: DefinitionFile) -> ProductManifest? {
    let before = found.count
    let fields = Fields(definition.content, file: definition.path, found: found)
    checkName(fields, is: definition.name)
    let template = fields.requireString("template").flatMap { fragmentVersion($0, "template", fields) }
    let base = fields.requireString("base")
    let fragments = fields.value("fragments").map { manifestFragments($0, fields) } ?? []
    var arguments: [String: Located<String>] = [:]
    for (name, value) in dictionary("args", fields) {
      guard let text = value.value else {
        fields.report("args.\(name)", line: value.line, "says nothing; write \"\" for an empty value")
        continue
      }
      if checkArgument(name, line: value.line, field: "args.\(name)", fields) {
        arguments[name] = checkedValue(Located(text, line: value.line), field: "args.\(name)", fields)
      }
    }
    fields.finish()
    if found.count > before { missedManifest(definition.name) }
    guard let template, let base else { return nil }
    return ProductManifest(
      name: definition.name, file: definition.path, template: template, base: base, fragments: fragments,
      fragmentsLine: fields.line(of: "fragments"), arguments: arguments)
  }

  /// A list of `name@version`, or a mapping from name to version.
  private func manifestFragments(_ value: YAMLValue, _ fields: Fields) -> [Located<FragmentVersion>] {
    var all: [Located<FragmentVersion>] = []
    if case .map = value.content {
      for member in fields.members(of: value, "fragments") {
        let field = "fragments.\(member.key)"
        guard let name = fields.checkedName(Located(member.key, line: member.line), field),
          let text = fields.text(of: member.value, field), let version = fields.checkedVersion(text, field)
        else { continue }
        all.append(Located(FragmentVersion(name: name.value, version: version.value), line: member.line))
      }
    } else {
      for (index, item) in fields.items(of: value, "fragments").enumerated() {
        let field = "fragments[\(index)]"
        guard let text = fields.text(of: item, field), let id = fragmentVersion(text, field, fields) else { continue }
        if all.contains(where: { $0.value.name == id.value.name }) {
          fields.report(field, line: id.line, "fragment '\(id.value.name)' is there twice")
        } else {
          all.append(id)
        }
      }
    }
    return all
  }

  /// What may be an argument's name: no setting of the builder, nothing that differs by host.
  func checkArgument(_ name: String, line: Int, field: String?, _ fields: Fields) -> Bool {
    if let problem = ArgumentRule.problem(with: name) {
      found.add(fields.file, line, field: field, problem)
      return false
    }
    return true
  }

  func checkedValue(_ value: Located<String>, field: String, _ fields: Fields) -> Located<String>? {
    guard !value.value.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
      fields.report(
        field, line: value.line, "control characters and line ends are not supported in an argument's value")
      return nil
    }
    return value
  }

  func product(_ definition: DefinitionFile) -> Product? {
    let fields = Fields(definition.content, file: definition.path, found: found)
    checkName(fields, is: definition.name)
    let image = fields.requireString("image")
    if let image, !Name.isRepository(image.value) {
      fields.report(
        "image", line: image.line,
        "'\(image.value)' is not a repository: names separated by '/', without registry or tag")
    }
    let version = fields.checkedVersion(fields.requireString("version"), "version")
    let description = fields.string("description")
    let manifest = fields.checkedName(fields.requireString("manifest"), "manifest")
    if fields.require("tags") != nil, fields.items("tags").isEmpty {
      fields.report("tags", line: fields.line(of: "tags"), "expected at least one rule")
    }
    let tags = fields.strings("tags")
    for (index, rule) in tags.enumerated() {
      if let problem = TagRule.problem(with: rule.value) {
        fields.report("tags[\(index)]", line: rule.line, problem.message, suggestion: problem.suggestion)
      }
    }
    let targets = targets(fields)
    let matrix = fields.value("matrix").map { self.matrix($0, fields) }
    let tests = tests(fields)
    let testRetries = testRetries(fields)
    fields.finish()
    guard let image, let version, let manifest else { return nil }
    return Product(
      name: definition.name, file: definition.path, image: image.value, version: version.value,
      description: description?.value, tagRules: tags, manifest: manifest, targets: targets, matrix: matrix,
      tests: tests, testRetries: testRetries)
  }

  /// Only of its tests: a layer is several products', and its pool says how often it is tried.
  private func testRetries(_ fields: Fields) -> RetryChange? {
    guard let retries = fields.mapping("retries") else { return nil }
    defer { retries.finish() }
    guard let test = retries.mapping("test") else { return nil }
    let change = RetryChange(
      attempts: test.integer("attempts", in: 1...100),
      firstDelaySeconds: test.integer("firstDelaySeconds", in: 0...86_400).map(Double.init),
      maximumDelaySeconds: test.integer("maximumDelaySeconds", in: 0...86_400).map(Double.init))
    test.finish()
    if let first = change.firstDelaySeconds, let maximum = change.maximumDelaySeconds, first > maximum {
      test.report("firstDelaySeconds", line: test.line, "the first delay is longer than the maximum")
    }
    return change
  }

  private func targets(_ fields: Fields) -> [ProductTarget] {
    if fields.require("targets") != nil, fields.items("targets").isEmpty {
      fields.report("targets", line: fields.line(of: "targets"), "expected at least one target")
    }
    var targets: [ProductTarget] = []
    for item in fields.mappings("targets") {
      let platform = item.requireString("platform").flatMap { self.platform($0, item) }
      let accelerator = item.mapping("accelerator").flatMap(self.accelerator)
      let required = item.bool("required", default: true)
      let manifest = item.checkedName(item.string("manifest"), "manifest")
      item.finish()
      guard let platform else { continue }
      let target = BuildTarget(platform: platform, accelerator: accelerator)
      if let other = targets.first(where: { $0.target == target }) {
        item.report(
          "platform", line: item.line(of: "platform"),
          "\(platform)\(accelerator == nil ? "" : " with this accelerator") is a target already, on line \(other.line)")
        continue
      }
      targets.append(ProductTarget(target: target, required: required, manifest: manifest, line: item.line))
    }
    return targets
  }

  static let knownPlatforms = [
    "linux/386", "linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/arm/v5", "linux/arm/v6", "linux/arm/v7",
    "linux/arm64", "linux/loong64", "linux/mips64le", "linux/ppc64le", "linux/riscv64", "linux/s390x",
  ]

  private func platform(_ text: Located<String>, _ fields: Fields) -> Platform? {
    if let platform = Platform(text.value), Self.knownPlatforms.contains(platform.description) { return platform }
    fields.report(
      "platform", line: text.line, "'\(text.value)' is not a platform that Kiln knows",
      suggestion: NearestName.suggestion(for: text.value, among: Self.knownPlatforms))
    return nil
  }

  private func accelerator(_ fields: Fields) -> Accelerator? {
    let vendor = fields.checkedName(fields.requireString("vendor"), "vendor")
    let driver = fields.checkedVersion(fields.string("minimumDriver"), "minimumDriver")
    let capability = fields.checkedVersion(fields.string("computeCapability"), "computeCapability")
    let count = fields.integer("count", in: 1...1024)
    fields.finish()
    return vendor.map {
      Accelerator(
        vendor: $0.value, minimumDriver: driver?.value, computeCapability: capability?.value, count: count)
    }
  }

  /// `fragment: [versions]` for each axis, and `include`, `exclude`: lists of choices.
  func matrix(_ value: YAMLValue, _ parent: Fields) -> Matrix {
    let fields = Fields(value, file: parent.file, prefix: "matrix.", found: found)
    var matrix = Matrix(axes: [], include: [], exclude: [], line: value.line)
    matrix.include = choices("include", fields)
    matrix.exclude = choices("exclude", fields)
    for member in parent.members(of: value, "matrix") where !["include", "exclude"].contains(member.key) {
      guard fields.value(member.key) != nil else {
        fields.report(member.key, line: member.line, "expected a list of versions")
        continue
      }
      guard fields.checkedName(Located(member.key, line: member.line), member.key) != nil else { continue }
      var versions: [Located<String>] = []
      for (index, text) in fields.strings(member.key).enumerated() {
        guard let version = fields.checkedVersion(text, "\(member.key)[\(index)]") else { continue }
        if versions.contains(where: { $0.value == version.value }) {
          fields.report("\(member.key)[\(index)]", line: version.line, "'\(version.value)' is there twice")
        } else {
          versions.append(version)
        }
      }
      if versions.isEmpty { fields.report(member.key, line: member.line, "expected at least one version") }
      matrix.axes.append(Matrix.Axis(fragment: member.key, versions: versions, line: member.line))
    }
    matrix.axes.sort { $0.fragment < $1.fragment }
    if matrix.axes.isEmpty, matrix.include.isEmpty {
      parent.report("matrix", line: value.line, "expected at least one fragment with versions")
    }
    return matrix
  }

  func choices(_ name: String, _ fields: Fields) -> [Located<Matrix.Choice>] {
    fields.items(name).enumerated().compactMap { index, item in
      var choice: Matrix.Choice = [:]
      let field = "\(name)[\(index)]"
      for member in fields.members(of: item, field) {
        let path = "\(field).\(member.key)"
        guard let fragment = fields.checkedName(Located(member.key, line: member.line), path),
          let text = fields.text(of: member.value, path), let version = fields.checkedVersion(text, path)
        else { continue }
        choice[fragment.value] = version.value
      }
      guard !choice.isEmpty else {
        fields.report(field, line: item.line, "expected fragments with their versions")
        return nil
      }
      return Located(choice, line: item.line)
    }
  }
}
