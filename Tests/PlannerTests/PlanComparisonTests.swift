import Catalog
import Foundation
import Model
import Planner
import Testing

@Suite struct PlanComparisonTests {
  typealias Cause = PlanComparison.Cause

  private func side(_ fixture: PlanFixture) throws -> PlanComparison.Side {
    PlanComparison.Side(try fixture.work(), fixture.lock)
  }

  /// What changed, by the layers' short titles.
  private func causes(_ change: (inout PlanFixture) -> Void) throws -> [String: [Cause]] {
    let old = PlanFixture()
    var new = old
    change(&new)
    let comparison = PlanComparison(of: try side(new), against: try side(old))
    let path = try new.work().path()
    #expect(comparison.unchangedLayers == path.count - comparison.layers.count)
    #expect(comparison.changedCells == (comparison.layers.isEmpty ? 0 : 1))
    let names = Dictionary(uniqueKeysWithValues: path.map { ($0.key, $0.title) })
    return Dictionary(uniqueKeysWithValues: comparison.layers.map { (names[$0.key] ?? "?", $0.causes) })
  }

  private static let core: Cause = .parent("core@0.2.0")
  private static let app: Cause = .parent("app@1.0.0")
  private static let head: Cause = .parent("template base@1 (head)")

  @Test func nothing() throws {
    #expect(try causes { $0.reversed = true } == [:])
    // In no layer's key.
    #expect(try causes { $0.change("fragments/app/1.0.0/unused.txt", "u", "v") } == [:])
  }

  @Test func itsText() throws {
    let found = try causes { $0.change("fragments/core/0.2.0/Dockerfile.fragment", " true", " false") }
    #expect(found == ["core": [.text], "app": [Self.core], "tail": [Self.app]])
  }

  @Test func aFile() throws {
    let path = "fragments/app/1.0.0/"
    #expect(
      try causes { $0.change("\(path)data/a.txt", "a", "b") } == [
        "app": [.file("\(path)data/a.txt")], "tail": [Self.app],
      ])
    #expect(try causes { $0.files["\(path)data/b.txt"] = "b" }["app"] == [.file("\(path)data/b.txt")])
    // The mode alone.
    #expect(try causes { $0.executable = [] }["app"] == [.file("\(path)main.sh")])
  }

  @Test func anArgument() throws {
    let found = try causes { $0.change("manifests/hello.yml", "COLOR: red", "COLOR: blue") }
    #expect(found == ["app": [.argument("COLOR")], "tail": [Self.app]])
    // A global argument is in every layer's text.
    let global = try causes { $0.change("templates/base/1/Dockerfile.tpl", "LEVEL=1", "LEVEL=2") }
    #expect(global["core"] == [.argument("LEVEL"), Self.head])
  }

  @Test func aSecret() throws {
    let found = try causes { $0.change("fragments/core/0.2.0/fragment.yml", "token: 1", "token: 2") }
    #expect(found["core"] == [.secret("token")])
  }

  @Test func theEpoch() throws {
    let found = try causes { $0.lock.epochs[FragmentVersion(name: "core", version: "0.2.0")] = 8 }
    #expect(found == ["core": [.epoch(from: 7, to: 8)], "app": [Self.core], "tail": [Self.app]])
  }

  @Test func theBase() throws {
    let (old, new) = (Digest(of: "base"), Digest(of: "moved"))
    let found = try causes { fixture in
      for platform in ["linux/amd64", "linux/arm64"].compactMap(Platform.init) {
        fixture.lock.bases["debian"]?.platforms[platform] = new
      }
    }
    #expect(found["head"] == [.base("debian", from: old, to: new)])
    #expect(found["core"] == [Self.head])
    #expect(found.count == 4)
  }

  /// An image that the text itself names, which is not its parent.
  @Test func anImageOfABuilderStage() throws {
    var old = PlanFixture()
    old.files["catalog.yml"]? += "  alpine: {source: r.example/alpine}\n"
    old.files["fragments/app/1.0.0/Dockerfile.stages"] = "FROM alpine AS app-build\nRUN true\n"
    let platform = try #require(Platform("linux/amd64"))
    func lock(_ text: String) -> Lock.Base {
      Lock.Base(source: "r.example/alpine", tag: "latest", platforms: [platform: Digest(of: text)])
    }
    old.lock.bases["alpine"] = lock("1")
    var new = old
    new.lock.bases["alpine"] = lock("2")
    let comparison = PlanComparison(of: try side(new), against: try side(old))
    #expect(
      comparison.layers.map(\.causes) == [
        [.base("r.example/alpine", from: Digest(of: "1"), to: Digest(of: "2"))], [Self.app],
      ])
  }

  @Test func anotherVersion() throws {
    let found = try causes { fixture in
      for (path, text) in fixture.files where path.hasPrefix("fragments/app/1.0.0/") {
        fixture.files[path.replacing("1.0.0", with: "1.1.0")] = text.replacing("version: 1.0.0", with: "version: 1.1.0")
      }
      fixture.executable.insert("fragments/app/1.1.0/main.sh")
      fixture.change("manifests/hello.yml", "app: 1.0.0", "app: 1.1.0")
    }
    #expect(found["app"] == [.version(from: "app@1.0.0", to: "app@1.1.0")])
    #expect(found["tail"] == [.parent("app@1.1.0")])
  }

  @Test func aNewPlatformHasNothingToDifferFrom() throws {
    let old = PlanFixture()
    var new = old
    new.change(
      "products/hello.yml", "  - platform: linux/amd64\n", "  - platform: linux/amd64\n  - platform: linux/arm64\n")
    let comparison = PlanComparison(of: try side(new), against: try side(old))
    #expect(comparison.layers.count == 4 && comparison.unchangedLayers == 4)
    #expect(comparison.layers.allSatisfy { $0.causes == [.new] && $0.previous == nil })
    let all = PlanComparison(of: try side(old), against: .nothing)
    #expect(all.layers.count == 4 && all.changedCells == 1 && all.layers.allSatisfy { $0.causes == [.new] })
  }
}

