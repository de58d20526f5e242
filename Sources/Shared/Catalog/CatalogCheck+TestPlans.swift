import Model

extension CatalogCheck {
  func checkTestPlan(_ plan: TestPlan) {
    guard let product = catalog.products[plan.product.value] else {
      if !unread.products.contains(plan.product.value) {
        found.add(
          plan.file, plan.product.line, field: "product", "there is no product '\(plan.product.value)'",
          suggestion: NearestName.suggestion(for: plan.product.value, among: catalog.products.keys.sorted()))
      }
      return
    }
    // What is wrong with the product itself is said in its own file.
    let others = product.targets.compactMap(\.manifest?.value) + (plan.manifest == nil ? [product.manifest.value] : [])
    guard others.allSatisfy({ catalog.manifests[$0] != nil }), checkFixed(plan, product) else { return }
    if let derived = catalog.product(of: plan) { checkProduct(derived) }
  }

  private func checkFixed(_ plan: TestPlan, _ product: Product) -> Bool {
    let before = found.count
    let names = Set(product.targets.map { ($0.manifest ?? plan.manifest ?? product.manifest).value })
    for name in names.sorted() {
      let fragments = catalog.manifests[name]?.fragments.map(\.value.name)
      for (fragment, version) in plan.fixed.sorted(by: { $0.key < $1.key }) {
        let id = FragmentVersion(name: fragment, version: version.value)
        if let fragments, !fragments.contains(fragment) {
          found.add(
            plan.file, version.line, field: "fixed.\(fragment)", "the manifest '\(name)' has no fragment '\(fragment)'",
            suggestion: NearestName.suggestion(for: fragment, among: fragments))
        } else if catalog.fragments[id] == nil, !unread.fragments.contains(id) {
          found.add(catalog.unknownFragment(id, file: plan.file, line: version.line, field: "fixed.\(fragment)"))
        }
      }
    }
    return found.count == before
  }
}
