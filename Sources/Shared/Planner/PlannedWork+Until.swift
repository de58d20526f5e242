package import Catalog
package import Model

/// Parts of a plan, for who works on one fragment.
extension PlannedWork {
  /// What is needed up to and including a fragment (`name` or `name@version`) in the cells that have it:
  /// layers alone, no cell, no tag. `tips` are the fragment's own layers.
  package func until(_ fragment: String) throws(CatalogErrors) -> (work: PlannedWork, tips: [PlannedLayer]) {
    let layers = byKey
    var wanted: Set<LayerKey> = []
    var tips: Set<LayerKey> = []
    for cell in plan.cells {
      guard let place = cell.path.firstIndex(where: { layers[$0]?.isOf(fragment) ?? false }) else { continue }
      wanted.formUnion(cell.path[...place])
      tips.insert(cell.path[place])
    }
    guard !tips.isEmpty else { throw unknown(fragment) }
    return (keeping(wanted), plan.layers.filter { tips.contains($0.key) })
  }

  /// What a layer stands on, without itself; nothing where that is a base.
  package func below(_ layer: PlannedLayer) -> PlannedWork {
    let layers = byKey
    var wanted: Set<LayerKey> = []
    var next = layer.parentKey
    while let key = next {
      wanted.insert(key)
      next = layers[key]?.parentKey
    }
    return keeping(wanted)
  }

  /// The cells with their layer of a fragment, in the plan's order.
  package func places(of fragment: String) throws(CatalogErrors) -> [(cell: PlannedCell, layer: PlannedLayer)] {
    let layers = byKey
    let places = plan.cells.compactMap { cell in
      cell.path.lazy.compactMap { layers[$0] }.first { $0.isOf(fragment) }.map { (cell, $0) }
    }
    if places.isEmpty { throw unknown(fragment) }
    return places
  }

  private var byKey: [LayerKey: PlannedLayer] {
    Dictionary(plan.layers.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
  }

  private func keeping(_ keys: Set<LayerKey>) -> PlannedWork {
    var part = self
    let grafted = Set(plan.layers.filter { keys.contains($0.key) }.compactMap(\.graft?.layer))
    part.plan.layers = plan.layers.filter { keys.contains($0.key) || grafted.contains($0.key) }
    part.plan.cells = []
    part.plan.images = plan.images.map { image in
      var image = image
      image.tags = []
      image.cells = []
      return image
    }
    return part
  }

  private func unknown(_ fragment: String) -> CatalogErrors {
    let names = Set(plan.cells.flatMap(\.fragments).flatMap { [$0.name, $0.description] })
    return CatalogErrors([
      Diagnostic(
        file: "fragments", "no cell of this plan has a fragment '\(fragment)'",
        suggestion: Diagnostic.Suggestion.nearest(to: fragment, among: names.sorted()))
    ])
  }
}

extension PlannedLayer {
  func isOf(_ name: String) -> Bool { fragment?.name == name || fragment?.description == name }
}
