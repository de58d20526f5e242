import Model

extension Catalog {
  /// What products are made of although it is deprecated: until its day a warning, from then on an error.
  ///
  /// The day is an argument: what a catalog says does not depend on when it is read.
  package func deprecations(on day: Day) -> (warnings: [Diagnostic], denied: [Diagnostic]) {
    var warnings: [Diagnostic] = []
    var denied: [Diagnostic] = []
    for (id, users) in usedFragments {
      guard let fragment = fragments[id], let deprecation = fragment.deprecation else { continue }
      let isOver = deprecation.until.map { $0 <= day } ?? false
      let until = deprecation.until.map { isOver ? " and refused since \($0)" : " and will be refused from \($0) on" }
      let diagnostic = Diagnostic(
        file: fragment.file, line: deprecation.line, field: "deprecated",
        "\(id) is deprecated\(until ?? ""), and \(users.sorted().joined(separator: ", ")) still \(users.count == 1 ? "has" : "have") it",
        suggestion: deprecation.use.map { .hint("use \(id.name)@\($0)") })
      if isOver { denied.append(diagnostic) } else { warnings.append(diagnostic) }
    }
    return (warnings.sorted(), denied.sorted())
  }

  /// Every version that a product's manifests or its matrix name, with those products.
  private var usedFragments: [FragmentVersion: Set<String>] {
    var used: [FragmentVersion: Set<String>] = [:]
    for product in products.values {
      let axes = product.matrix?.axes ?? []
      for name in Set(product.targets.map { ($0.manifest ?? product.manifest).value }) {
        for entry in manifests[name]?.fragments ?? [] where !axes.contains(where: { $0.fragment == entry.value.name }) {
          used[entry.value, default: []].insert(product.name)
        }
      }
      for axis in axes {
        for version in axis.versions {
          used[FragmentVersion(name: axis.fragment, version: version.value), default: []].insert(product.name)
        }
      }
      for choice in product.matrix?.include ?? [] {
        for (fragment, version) in choice.value {
          used[FragmentVersion(name: fragment, version: version), default: []].insert(product.name)
        }
      }
    }
    return used
  }
}
