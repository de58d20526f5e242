/// `plans/NAME.yml`: a matrix of fragment versions to explore for a product. Its cells are built, tested and
/// recorded as a product's are; no tag comes of it.
package struct TestPlan: Sendable, Hashable {
  package var name: String
  package var file: String
  package var description: String?
  package var product: Located<String>
  /// In place of the product's.
  package var manifest: Located<String>?
  /// The same in every variant.
  package var fixed: [String: Located<String>]
  package var matrix: Matrix?

  /// The plan's axes, and one of a single version for each fixed choice.
  var wholeMatrix: Matrix {
    var whole = matrix ?? Matrix(axes: [], include: [], exclude: [], line: 1)
    // An included choice that is the only one needs no axis, and takes the fixed versions itself.
    if !whole.axes.isEmpty || whole.include.isEmpty {
      whole.axes += fixed.map { Matrix.Axis(fragment: $0.key, versions: [$0.value], line: $0.value.line) }
      whole.axes.sort { $0.fragment < $1.fragment }
    }
    let versions = fixed.mapValues(\.value)
    whole.include = whole.include.map { Located(versions.merging($0.value) { $1 }, line: $0.line) }
    return whole
  }
}

extension Catalog {
  /// The product as a test plan wants it: another matrix, and nothing to tag. Nil where the plan's product
  /// is not there.
  package func product(of plan: TestPlan) -> Product? {
    guard var product = products[plan.product.value] else { return nil }
    product.file = plan.file
    product.tagRules = []
    product.matrix = plan.wholeMatrix
    if let manifest = plan.manifest { product.manifest = manifest }
    return product
  }

  /// For a request that names a test plan which is not there.
  package func unknownTestPlan(_ name: String) -> Diagnostic {
    Diagnostic(
      file: "plans", "there is no test plan '\(name)'",
      suggestion: NearestName.suggestion(for: name, among: testPlans.keys.sorted()))
  }
}
