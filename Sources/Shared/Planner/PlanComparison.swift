package import Catalog
package import Foundation
package import Model

/// Which layers of a plan another plan does not have, and which of their inputs are others. Pure.
package struct PlanComparison: Sendable, Hashable {
  /// A plan with what its layers' keys were made of.
  package struct Side: Sendable {
    package var plan: Plan
    package var contexts: [Digest: Data]
    package var epochs: [FragmentVersion: Int]

    package init(_ work: PlannedWork, _ lock: Lock) {
      (plan, contexts, epochs) = (work.plan, work.contexts, lock.epochs)
    }

    /// Of a catalog that had nothing of what is asked for.
    package static var nothing: Side { Side() }
    private init() {
      plan = Plan(catalogRevision: nil, catalogDigest: Digest(of: Data()), images: [], cells: [], layers: [])
      (contexts, epochs) = ([:], [:])
    }
  }

  package enum Cause: Sendable, Hashable {
    /// Nothing was in its place.
    case new
    case version(from: String, to: String)
    case text
    /// A file of its context: changed, added or gone.
    case file(String)
    case argument(String)
    case secret(String)
    /// The base it stands on, or an image that its text takes something from.
    case base(String, from: Digest, to: Digest)
    case epoch(from: Int?, to: Int?)
    /// The layer below is another one.
    case parent(String)
    /// None of these: how layers are built, for one.
    case other
  }

  package struct Layer: Sendable, Hashable {
    package var key: LayerKey
    /// What stood in its place.
    package var previous: LayerKey?
    /// Never empty; its own inputs before the parent.
    package var causes: [Cause]
  }

  /// In the plan's order: parents before children.
  package let layers: [Layer]
  package let unchangedLayers: Int
  /// Cells that the other plan does not have with this key.
  package let changedCells: Int

  package init(of new: Side, against old: Side) {
    let before = Dictionary(old.plan.layers.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
    let after = Dictionary(new.plan.layers.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
    var counterparts = Counterparts(old.plan, before)
    for cell in new.plan.cells { counterparts.find(for: cell, after) }
    let inputs = InputComparison(new: new, old: old, titles: after.mapValues(\.title))
    layers = new.plan.layers.filter { before[$0.key] == nil }.map { layer in
      guard let previous = counterparts.found[layer.key] ?? counterparts.anywhere(layer) else {
        return Layer(key: layer.key, previous: nil, causes: [.new])
      }
      return Layer(key: layer.key, previous: previous.key, causes: inputs.causes(layer, previous))
    }
    unchangedLayers = new.plan.layers.count - layers.count
    let cells = Set(old.plan.cells.map(\.key))
    changedCells = new.plan.cells.count { !cells.contains($0.key) }
  }
}

/// What stood in a layer's place: the same section of the same variant on the same target.
private struct Counterparts {
  private struct Place: Hashable {
    var product: String
    var variant: String
    var target: BuildTarget
  }

  private struct Section: Hashable {
    var title: String
    var platform: Platform
  }

  private var paths: [Place: [String: PlannedLayer]] = [:]
  private var sections: [Section: PlannedLayer] = [:]
  var found: [LayerKey: PlannedLayer] = [:]

  init(_ plan: Plan, _ layers: [LayerKey: PlannedLayer]) {
    for layer in plan.layers {
      let section = Section(title: layer.title, platform: layer.platform)
      if sections[section] == nil { sections[section] = layer }
    }
    let byKey = Dictionary(plan.cells.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
    // Images name all products and variants that want a cell; the cell itself names one.
    for image in plan.images {
      for reference in image.cells {
        guard let cell = byKey[reference.key] else { continue }
        let path = cell.path.compactMap { layers[$0] }.map { ($0.untitled, $0) }
        paths[Place(product: image.product, variant: image.variant, target: reference.target)] = Dictionary(
          path, uniquingKeysWith: { first, _ in first })
      }
    }
  }

  mutating func find(for cell: PlannedCell, _ layers: [LayerKey: PlannedLayer]) {
    let place = Place(product: cell.product, variant: cell.variant, target: cell.target)
    guard let path = paths[place] else { return }
    for layer in cell.path.compactMap({ layers[$0] }) where found[layer.key] == nil {
      found[layer.key] = path[layer.untitled]
    }
  }

  /// Of a variant that is new: the same section elsewhere.
  func anywhere(_ layer: PlannedLayer) -> PlannedLayer? {
    sections[Section(title: layer.title, platform: layer.platform)]
  }
}

extension PlannedLayer {
  /// The section without its version: `core`, `template base (head)`.
  package var untitled: String { Self.withoutVersion(title) }

  package static func withoutVersion(_ title: String) -> String {
    guard let at = title.firstIndex(of: "@") else { return title }
    let rest = title[at...].drop { $0 != " " }
    return String(title[..<at]) + rest
  }
}

/// Why two layers in one place have two keys.
private struct InputComparison {
  let new: PlanComparison.Side
  let old: PlanComparison.Side
  let titles: [LayerKey: String]

  func causes(_ layer: PlannedLayer, _ previous: PlannedLayer) -> [PlanComparison.Cause] {
    var causes = own(layer, previous)
    switch (layer.parent, previous.parent) {
    case (.base(let base), .base(let other)):
      if base.digest != other.digest { causes.append(.base(base.name, from: other.digest, to: base.digest)) }
    case (.layer(let key), .layer(let other)):
      if key != other { causes.append(.parent(titles[key] ?? key.short)) }
    case (.layer(let key), .base): causes.append(.parent(titles[key] ?? key.short))
    case (.base(let base), .layer): causes.append(.parent(base.name))
    // Independent before or since: its title says so.
    case (.scratch, _), (_, .scratch): break
    }
    return causes.isEmpty ? [.other] : causes
  }

  private func own(_ layer: PlannedLayer, _ previous: PlannedLayer) -> [PlanComparison.Cause] {
    var causes: [PlanComparison.Cause] = []
    let version = layer.title != previous.title
    if version { causes.append(.version(from: previous.title, to: layer.title)) }
    let arguments = Self.changed(layer.arguments, previous.arguments)
    let (text, before) = (
      ComparedText(layer.dockerfile, without: arguments), ComparedText(previous.dockerfile, without: arguments)
    )
    // Another version has another folder, so all its paths are others: that is said already.
    if !version {
      if text.words != before.words { causes.append(.text) }
      causes += files(layer, previous).map { .file($0) }
    }
    causes += arguments.map { .argument($0) }
    causes += Self.changed(layer.secrets, previous.secrets).map { .secret($0) }
    for (image, digest) in text.images.sorted(by: { $0.key < $1.key }) {
      if let other = before.images[image], other != digest { causes.append(.base(image, from: other, to: digest)) }
    }
    let (epoch, other) = (layer.fragment.flatMap { new.epochs[$0] }, previous.fragment.flatMap { old.epochs[$0] })
    if epoch != other { causes.append(.epoch(from: other, to: epoch)) }
    return causes
  }

  private static func changed(_ new: [String: String], _ old: [String: String]) -> [String] {
    Set(new.keys).union(old.keys).filter { new[$0] != old[$0] }.sorted()
  }

  private func files(_ layer: PlannedLayer, _ previous: PlannedLayer) -> [String] {
    guard layer.context?.digest != previous.context?.digest else { return [] }
    let (after, before) = (content(layer, new.contexts), content(previous, old.contexts))
    return Set(after.keys).union(before.keys).filter { after[$0] != before[$0] }.sorted()
  }

  private func content(_ layer: PlannedLayer, _ contexts: [Digest: Data]) -> [String: TarArchive.Entry.Content] {
    let limits = TarArchive.Limits(
      maxArchiveBytes: 2 * CatalogTree.maxTotalBytes, maxFileBytes: CatalogTree.maxFileBytes,
      maxEntries: 2 * CatalogTree.maxFiles)
    guard let bytes = layer.context.flatMap({ contexts[$0.digest] }),
      let entries = try? TarArchive.read(bytes, limits: limits)
    else { return [:] }
    return Dictionary(
      entries.filter { $0.content != .directory }.map { ($0.path, $0.content) }, uniquingKeysWith: { $1 })
  }
}

/// A layer's text without what is told as a cause of its own: values of arguments, digests of images.
private struct ComparedText {
  var words: String
  var images: [String: Digest] = [:]

  init(_ dockerfile: String, without arguments: [String]) {
    var lines: [Substring] = []
    for line in dockerfile.split(separator: "\n", omittingEmptySubsequences: false) {
      let isChanged = line.hasPrefix("ARG ") && arguments.contains { line.contains(" \($0)=") }
      lines.append(isChanged ? "ARG" : line)
    }
    words = lines.joined(separator: "\n")
    for match in words.matches(of: /([^\s=,]+)@(sha256:[0-9a-f]{64})/) {
      images[String(match.output.1)] = Digest(String(match.output.2))
    }
    words = words.replacing(/@sha256:[0-9a-f]{64}/, with: "@")
  }
}
