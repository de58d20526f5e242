import Model

/// What can be said once every definition is read: references between them, and combinations.
struct CatalogCheck {
  let catalog: Catalog
  let unread: CatalogLoader.Unread
  let found: Diagnostics

  func run() {
    for fragment in catalog.fragments.values {
      checkRelations(fragment)
      checkDeprecation(fragment)
    }
    checkCycles()
    for manifest in catalog.manifests.values { checkManifest(manifest) }
    for product in catalog.products.values { checkProduct(product) }
    for plan in catalog.testPlans.values { checkTestPlan(plan) }
  }

  // MARK: Fragments

  private func checkRelations(_ fragment: Fragment) {
    for (field, relations) in [("requires", fragment.requires), ("conflicts", fragment.conflicts)] {
      for relation in relations {
        let versions = relation.versions ?? [catalog.versions(ofFragment: relation.fragment).first ?? ""]
        for version in versions {
          let id = FragmentVersion(name: relation.fragment, version: version)
          if catalog.fragments[id] == nil, !unread.fragments.contains(where: { $0.name == id.name }) {
            found.add(
              catalog.unknownFragment(
                id, file: fragment.file, line: relation.line, field: "\(field).\(relation.fragment)"))
          }
        }
      }
    }
  }

  private func checkDeprecation(_ fragment: Fragment) {
    guard let deprecation = fragment.deprecation, let version = deprecation.use else { return }
    let field = "deprecated.use"
    let id = FragmentVersion(name: fragment.id.name, version: version)
    if id == fragment.id {
      found.add(fragment.file, deprecation.line, field: field, "a version cannot be used in place of itself")
    } else if catalog.fragments[id] == nil, !unread.fragments.contains(id) {
      found.add(catalog.unknownFragment(id, file: fragment.file, line: deprecation.line, field: field))
    }
  }

  /// `requires` means "below", so a cycle has no bottom.
  private func checkCycles() {
    enum Mark { case open, done }
    var marks: [FragmentVersion: Mark] = [:]
    var trail: [Fragment] = []
    func visit(_ fragment: Fragment) {
      marks[fragment.id] = .open
      trail.append(fragment)
      for relation in fragment.requires {
        for next in catalog.fragments.values.filter({ relation.matches($0.id) }).sorted(by: {
          $0.id.version < $1.id.version
        }) {
          switch marks[next.id] {
          case nil: visit(next)
          case .done: continue
          case .open:
            let cycle = trail.drop { $0.id != next.id }.map(\.id.description) + [next.id.description]
            found.add(
              fragment.file, relation.line, field: "requires.\(relation.fragment)",
              "fragments require each other in a cycle: \(cycle.joined(separator: " → "))")
          }
        }
      }
      trail.removeLast()
      marks[fragment.id] = .done
    }
    for fragment in catalog.fragments.values.sorted(by: { $0.id.description < $1.id.description })
    where marks[fragment.id] == nil {
      visit(fragment)
    }
  }

  // MARK: Manifests

  private func checkManifest(_ manifest: ProductManifest) {
    var whole = true
    if catalog.templates[manifest.template.value] == nil {
      whole = false
      if !unread.templates.contains(manifest.template.value) { found.add(catalog.unknownTemplate(manifest)) }
    }
    if catalog.settings.bases[manifest.base.value] == nil {
      whole = false
      if !unread.bases { found.add(catalog.unknownBase(manifest)) }
    }
    for (index, entry) in manifest.fragments.enumerated() where catalog.fragments[entry.value] == nil {
      whole = false
      if !unread.fragments.contains(entry.value) {
        found.add(
          catalog.unknownFragment(entry.value, file: manifest.file, line: entry.line, field: "fragments[\(index)]"))
      }
    }
    if whole { check(manifest.name, [:]) }
    checkArgumentNames(manifest)
  }

  private func checkArgumentNames(_ manifest: ProductManifest) {
    let names = Set(manifest.fragments.map(\.value.name))
    guard let template = catalog.templates[manifest.template.value],
      !unread.fragments.contains(where: { names.contains($0.name) })
    else { return }
    var known = Set(template.globalArguments.map(\.name))
    for case .text(let text) in template.parts { known.formUnion(text.arguments.map(\.name)) }
    for marker in template.markers { known.formUnion(marker.standard.arguments.map(\.name)) }
    for fragment in catalog.fragments.values where names.contains(fragment.id.name) {
      known.formUnion(fragment.text.arguments.map(\.name))
      known.formUnion(fragment.stages?.arguments.map(\.name) ?? [])
    }
    for (name, value) in manifest.arguments where !known.contains(name) {
      found.add(
        manifest.file, value.line, field: "args.\(name)", "no fragment of this manifest has an argument '\(name)'",
        suggestion: NearestName.suggestion(for: name, among: known.sorted()))
    }
  }

