import Model

/// A forecast as JSON: what `kiln plan --json` prints and `POST /api/v1/plan` answers.
package struct ForecastReport: Sendable, Hashable, Codable {
  package struct Entry: Sendable, Hashable, Codable {
    package var key: String
    package var title: String
    package var platform: String
    /// `build`, `reuse`, `wait` or `-`.
    package var what: String
    package var why: String
  }

  /// Parents before children.
  package var layers: [Entry]
  package var cells: [Entry]
  package var images: Int
  /// False for a test plan, and for a catalog with changes that git has not committed.
  package var movesTags: Bool

  package init(_ forecast: Forecast) {
    images = forecast.plan.images.count
    movesTags = forecast.plan.images.contains { !$0.tags.isEmpty }
    layers = forecast.plan.layers.map { layer in
      Entry(layer.key, layer.title, layer.platform, forecast.layers[layer.key])
    }
    cells = forecast.plan.cells.map { cell in
      let title = cell.product + (cell.variant.isEmpty ? "" : " [\(cell.variant)]")
      return Entry(cell.key, title, cell.target.platform, forecast.cells[cell.key])
    }
  }
}

extension ForecastReport.Entry {
  fileprivate init(_ key: some Identifier, _ title: String, _ platform: Platform, _ fate: Forecast.Fate?) {
    let (what, why) = (fate ?? .notNeeded).words
    self.init(key: key.text, title: title, platform: platform.description, what: what, why: why)
  }

  package var isBuilt: Bool { what == Forecast.Fate.build(reason: "").words.what }
  package var isReused: Bool { what == Forecast.Fate.reuse(reason: "").words.what }
}

extension Forecast.Fate {
  package var words: (what: String, why: String) {
    switch self {
    case .build(let reason): ("build", reason)
    case .reuse(let reason): ("reuse", reason)
    case .attach: ("wait", "a job is at it already")
    case .notNeeded: ("-", "not needed: everything above it is reused")
    }
  }
}
