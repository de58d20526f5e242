import Catalog
import Foundation
import Model
import Planner
import Testing

@Suite struct KeyTests {
  struct Change: Sendable, CustomTestStringConvertible {
    var testDescription: String
    /// Layers whose keys are other ones afterwards.
    let layers: [String]
    let cell: Bool
    let make: @Sendable (inout PlanFixture) -> Void

    init(_ name: String, layers: [String], cell: Bool? = nil, _ make: @escaping @Sendable (inout PlanFixture) -> Void) {
      testDescription = name
      self.layers = layers
      self.cell = cell ?? !layers.isEmpty
      self.make = make
    }
  }

  static let all = ["head", "core", "app", "tail"]
  static let core = "fragments/core/0.2.0/", app = "fragments/app/1.0.0/"

  static let changes: [Change] = [
    // Inputs, one by one.
    Change("template's head", layers: all) {
      $0.change("templates/base/1/Dockerfile.tpl", "vendor=fixture", "vendor=other")
    },
    Change("template's tail", layers: ["tail"]) { $0.change("templates/base/1/Dockerfile.tpl", "USER 1", "USER 2") },
    Change("global argument", layers: all) { $0.change("templates/base/1/Dockerfile.tpl", "LEVEL=1", "LEVEL=2") },
    Change("fragment's text", layers: ["core", "app", "tail"]) {
      $0.change(core + "Dockerfile.fragment", "true true", "true false")
    },
    Change("copied file's content", layers: ["app", "tail"]) { $0.change(app + "main.sh", "/bin/sh", "/bin/ash") },
    Change("copied file's mode", layers: ["app", "tail"]) { $0.executable.insert(app + "data/a.txt") },
    Change("another file in a copied folder", layers: ["app", "tail"]) { $0.files[app + "data/b.txt"] = "b\n" },
    Change("copied file's name", layers: ["app", "tail"]) {
      $0.files[app + "data/b.txt"] = $0.files.removeValue(forKey: app + "data/a.txt")
    },
    Change("argument's value", layers: ["app", "tail"]) {
      $0.change("manifests/hello.yml", "COLOR: red", "COLOR: green")
    },
    Change("builder stages", layers: ["app", "tail"]) {
      $0.files[app + "Dockerfile.stages"] = "FROM scratch AS app-build\nCOPY main.sh /\n"
    },
    Change("base's digest", layers: all) {
      for platform in $0.lock.bases["debian"]?.platforms.keys ?? [:].keys {
        $0.lock.bases["debian"]?.platforms[platform] = Digest(of: "another base")
      }
    },
    Change("platform, of one digest", layers: all) { $0.change("products/hello.yml", "amd64", "arm64") },
    Change("secret's version", layers: ["core", "app", "tail"]) {
      $0.change(core + "fragment.yml", "token: 1", "token: 2")
    },
    Change("epoch", layers: ["core", "app", "tail"]) {
      $0.lock.epochs[FragmentVersion(name: "core", version: "0.2.0")] = 8
    },
    Change("no epoch", layers: ["core", "app", "tail"]) { $0.change(core + "fragment.yml", "refresh: 7d\n", "") },
    // Inputs of the cell alone.
    Change("product's test", layers: [], cell: true) {
      $0.change("products/hello.yml", "[/main.sh]", "[/main.sh, --all]")
    },
    Change("a test's words", layers: [], cell: true) {
      $0.change("products/hello.yml", "[/main.sh]", "[/main.sh, '']")
    },
    Change("fragment's test", layers: [], cell: true) { $0.change(app + "fragment.yml", "-f", "-x") },
    Change("test's time limit", layers: [], cell: true) {
      $0.change("products/hello.yml", "[/main.sh]\n", "[/main.sh]\n    timeoutSeconds: 61\n")
    },
    Change("accelerator", layers: [], cell: true) {
      $0.change("products/hello.yml", "linux/amd64\n", "linux/amd64\n    accelerator: {vendor: nvidia}\n")
    },
    // What can influence nothing.
    Change("product's name", layers: []) {
      $0.files["products/other.yml"] = $0.files.removeValue(forKey: "products/hello.yml")
    },
    Change("product's version", layers: []) { $0.change("products/hello.yml", "version: 1.0.0", "version: 2.0.0") },
    Change("product's image and tags", layers: []) {
      $0.change("products/hello.yml", "fixture/hello", "other/hello")
      $0.change("products/hello.yml", "{version}", "v{version}")
    },
    Change("descriptions", layers: []) {
      $0.change("products/hello.yml", "says hello", "says good day")
      $0.change(app + "fragment.yml", "description: app", "description: another app")
    },
    Change("order of YAML keys", layers: []) {
      $0.files["manifests/hello.yml"] =
        "args: {COLOR: red}\nfragments: [app@1.0.0, core@0.2.0]\nbase: debian\ntemplate: base@1\n"
    },
    Change("JSON for YAML", layers: []) {
      $0.files["manifests/hello.yml"] = nil
      $0.files["manifests/hello.json"] =
        "{\"template\": \"base@1\",\n\t\"base\": \"debian\", \"args\": {\"COLOR\": \"red\"},\n\t\"fragments\": {\"app\": \"1.0.0\", \"core\": \"0.2.0\"}}"
    },
    Change("order of files", layers: []) { $0.reversed = true },
    Change("a file that nothing names", layers: []) { $0.files[app + "unused.txt"] = "v\n" },
    Change("a default that the manifest overrides", layers: []) {
      $0.change(app + "fragment.yml", "COLOR: blue", "COLOR: black")
    },
    Change("how long a result is good", layers: []) { $0.change(core + "fragment.yml", "7d", "8d") },
    Change("where the base comes from", layers: []) {
      $0.change("catalog.yml", "r.example", "mirror.example")
      $0.lock.bases["debian"]?.source = "mirror.example/library/debian"
    },
    Change("revision", layers: []) { $0.revision = "0123456789abcdef0123456789abcdef01234567" },
    Change("names of manifest and template", layers: []) {
      $0.files["templates/other/2/Dockerfile.tpl"] = $0.files.removeValue(forKey: "templates/base/1/Dockerfile.tpl")
      $0.change("manifests/hello.yml", "base@1", "other@2")
    },
  ]

