package import Model
package import RecordStore

/// What will happen to each layer and cell of a plan, and why. Pure.
package struct Forecast: Sendable {
  package enum Fate: Sendable, Hashable {
    case build(reason: String)
    case reuse(reason: String)
    /// Somebody else's job is at it already.
    case attach
    case notNeeded
  }

  package let plan: Plan
  package let missing: [LayerKey: MissingImage]
  package private(set) var layers: [LayerKey: Fate] = [:]
  package private(set) var cells: [CellKey: Fate] = [:]

  package init(plan: Plan, known: KnownResults, missing: [LayerKey: MissingImage]) {
    self.plan = plan
    self.missing = missing
    // A plan without cells wants its layers themselves.
    var needed: Set<LayerKey> = plan.cells.isEmpty ? plan.wantedLayers : []
    for cell in plan.cells {
      let fate = Self.fate(of: cell, known, missing)
      cells[cell.key] = fate
      if case .reuse = fate { continue }
      needed.formUnion(cell.path)
    }
    // Children before parents: what is grafted is needed where something is grafted.
    for layer in plan.layers.reversed() {
      let fate = needed.contains(layer.key) ? Self.fate(of: layer, known, missing) : .notNeeded
      layers[layer.key] = fate
      switch fate {
      case .build, .attach: if let graft = layer.graft { needed.insert(graft.layer) }
      case .reuse, .notNeeded: break
      }
    }
  }

  private static func fate(of cell: PlannedCell, _ known: KnownResults, _ missing: [LayerKey: MissingImage]) -> Fate {
    guard let row = known.cells[cell.key] else { return .build(reason: "no record yet") }
    switch row.state {
    case .passed, .reused:
      if let gone = cell.path.first(where: { missing[$0] != nil }), let reason = missing[gone]?.reason {
        return .build(reason: reason)
      }
      // Somebody found it gone since: the store still knows its image, the registry does not have it.
      if let lost = cell.path.first(where: { known.layers[$0]?.state != .available }) {
        let state = known.layers[lost]?.state ?? .absent
        return .build(reason: "layer \(lost.short) of record \(row.recordID ?? "?") is \(state)")
      }
      // Its record's image must be what its last layer is now.
      guard let last = cell.path.last, known.layers[last]?.image == row.image else {
        return .build(reason: "its layers were built again since record \(row.recordID ?? "?")")
      }
      return .reuse(reason: "record \(row.recordID ?? "?") passed and the registry holds its image")
    case .waiting, .finishing, .blocked: return .attach
    case .planned: return .build(reason: "no record yet")
    case .failed, .cancelled: return .build(reason: "the last run \(row.state)")
    }
  }

  private static func fate(of layer: PlannedLayer, _ known: KnownResults, _ missing: [LayerKey: MissingImage]) -> Fate {
    if let missing = missing[layer.key] { return .build(reason: missing.reason) }
    switch known.layers[layer.key]?.state {
    case nil, .absent?: return .build(reason: "no layer with this key yet")
    case .available?: return .reuse(reason: "built before, and the registry holds it")
    case .building?: return .attach
    case .gone?: return .build(reason: "its image is gone from the registry")
    case .idle?: return .build(reason: "its job was cancelled")
    case .failed?: return .build(reason: "its job failed before")
    }
  }

  /// In the plan's order.
  package var layersToBuild: [LayerKey] {
    plan.layers.map(\.key).filter { if case .build? = layers[$0] { true } else { false } }
  }

  /// To be built, by whomever: what that takes must be there, also where a registry lost what was brought before.
  package var unbuiltLayers: Set<LayerKey> {
    Set(layersToBuild).union(layers.keys.filter { layers[$0] == .attach })
  }

  /// Under way; when the build is written some may have passed, just now.
  package var attachedCells: [CellKey] { plan.cells.map(\.key).filter { cells[$0] == .attach } }

  package var reusedCells: [CellKey] {
    plan.cells.map(\.key).filter { if case .reuse? = cells[$0] { true } else { false } }
  }
}
