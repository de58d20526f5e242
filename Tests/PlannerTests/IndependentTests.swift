import Catalog
import Foundation
import Model
import Planner
import Testing

/// An independent fragment is one layer for all parents, and a graft on each.
@Suite struct IndependentTests {
  private static let app = "fragments/app/1.0.0/"

  private func fixture() -> PlanFixture {
    var fixture = PlanFixture()
    fixture.change(Self.app + "Dockerfile.fragment", "COPY main.sh data", "COPY --link main.sh data")
    fixture.change(Self.app + "fragment.yml", "description: app\n", "description: app\nindependent: true\n")
    return fixture
  }

  private func layers(_ fixture: PlanFixture) throws -> (own: PlannedLayer, graft: PlannedLayer, plan: Plan) {
    let plan = try fixture.work().plan
    let own = plan.layers.filter { $0.parent == .scratch }
    let grafts = plan.layers.filter { $0.graft != nil }
    try #require(own.count == 1 && grafts.count == 1)
    return (own[0], grafts[0], plan)
  }

  @Test func isALayerOnNothingAndAGraftOnItsParent() throws {
    let (own, graft, plan) = try layers(fixture())
    #expect(own.title == "app@1.0.0 (independent)" && graft.title == "app@1.0.0 (graft)")
    #expect(own.dockerfile.contains("\nFROM scratch\n") && !own.dockerfile.contains("kiln-parent"))
    #expect(graft.dockerfile.contains("\nFROM kiln-parent\n"), "what a shell shows")
    #expect(graft.graft == PlannedLayer.Graft(layer: own.key, arguments: ["COLOR"]))
    let path = try #require(plan.cells.first).path
    #expect(path.contains(graft.key) && !path.contains(own.key))
    #expect(plan.wantedLayers == Set(path))
    let places = plan.layers.map(\.key)
    for layer in plan.layers {
      for below in layer.below {
        #expect(try #require(places.firstIndex(of: below)) < (try #require(places.firstIndex(of: layer.key))))
      }
    }
  }

  @Test(arguments: [
    ("the fragment below", false, true), ("the base", false, true), ("a file", true, true), ("an argument", true, true),
    ("a test", false, false),
  ]) func changesWith(_ what: String, own: Bool, graft: Bool) throws {
    let before = try layers(fixture())
    var changed = fixture()
    switch what {
    case "the fragment below": changed.change("fragments/core/0.2.0/Dockerfile.fragment", "true true", "true false")
    case "the base":
      for platform in changed.lock.bases["debian"]?.platforms.keys ?? [:].keys {
        changed.lock.bases["debian"]?.platforms[platform] = Digest(of: "another base")
      }
    case "a file": changed.change(Self.app + "main.sh", "/bin/sh", "/bin/ash")
    case "an argument": changed.change("manifests/hello.yml", "COLOR: red", "COLOR: green")
    default: changed.change(Self.app + "fragment.yml", "-f", "-x")
    }
    let after = try layers(changed)
    #expect((after.own.key != before.own.key) == own)
    #expect((after.graft.key != before.graft.key) == graft)
  }

  @Test func variantsShareIt() throws {
    var fixture = fixture()
    fixture.files["fragments/core/0.3.0/fragment.yml"] = "name: core\nversion: 0.3.0\ndescription: core\n"
    fixture.files["fragments/core/0.3.0/Dockerfile.fragment"] = "RUN other\n"
    fixture.change("products/hello.yml", "tags:", "matrix:\n  core: [0.2.0, 0.3.0]\ntags:")
    fixture.change("products/hello.yml", "{version}", "{version}-{variant}")
    let plan = try fixture.work().plan
    let grafts = plan.layers.compactMap(\.graft)
    #expect(grafts.count == 2 && Set(grafts).count == 1)
    #expect(plan.layers.count { $0.parent == .scratch } == 1)
    var times = LayerTimes()
    times.add([100], title: "app@1.0.0 (independent)", plan.layers[0].platform)
    let estimate = BuildEstimate(of: plan.layers, previous: [:], addedBytes: [:], times: times)
    #expect(estimate.criticalSeconds == 100 && estimate.criticalPath.first == grafts.first?.layer)
  }

  @Test func untilIncludesWhatIsGrafted() throws {
    let (own, graft, _) = try layers(fixture())
    let (work, tips) = try fixture().work().until("app")
    #expect(tips.map(\.key) == [graft.key])
    #expect(work.plan.layers.map(\.key).contains(own.key))
    #expect(!work.below(graft).plan.layers.contains { $0.key == own.key })
  }
}