  @Test(arguments: changes) func eachInputCounts(_ change: Change) throws {
    let before = try PlanFixture().work()
    var fixture = PlanFixture()
    change.make(&fixture)
    let after = try fixture.work()
    let old = try before.path()
    let new = try after.path()
    #expect(old.map(\.title) == Self.all && new.map(\.title) == Self.all)
    let changed = zip(old, new).filter { $0.key != $1.key }.map(\.0.title)
    #expect(changed == change.layers)
    #expect((before.plan.cells[0].key != after.plan.cells[0].key) == change.cell)
  }

  /// The same on every host, at every time, in every process (whose hash seeds differ): these were
  /// computed elsewhere. Where they change, `Recipe.version` must be raised.
  @Test func keysAreTheSameEverywhere() throws {
    let work = try PlanFixture().work()
    #expect(Recipe.version == 1)
    #expect(try work.path().map(\.key.short) == ["ceb166a9da34", "ec9c03fdd849", "e8a2cab07a8d", "dc62f73cfe1a"])
    #expect(work.plan.cells.map(\.key.short) == ["4e133e11fdbb"])
    #expect(work.plan.layers.compactMap(\.context?.digest.short) == ["f0551b056867"])
  }

  @Test func thePlanIsTheSameByteForByte() throws {
    var other = PlanFixture()
    other.reversed = true
    #expect(try PlanFixture().work().plan.canonicalBytes() == other.work().plan.canonicalBytes())
    let decoded = try JSONDecoder().decode(Plan.self, from: other.work().plan.canonicalBytes())
    #expect(try decoded == other.work().plan)
  }
}
