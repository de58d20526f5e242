import Foundation
import Model

/// An unambiguous encoding of what goes into a key: every value has its length before it and every
/// list its count, so that no two different inputs give the same bytes.
struct KeyEncoder {
  private var stream = DigestStream()

  /// `domain` keeps the keys of different things apart.
  init(domain: String) { add(domain) }

  mutating func add(_ text: String) {
    let bytes = Data(text.utf8)
    add(bytes.count)
    stream.update(bytes)
  }

  mutating func add(_ number: Int) {
    stream.update(withUnsafeBytes(of: UInt64(bitPattern: Int64(number)).bigEndian) { Data($0) })
  }

  /// Absence differs from every value.
  mutating func add(_ text: String?) {
    add(text == nil ? 0 : 1)
    if let text { add(text) }
  }

  mutating func add(_ number: Int?) {
    add(number == nil ? 0 : 1)
    if let number { add(number) }
  }

  mutating func add(_ list: [String]) {
    add(list.count)
    for text in list { add(text) }
  }

  /// Sorted by the bytes of the names, which no locale changes.
  mutating func add(_ pairs: [String: String]) {
    add(pairs.count)
    for (name, value) in pairs.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
      add(name)
      add(value)
    }
  }

  func hex() -> String { stream.digest().hex }
}

extension LayerKey {
  /// Everything that can influence a layer, and nothing else.
  struct Inputs {
    var dockerfile: String
    /// Of the normalised archive: names, modes and contents.
    var context: Digest?
    var arguments: [String: String]
    var platform: Platform
    var parent: PlannedLayer.Parent
    /// Ids and declared versions.
    var secrets: [String: String]
    /// Of a fragment that depends on the outside.
    var epoch: Int?
  }

  init(_ inputs: Inputs, recipe: Int = Recipe.version) {
    var encoder = KeyEncoder(domain: "kiln layer")
    encoder.add(recipe)
    encoder.add(inputs.dockerfile)
    encoder.add(inputs.context?.description)
    encoder.add(inputs.arguments)
    encoder.add(inputs.platform.description)
    switch inputs.parent {
    // Where a base comes from does not matter, only what it is.
    case .base(let base):
      encoder.add("base")
      encoder.add(base.digest.description)
    case .layer(let key):
      encoder.add("layer")
      encoder.add(key.text)
    case .scratch: encoder.add("scratch")
    }
    encoder.add(inputs.secrets)
    encoder.add(inputs.epoch)
    self.init(text: encoder.hex())
  }

  /// Of what an independent layer and a parent come to.
  init(graft layer: LayerKey, on parent: PlannedLayer.Parent, recipe: Int = Recipe.version) {
    var encoder = KeyEncoder(domain: "kiln graft")
    encoder.add(recipe)
    encoder.add(layer.text)
    switch parent {
    case .base(let base): encoder.add(base.digest.description)
    case .layer(let key): encoder.add(key.text)
    case .scratch: encoder.add("scratch")
    }
    self.init(text: encoder.hex())
  }
}

extension CellKey {
  /// What a cell's record depends on: its layers, its tests, its target.
  init(path: [LayerKey], tests: [SmokeTest], target: BuildTarget) {
    var encoder = KeyEncoder(domain: "kiln cell")
    encoder.add(path.map(\.text))
    encoder.add(tests.count)
    for test in tests {
      encoder.add(test.name)
      encoder.add(test.command)
      encoder.add(test.timeoutSeconds)
      encoder.add(test.expectedOutput)
    }
    encoder.add(target.platform.description)
    encoder.add(target.accelerator == nil ? 0 : 1)
    if let accelerator = target.accelerator {
      encoder.add(accelerator.vendor)
      encoder.add(accelerator.minimumDriver)
      encoder.add(accelerator.computeCapability)
      encoder.add(accelerator.count)
    }
    self.init(text: encoder.hex())
  }
}
