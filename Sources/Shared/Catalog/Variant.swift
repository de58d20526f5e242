import Model

/// One choice of a product's matrix.
package struct Variant: Sendable, Hashable {
  package var choice: Matrix.Choice

  /// `fragment=version` pairs, sorted, joined by `,`; empty without a matrix.
  package var label: String { pairs.map { "\($0.key)=\($0.value)" }.joined(separator: ",") }
  /// The same where only a tag's characters may stand: `fragment-version`, joined by `-`.
  package var tagText: String { pairs.map { "\($0.key)-\($0.value)" }.joined(separator: "-") }

  private var pairs: [(key: String, value: String)] { choice.sorted { $0.key < $1.key } }
}

extension Matrix {
  /// Choices before exclusion, included ones counted; nil where the number overflows.
  var size: Int? {
    var size = axes.isEmpty ? 0 : 1
    for axis in axes {
      let (product, overflow) = size.multipliedReportingOverflow(by: axis.versions.count)
      if overflow { return nil }
      size = product
    }
    return size + include.count
  }

  /// Every choice, sorted by label: the axes' product without what an exclusion matches, and what is
  /// included. `standard` has the manifest's versions, for axes that an included choice does not name.
  func variants(standard: Choice) -> [Variant] {
    var choices: [Choice] = axes.isEmpty ? [] : [[:]]
    for axis in axes {
      choices = choices.flatMap { choice in
        axis.versions.map { version in choice.merging([axis.fragment: version.value]) { $1 } }
      }
    }
    choices.removeAll { choice in exclude.contains { Self.matches(choice, $0.value) } }
    for extra in include {
      let named = axes.map(\.fragment).reduce(into: Choice()) { $0[$1] = standard[$1] }
      choices.append(named.merging(extra.value) { $1 })
    }
    // A label is made once, not for each comparison.
    return Set(choices.map(Variant.init)).map { ($0, $0.label) }.sorted { $0.1 < $1.1 }.map(\.0)
  }

  /// Do the axes give a choice that matches `pattern`? Nothing is expanded to know it.
  func hasVariant(of pattern: Choice) -> Bool {
    pattern.allSatisfy { fragment, version in
      axes.contains { $0.fragment == fragment && $0.versions.contains { $0.value == version } }
    }
  }

  static func matches(_ choice: Choice, _ pattern: Choice) -> Bool {
    pattern.allSatisfy { choice[$0.key] == $0.value }
  }
}

extension Catalog {
  /// The variants of a product on a target with this manifest; one, without choices, where it has no
  /// matrix. The loader has checked that there are not too many.
  package func variants(of product: Product, manifest: String) -> [Variant] {
    guard let matrix = product.matrix else { return [Variant(choice: [:])] }
    let fragments = manifests[manifest]?.fragments ?? []
    return matrix.variants(
      standard: Dictionary(fragments.map { ($0.value.name, $0.value.version) }, uniquingKeysWith: { $1 }))
  }
}