@Suite struct BuildEstimateTests {
  /// `a` on the base, `b` and `c` on it, `d` on `c`.
  private func layers() throws -> [PlannedLayer] {
    let platform = try #require(Platform("linux/amd64"))
    let base = BaseImage(name: "base", source: "r.example/base", digest: Digest(of: "base"))
    return [("a", nil), ("b", "a"), ("c", "a"), ("d", "c")].map { (name: String, parent: String?) in
      PlannedLayer(
        key: LayerKey(text: name), parent: parent.map { .layer(LayerKey(text: $0)) } ?? .base(base),
        fragment: FragmentVersion(name: name, version: "2"), title: "\(name)@2", platform: platform, dockerfile: "",
        arguments: [:], context: nil, secrets: [:], reproducible: true)
    }
  }

  private func times(_ known: [String: [Double]]) throws -> LayerTimes {
    var times = LayerTimes()
    let platform = try #require(Platform("linux/amd64"))
    for (title, seconds) in known { times.add(seconds, title: title, platform) }
    return times
  }

  private func estimate(_ known: [String: [Double]]) throws -> BuildEstimate {
    BuildEstimate(
      of: try layers(), previous: [LayerKey(text: "b"): LayerKey(text: "old b")],
      addedBytes: [LayerKey(text: "a"): 10, LayerKey(text: "old b"): 5], times: try times(known))
  }

  @Test func sumsWhatIsKnownAndCountsTheRest() throws {
    let found = try estimate(["a@1": [1, 9, 2], "b@1": [20], "b@2": [10]])
    #expect(found.layers.map(\.seconds) == [2, 15, nil, nil])
    #expect(found.seconds == 17 && found.unknownSeconds == 2)
    #expect(found.layers.map(\.bytes) == [10, 5, nil, nil])
    #expect(found.bytes == 15 && found.unknownBytes == 2)
  }

  @Test(arguments: [
    (["a@1": [1], "b@1": [10], "c@1": [4], "d@1": [5]], ["a", "b"], 11.0),
    (["a@1": [1], "b@1": [10], "c@1": [4], "d@1": [7]], ["a", "c", "d"], 12.0),
    // Nothing is known: the longest chain.
    ([:], ["a", "c", "d"], 0.0),
  ])
  func findsTheCriticalPath(_ known: [String: [Double]], _ path: [String], _ seconds: Double) throws {
    let found = try estimate(known)
    #expect(found.criticalPath.map(\.text) == path)
    #expect(found.criticalSeconds == seconds)
  }

  @Test func anotherPlatformsTimesSayNothing() throws {
    var times = LayerTimes()
    times.add([3], title: "a@1", try #require(Platform("linux/arm64")))
    let layer = try layers()[0]
    #expect(times.median(of: layer) == nil)
  }

  @Test func sectionsOfATemplateAreToldApart() {
    #expect(PlannedLayer.withoutVersion("template base@1.0.0 (head)") == "template base (head)")
    #expect(PlannedLayer.withoutVersion("core@0.2.0") == "core")
  }
}

@Suite struct UntilTests {
  @Test func stopsAtAFragment() throws {
    let work = try PlanFixture().work()
    let (lower, tips) = try work.until("core")
    #expect(lower.plan.layers.map(\.title) == ["template base@1 (head)", "core@0.2.0"])
    #expect(tips.map(\.title) == ["core@0.2.0"])
    #expect(lower.plan.cells.isEmpty && lower.plan.images.allSatisfy { $0.cells.isEmpty && $0.tags.isEmpty })
    #expect(try work.until("app@1.0.0").work.plan.layers.count == 3)
    #expect(work.below(tips[0]).plan.layers.map(\.title) == ["template base@1 (head)"])
    #expect(work.below(lower.plan.layers[0]).plan.layers.isEmpty)
    #expect(try work.places(of: "app").map(\.layer.title) == ["app@1.0.0"])
    let errors = #expect(throws: CatalogErrors.self) { try work.until("cor") }
    #expect(
      errors?.diagnostics.map(\.description) == [
        "fragments: no cell of this plan has a fragment 'cor'; did you mean 'core'?"
      ])
  }
}
