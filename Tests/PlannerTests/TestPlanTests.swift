import Catalog
import Foundation
import Model
import Planner
import Testing

@Suite struct TestPlanTests {
  /// Two versions of the app, two of core, and a plan.
  private func fixture(_ plan: String) -> PlanFixture {
    var fixture = PlanFixture()
    for (name, old, new) in [("app", "1.0.0", "1.1.0"), ("core", "0.2.0", "0.3.0")] {
      for (path, text) in fixture.files where path.hasPrefix("fragments/\(name)/\(old)/") {
        let copy = path.replacing("/\(old)/", with: "/\(new)/")
        let isDefinition = path.hasSuffix("fragment.yml")
        fixture.files[copy] = isDefinition ? text.replacing(old, with: new) : text
      }
      fixture.executable.insert("fragments/\(name)/\(new)/main.sh")
    }
    // Or the two cores would be one layer.
    fixture.files["fragments/core/0.3.0/Dockerfile.fragment"]? += "RUN echo new\n"
    fixture.lock.epochs[FragmentVersion(name: "core", version: "0.3.0")] = 8
    fixture.files["plans/try.yml"] = plan
    fixture.request = PlanRequest(testPlan: "try")
    return fixture
  }

  private func variants(_ plan: String) throws -> [String] { try fixture(plan).work().plan.images.map(\.variant) }

  @Test(arguments: [
    ("matrix: {app: [1.0.0, 1.1.0]}", ["app=1.0.0", "app=1.1.0"]),
    ("fixed: {core: 0.3.0}", ["core=0.3.0"]),
    ("fixed: {core: 0.3.0}\nmatrix: {app: [1.0.0, 1.1.0]}", ["app=1.0.0,core=0.3.0", "app=1.1.0,core=0.3.0"]),
    (
      "matrix: {app: [1.0.0, 1.1.0], core: [0.2.0, 0.3.0]}\nexclude: [{app: 1.0.0, core: 0.3.0}]",
      ["app=1.0.0,core=0.2.0", "app=1.1.0,core=0.2.0", "app=1.1.0,core=0.3.0"]
    ),
    (
      "matrix: {app: [1.0.0], exclude: []}\ninclude: [{app: 1.1.0, core: 0.3.0}]",
      ["app=1.0.0", "app=1.1.0,core=0.3.0"]
    ),
    ("fixed: {core: 0.3.0}\ninclude: [{app: 1.1.0}]", ["app=1.1.0,core=0.3.0"]),
    (
      "fixed: {core: 0.3.0}\nmatrix: {app: [1.0.0], include: [{app: 1.1.0}]}",
      ["app=1.0.0,core=0.3.0", "app=1.1.0,core=0.3.0"]
    ),
  ])
  func explores(_ text: String, _ expected: [String]) throws {
    #expect(try variants("product: hello\n\(text)\n") == expected)
  }

  @Test func movesNoTagAndSharesEverythingElse() throws {
    var fixture = fixture("product: hello\nmatrix: {app: [1.0.0, 1.1.0]}\n")
    let explored = try fixture.work().plan
    #expect(explored.images.allSatisfy { $0.tags.isEmpty && $0.product == "hello" })
    fixture.request = PlanRequest()
    let released = try fixture.work().plan
    #expect(released.images.map(\.tags) == [["1.0.0"]])
    #expect(Set(released.cells.map(\.key)).isSubset(of: explored.cells.map(\.key)))
    #expect(explored.layers.count == 6)
    fixture.request = PlanRequest(movesTags: false)
    #expect(try fixture.work().plan.images.map(\.tags) == [[]])
  }

  @Test func takesAnotherManifest() throws {
    var fixture = fixture("product: hello\nmanifest: other\nfixed: {app: 1.1.0}\n")
    fixture.files["manifests/other.yml"] = "template: base@1\nbase: debian\nfragments: {core: 0.3.0, app: 1.0.0}\n"
    let cell = try #require(try fixture.work().plan.cells.first)
    #expect(cell.fragments.map(\.description) == ["core@0.3.0", "app@1.1.0"])
    #expect(cell.manifest == "other")
  }

  @Test(arguments: [
    ("product: helo\nfixed: {app: 1.1.0}", "1: field 'product': there is no product 'helo'; did you mean 'hello'?"),
    ("fixed: {app: 1.1.0}", "1: field 'product': is required"),
    ("product: hello", "1: field 'matrix': expected a matrix, or fixed versions: there is nothing to explore"),
    (
      "product: hello\nfixed: {ap: 1.1.0}",
      "2: field 'fixed.ap': the manifest 'hello' has no fragment 'ap'; did you mean 'app'?"
    ),
    (
      "product: hello\nfixed: {app: 1.1.1}", "2: field 'fixed.app': fragment 'app' has no version '1.1.1'; did you mean"
    ),
    (
      "product: hello\nmatrix:\n  app: [1.0.0, 9]",
      "3: field 'matrix.app[1]': fragment 'app' has no version '9'; there is"
    ),
    (
      "product: hello\nfixed: {app: 1.0.0}\nmatrix:\n  app: [1.1.0]", "4: field 'matrix.app': 'app' is fixed already"
    ),
    ("product: hello\nmanifest: helo\nfixed: {app: 1.1.0}", "2: field 'manifest': there is no manifest 'helo'"),
    (
      "product: hello\nfixd: {app: 1.1.0}\nmatrix: {app: [1.1.0]}",
      "2: field 'fixd': unknown field; did you mean 'fixed'?"
    ),
    ("name: other\nproduct: hello\nfixed: {app: 1.1.0}", "1: field 'name': 'other' does not agree with the path"),
    (
      "product: hello\nmatrix: {app: [1.1.0]}\nexclude: [{app: 1.1.0}]", "2: field 'matrix': every variant is excluded"
    ),
    (
      "product: hello\nmatrix: {app: [1.1.0]}\nexclude: [{app: 1.0.0}]",
      "3: field 'matrix.exclude[0]': excludes nothing"
    ),
  ])
  func saysWhatIsWrong(_ text: String, _ expected: String) throws {
    let errors = try fixture(text + "\n").errors()
    #expect(errors.count == 1, "\(errors)")
    #expect(errors.first?.hasPrefix("plans/try.yml:\(expected)") ?? false, "\(errors)")
  }

  @Test func aPlanThatIsNotThere() throws {
    var fixture = fixture("product: hello\nfixed: {app: 1.1.0}\n")
    fixture.request = PlanRequest(testPlan: "tri")
    #expect(try fixture.errors() == ["plans: there is no test plan 'tri'; did you mean 'try'?"])
  }

  /// Only the product is at fault, in its own file.
  @Test func aProductThatCannotBeReadIsNoFaultOfThePlan() throws {
    var fixture = fixture("product: hello\nfixed: {app: 1.1.0}\n")
    fixture.files["products/hello.yml"] = "a: [\n"
    let errors = try fixture.errors()
    #expect(!errors.isEmpty && errors.allSatisfy { $0.hasPrefix("products/hello.yml") }, "\(errors)")
  }
}
