import Model

extension CatalogLoader {
  func testPlan(_ definition: DefinitionFile) -> TestPlan? {
    let fields = Fields(definition.content, file: definition.path, found: found)
    checkName(fields, is: definition.name)
    let description = fields.string("description")
    let product = fields.checkedName(fields.requireString("product"), "product")
    let manifest = fields.checkedName(fields.string("manifest"), "manifest")
    let fixed = fixedVersions(fields)
    var matrix = fields.value("matrix").map { self.matrix($0, fields) }
    // Beside the matrix, or in it as a product writes it.
    let (include, exclude) = (choices("include", fields), choices("exclude", fields))
    if !include.isEmpty || !exclude.isEmpty {
      var whole = matrix ?? Matrix(axes: [], include: [], exclude: [], line: fields.line)
      whole.include += include
      whole.exclude += exclude
      matrix = whole
    }
    fields.finish()
    if matrix == nil, fixed.isEmpty {
      fields.report("matrix", line: fields.line, "expected a matrix, or fixed versions: there is nothing to explore")
      return nil
    }
    for axis in matrix?.axes ?? [] where fixed[axis.fragment] != nil {
      fields.report("matrix.\(axis.fragment)", line: axis.line, "'\(axis.fragment)' is fixed already")
    }
    guard let product else { return nil }
    return TestPlan(
      name: definition.name, file: definition.path, description: description?.value, product: product,
      manifest: manifest, fixed: fixed, matrix: matrix)
  }

  private func fixedVersions(_ fields: Fields) -> [String: Located<String>] {
    var fixed: [String: Located<String>] = [:]
    for member in fields.members("fixed") {
      let field = "fixed.\(member.key)"
      guard let name = fields.checkedName(Located(member.key, line: member.line), field),
        let version = fields.checkedVersion(fields.text(of: member.value, field), field)
      else { continue }
      fixed[name.value] = version
    }
    return fixed
  }
}
