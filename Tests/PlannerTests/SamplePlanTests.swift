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
