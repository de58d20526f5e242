package import Model

/// What building some layers would take, as far as past builds tell. Pure.
package struct BuildEstimate: Sendable, Hashable {
  package struct Layer: Sendable, Hashable {
    package var key: LayerKey
    /// Nil where nothing is known.
    package var seconds: Double?
    package var bytes: Int64?
  }

  /// In the plan's order.
  package let layers: [Layer]
  /// From the base upwards: with executors enough, nothing is done before these are.
  package let criticalPath: [LayerKey]
  package let criticalSeconds: Double

  /// Of those that are known.
  package var seconds: Double { layers.reduce(0) { $0 + ($1.seconds ?? 0) } }
  package var bytes: Int64 { layers.reduce(0) { $0 + ($1.bytes ?? 0) } }
  package var unknownSeconds: Int { layers.count { $0.seconds == nil } }
  package var unknownBytes: Int { layers.count { $0.bytes == nil } }

  /// - Parameter layers: parents before children, as a plan has them.
  /// - Parameter previous: whose bytes are taken for a layer's.
  package init(
    of layers: [PlannedLayer], previous: [LayerKey: LayerKey], addedBytes: [LayerKey: Int64], times: LayerTimes
  ) {
    let estimates = layers.map { layer in
      Layer(
        key: layer.key, seconds: times.median(of: layer),
        bytes: addedBytes[layer.key] ?? previous[layer.key].flatMap { addedBytes[$0] })
    }
    // When each is done, and after how many: of two ways that take as long, the longer chain.
    var done: [LayerKey: (seconds: Double, steps: Int)] = [:]
    var below: [LayerKey: LayerKey] = [:]
    var last: LayerKey?
    for (layer, estimate) in zip(layers, estimates) {
      let start = layer.below.compactMap { key in done[key].map { (key, $0) } }
        .max { ($0.1.seconds, $0.1.steps) < ($1.1.seconds, $1.1.steps) }
      let end = ((start?.1.seconds ?? 0) + (estimate.seconds ?? 0), (start?.1.steps ?? 0) + 1)
      below[layer.key] = start?.0
      done[layer.key] = end
      if let best = last.flatMap({ done[$0] }), (best.seconds, best.steps) >= end { continue }
      last = layer.key
    }
    var path: [LayerKey] = []
    var next = last
    while let key = next {
      path.append(key)
      next = below[key]
    }
    self.layers = estimates
    criticalPath = path.reversed()
    criticalSeconds = last.flatMap { done[$0]?.seconds } ?? 0
  }
}

/// How long layers took, by section and platform: a fragment's versions are taken together.
package struct LayerTimes: Sendable, Hashable {
  private struct Section: Hashable {
    var name: String
    var platform: Platform
  }

  private var seconds: [Section: [Double]] = [:]

  package init() {}

  package mutating func add(_ seconds: [Double], title: String, _ platform: Platform) {
    self.seconds[Section(name: PlannedLayer.withoutVersion(title), platform: platform), default: []] += seconds
  }

  /// Nil where nothing is known.
  package func median(of layer: PlannedLayer) -> Double? {
    guard let known = seconds[Section(name: layer.untitled, platform: layer.platform)]?.sorted(), !known.isEmpty else {
      return nil
    }
    let middle = known.count / 2
    return known.count.isMultiple(of: 2) ? (known[middle - 1] + known[middle]) / 2 : known[middle]
  }
}
