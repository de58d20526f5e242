import Foundation
import KilnCoordinator
import Model
import Planner
import RecordStore

/// What rebuilds since another catalog or lock, for people and as JSON.
struct ComparisonReport: Encodable {
  struct Cause: Encodable {
    /// `new`, `version`, `text`, `file`, `argument`, `secret`, `base`, `epoch`, `parent` or `other`.
    var input: String
    var name: String?
    var from: String?
    var to: String?
  }

  struct Layer: Encodable {
    var key: String
    var title: String
    var platform: String
    /// What would be done with it now.
    var what: String
    var causes: [Cause]
    /// Nil where nothing is known.
    var seconds: Double?
    var bytes: Int64?
  }

  struct Path: Encodable {
    var layers: [String]
    var seconds: Double
  }

  var layers: [Layer]
  var unchangedLayers: Int
  var changedCells: Int
  /// Of the layers that would be built: sums of what is known, and of how many nothing is.
  var toBuild: Int
  var executorSeconds: Double
  var layersOfUnknownTime: Int
  var bytes: Int64
  var layersOfUnknownSize: Int
  var criticalPath: Path

  init(_ comparison: PlanComparison, _ plan: Plan, _ forecast: Forecast, _ history: LayerHistory) {
    let changed = Dictionary(uniqueKeysWithValues: comparison.layers.map { ($0.key, $0) })
    let planned = plan.layers.filter { changed[$0.key] != nil }
    var times = LayerTimes()
    for past in history.past { times.add(past.seconds, title: past.title, past.platform) }
    let toBuild = Set(forecast.layersToBuild)
    let estimate = BuildEstimate(
      of: planned.filter { toBuild.contains($0.key) }, previous: changed.compactMapValues(\.previous),
      addedBytes: history.addedBytes, times: times)
    let estimates = Dictionary(uniqueKeysWithValues: estimate.layers.map { ($0.key, $0) })
    layers = planned.map { layer in
      Layer(
        key: layer.key.text, title: layer.title, platform: layer.platform.description,
        what: (forecast.layers[layer.key] ?? .notNeeded).words.what,
        causes: (changed[layer.key]?.causes ?? []).map(Cause.init), seconds: estimates[layer.key]?.seconds,
        bytes: estimates[layer.key]?.bytes)
    }
    unchangedLayers = comparison.unchangedLayers
    changedCells = comparison.changedCells
    self.toBuild = estimate.layers.count
    executorSeconds = estimate.seconds
    layersOfUnknownTime = estimate.unknownSeconds
    bytes = estimate.bytes
    layersOfUnknownSize = estimate.unknownBytes
    let titles = Dictionary(uniqueKeysWithValues: planned.map { ($0.key, "\($0.title) \($0.platform)") })
    criticalPath = Path(layers: estimate.criticalPath.compactMap { titles[$0] }, seconds: estimate.criticalSeconds)
  }

  var text: String {
    guard !layers.isEmpty else {
      return "nothing rebuilds: all \(unchangedLayers) layers are the same\(cellsText)\n"
    }
    var table = Table("LAYER", "PLATFORM", "KEY", "WHAT", "TIME", "SIZE", "CAUSE")
    for layer in layers {
      table.add(
        layer.title, layer.platform, String(layer.key.prefix(12)), layer.what, layer.seconds.map(Self.time) ?? "?",
        layer.bytes.map(Self.size) ?? "?", layer.causes.map(\.words).joined(separator: "; "))
    }
    var text = table.text + "\n\(layers.count) layers are others, \(unchangedLayers) the same\(cellsText)\n"
    text += "\(toBuild) to build: \(minutes(executorSeconds)) executor-minutes\(Self.beside(layersOfUnknownTime)), "
    text += "\(Self.size(bytes))\(Self.beside(layersOfUnknownSize))\n"
    if !criticalPath.layers.isEmpty {
      text += "critical path: \(criticalPath.layers.joined(separator: " → ")): \(Self.time(criticalPath.seconds))\n"
    }
    return text
  }

  private var cellsText: String { "; \(changedCells) cells are others" }
  private func minutes(_ seconds: Double) -> String { String(format: "%.1f", seconds / 60) }
  private static func beside(_ unknown: Int) -> String {
    unknown == 0 ? "" : " (and \(unknown) layers of which nothing is known)"
  }

  private static func time(_ seconds: Double) -> String {
    seconds < 60 ? String(format: "%.1fs", seconds) : "\(Int(seconds) / 60)m\(Int(seconds) % 60)s"
  }

  private static func size(_ bytes: Int64) -> String {
    bytes < 1 << 20 ? "\((bytes + 1023) >> 10) KiB" : String(format: "%.1f MiB", Double(bytes) / 1_048_576)
  }
}

extension ComparisonReport.Cause {
  init(_ cause: PlanComparison.Cause) {
    switch cause {
    case .new: self.init(input: "new")
    case .version(let from, let to): self.init(input: "version", from: from, to: to)
    case .text: self.init(input: "text")
    case .file(let name): self.init(input: "file", name: name)
    case .argument(let name): self.init(input: "argument", name: name)
    case .secret(let name): self.init(input: "secret", name: name)
    case .base(let name, let from, let to): self.init(input: "base", name: name, from: "\(from)", to: "\(to)")
    case .epoch(let from, let to): self.init(input: "epoch", from: from.map { "\($0)" }, to: to.map { "\($0)" })
    case .parent(let title): self.init(input: "parent", name: title)
    case .other: self.init(input: "other")
    }
  }

  var words: String {
    let moved = "\(from.map(Self.short) ?? "none") → \(to.map(Self.short) ?? "none")"
    return switch input {
    case "new": "new"
    case "version", "epoch": "\(input) \(moved)"
    case "base": "base \(name ?? "") \(moved)"
    case "other": "how layers are built"
    default: input + (name.map { " \($0)" } ?? "")
    }
  }

  private static func short(_ text: String) -> String { Digest(text)?.short ?? text }
}
