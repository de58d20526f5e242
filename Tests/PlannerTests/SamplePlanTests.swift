import Catalog
import Foundation
import Model
import Planner
import Testing

@Suite struct SamplePlanTests {
  static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("catalog")

  static func lock() throws -> Lock {
    let platforms = ["linux/amd64", "linux/arm64"].compactMap(Platform.init)
    return Lock(bases: [
      "busybox": Lock.Base(
        source: "oci-layout:../.farm/base", tag: "latest",
        platforms: Dictionary(uniqueKeysWithValues: platforms.map { ($0, Digest(of: "base \($0)")) }))
    ])
  }

  @Test func sampleCatalogComesToTwoVariantsOnSharedLayers() throws {
    let catalog = try Catalog.load(CatalogTree(directory: Self.directory))
    let work = try Planner.plan(
      catalog: catalog, lock: Self.lock(), request: PlanRequest(products: ["hello"]), catalogRevision: nil)
    #expect(work.impossible.isEmpty)
    #expect(work.plan.images.map(\.variant) == ["app=1.0.0", "app=1.1.0"])
    #expect(work.plan.images.map(\.tags) == [["1.0.0-app-1.0.0"], ["1.0.0-app-1.1.0"]])
    #expect(work.plan.cells.count == 4)
    // Per platform: head, security, core, light once; app and tail for each variant.
    #expect(work.plan.layers.count == 2 * (4 + 2 * 2))
    let titles = work.plan.cells.map { cell in
      cell.path.compactMap { key in work.plan.layers.first { $0.key == key }?.title }
    }
    for path in titles {
      #expect(path.count == 6)
      #expect(Array(path.prefix(4)) == ["template base@1.0.0 (head)", "security@1.0.0", "core@1.0.0", "light@1.0.0"])
      #expect(path.last == "template base@1.0.0 (tail)")
    }
  }
}

@Suite struct LineOriginTests {
  /// Every instruction of every layer of the sample, but those that Kiln writes itself, is where it says.
  @Test func everyInstructionHasItsPlaceInTheCatalog() throws {
    let catalog = try Catalog.load(CatalogTree(directory: SamplePlanTests.directory))
    let plan = try Planner.plan(
      catalog: catalog, lock: SamplePlanTests.lock(), request: PlanRequest(products: ["hello"]), catalogRevision: nil
    ).plan
    func lines(_ text: String) -> [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
    var found: Set<String> = []
    for layer in plan.layers {
      let origins = try #require(layer.origins)
      #expect(!origins.isEmpty, "\(layer.title)")
      for origin in origins {
        guard let path = origin.file else {
          #expect(lines(layer.dockerfile)[origin.line - 1] == "FROM kiln-parent")
          continue
        }
        let file = SamplePlanTests.directory.appendingPathComponent(path)
        let written = lines(try String(contentsOf: file, encoding: .utf8))[origin.fileLine - 1]
        let built = lines(layer.dockerfile)[origin.line - 1]
        #expect(written.split(separator: " ").first == built.split(separator: " ").first, "\(layer.title) \(origin)")
        if layer.title.hasPrefix("core@") { found.insert(path) }
      }
    }
    #expect(found == ["fragments/core/1.0.0/Dockerfile.fragment"])
  }

  /// Blank lines before the text, an argument that gets its value, a path that is rewritten to one line.
  @Test func linesMoveWithWhatIsRewritten() throws {
    var fixture = PlanFixture()
    fixture.files["fragments/app/1.0.0/Dockerfile.fragment"] =
      "\n\n# what it is\nARG COLOR\n\nCOPY main.sh data \\\n  /app/\nRUN one \\\n  two\nRUN last\n"
    let plan = try fixture.work().plan
    let app = try #require(plan.layers.first { $0.title.hasPrefix("app@") })
    let origins = try #require(app.origins).filter { $0.file != nil }
    #expect(origins.map(\.fileLine) == [4, 6, 8, 10])
    let lines = app.dockerfile.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(origins.map { lines[$0.line - 1].prefix(4) } == ["ARG ", "COPY", "RUN ", "RUN "])
  }
}