  private func check(_ manifest: String, _ choice: Matrix.Choice) {
    // What a manifest that is itself wrong leaves out would be reported a second time.
    guard !unread.manifests.contains(manifest),
      let composition = try? catalog.compose(manifest: manifest, choice: choice),
      composition.impossibility == nil
    else { return }
    CompositionCheck(composition: composition, tree: catalog.tree, found: found).run()
  }

  // MARK: Products

  func checkProduct(_ product: Product) {
    let named =
      [(product.manifest, "manifest")]
      + product.targets.enumerated().compactMap { index, target in
        target.manifest.map { ($0, "targets[\(index)].manifest") }
      }
    var manifests: [String] = []
    for (manifest, field) in named {
      if catalog.manifests[manifest.value] != nil {
        if !manifests.contains(manifest.value) { manifests.append(manifest.value) }
      } else if !unread.manifests.contains(manifest.value) {
        found.add(
          product.file, manifest.line, field: field, "there is no manifest '\(manifest.value)'",
          suggestion: NearestName.suggestion(for: manifest.value, among: catalog.manifests.keys.sorted()))
      }
    }
    guard let matrix = product.matrix else {
      for rule in product.tagRules where TagRule.mentionsVariant(rule.value) {
        found.add(product.file, rule.line, field: "tags", "'{variant}' is empty: the product has no matrix")
      }
      return
    }
    // Before anything is expanded: ten axes of ten are more than any memory.
    guard let size = matrix.size, size <= catalog.settings.maxVariants else {
      let size = matrix.size.map(String.init) ?? "too many to count"
      found.add(
        product.file, matrix.line, field: "matrix",
        "the matrix has \(size) variants; at most \(catalog.settings.maxVariants) are allowed",
        suggestion: .hint("exclude some, or raise 'maxVariants' in catalog.yml"))
      return
    }
    for manifest in manifests { checkMatrix(matrix, product, manifest) }
  }

  private func checkMatrix(_ matrix: Matrix, _ product: Product, _ name: String) {
    guard let manifest = catalog.manifests[name] else { return }
    let fragments = manifest.fragments.map(\.value.name)
    var fine = true
    func checkFragment(_ fragment: String, _ version: String, line: Int, field: String) {
      let id = FragmentVersion(name: fragment, version: version)
      if !fragments.contains(fragment) {
        fine = false
        found.add(
          product.file, line, field: field, "the manifest '\(name)' has no fragment '\(fragment)'",
          suggestion: NearestName.suggestion(for: fragment, among: fragments))
      } else if catalog.fragments[id] == nil {
        fine = false
        if !unread.fragments.contains(id) {
          found.add(catalog.unknownFragment(id, file: product.file, line: line, field: field))
        }
      }
    }
    for axis in matrix.axes {
      for (index, version) in axis.versions.enumerated() {
        checkFragment(axis.fragment, version.value, line: version.line, field: "matrix.\(axis.fragment)[\(index)]")
      }
    }
    for (index, choice) in matrix.include.enumerated() {
      for (fragment, version) in choice.value {
        checkFragment(fragment, version, line: choice.line, field: "matrix.include[\(index)].\(fragment)")
      }
    }
    guard fine else { return }
    for (index, choice) in matrix.exclude.enumerated() where !matrix.hasVariant(of: choice.value) {
      found.add(
        product.file, choice.line, field: "matrix.exclude[\(index)]", "excludes nothing: no variant has all of these")
    }
    let variants = catalog.variants(of: product, manifest: name)
    if variants.isEmpty { found.add(product.file, matrix.line, field: "matrix", "every variant is excluded") }
    if variants.count > 1 {
      for (index, rule) in product.tagRules.enumerated() where !TagRule.mentionsVariant(rule.value) {
        found.add(
          product.file, rule.line, field: "tags[\(index)]", "\(variants.count) variants would have the same tag",
          suggestion: .hint("say '{variant}' in it"))
      }
    }
    for variant in variants { check(name, variant.choice) }
  }
}
