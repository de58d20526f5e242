import Catalog
import Foundation
import Model
import Planner
import RecordStore
import Registry
import TestSupport
import Testing

@testable import KilnCoordinator

/// Sixty variants on two platforms: what is said beforehand is what is then done, exactly. `make bench`
/// does it with three hundred.
@Suite struct ManyVariantsTests {
  @Test func theForecastIsWhatTheFarmBuilds() async throws {
    try await Bench.with { bench in
      var generated = GeneratedCatalog(seed: 7, versions: [3, 4, 5], bases: bench.bases)
      #expect(generated.variants == 60)
      let again = GeneratedCatalog(seed: 7, versions: [3, 4, 5], bases: bench.bases)
      #expect(try again.catalog.tree().digest == generated.catalog.tree().digest)
      let other = GeneratedCatalog(seed: 8, versions: [3, 4, 5], bases: bench.bases)
      #expect(try other.catalog.tree().digest != generated.catalog.tree().digest)

      let first = try await build(generated, against: .nothing, bench)
      // Bottom, 3, 3 × 4, and one for each variant; on two platforms.
      #expect(first.layers == 2 * (1 + 3 + 12 + 60) && first.cells == 120)

      var before = try generated.side()
      generated.changeLine(in: GeneratedCatalog.app, version: 4)
      let app = try await build(generated, against: before, bench)
      #expect(app.layers == 2 * 12 && app.cells == 2 * 12)

      before = try generated.side()
      generated.changeLine(in: GeneratedCatalog.bottom, version: 1)
      let bottom = try await build(generated, against: before, bench)
      #expect(bottom.layers == first.layers && bottom.cells == first.cells)

      before = try generated.side()
      generated.moveBase(to: try await movedBase(bench))
      let base = try await build(generated, against: before, bench)
      #expect(base.layers == first.layers && base.cells == first.cells)

      let nothing = try await build(generated, against: try generated.side(), bench)
      #expect(nothing.layers == 0 && nothing.cells == 0)
    }
  }

  /// Sees a build through; how many layers were built and cells finished.
  private func build(
    _ generated: GeneratedCatalog, against before: PlanComparison.Side, _ bench: Bench
  ) async throws -> (layers: Int, cells: Int) {
    var coordinator = try bench.coordinator()
    coordinator.settings.windowExtra = 10_000
    try await bench.queue.prepare([Bench.pool])
    let plan = try generated.catalog.work().plan
    let forecast = try await coordinator.forecast(plan, scope: .release)
    let compared = PlanComparison(of: try generated.side(), against: before)
    let key = "build \(plan.catalogDigest) \(before.plan.catalogDigest)"
    let accepted = try await bench.submit(generated.catalog, key: key, with: coordinator)
    let worker = Worker(bench)
    // Nothing is published: a layout's index is written whole for each of a thousand tags.
    for _ in 0..<20 where try await !bench.build(accepted).cells.allSatisfy({ $0.state.isGood }) {
      try await bench.dispatch(coordinator)
      try await worker.drain()
    }
    let detail = try await bench.build(accepted)
    #expect(detail.cells.allSatisfy { $0.state.isGood })
    let jobs = Dictionary(uniqueKeysWithValues: detail.jobs.map { ($0.id, $0) })
    #expect(worker.claims.allSatisfy { jobs[$0] != nil } && worker.claims.count == jobs.count)
    let layers = Dictionary(
      uniqueKeysWithValues: detail.layers.compactMap { layer in layer.job.map { ($0, layer.key) } })
    let built = worker.claims.filter { jobs[$0]?.kind == .layer }.compactMap { layers[$0] }
    #expect(Set(built) == Set(forecast.layersToBuild) && built.count == forecast.layersToBuild.count)
    #expect(Set(compared.layers.map(\.key)) == Set(built))
    let finished = Set(worker.claims.filter { jobs[$0]?.kind == .finish })
    let cells = detail.cells.filter { cell in cell.job.map(finished.contains) ?? false }.map(\.key)
    let expected = plan.cells.map(\.key).filter { if case .build? = forecast.cells[$0] { true } else { false } }
    #expect(Set(cells) == Set(expected) && finished.count == expected.count)
    return (built.count, finished.count)
  }

  private func movedBase(_ bench: Bench) async throws -> [Platform: Digest] {
    var bases: [Platform: Digest] = [:]
    for platform in bench.bases.keys {
      let image = ImageStoreConformance.SampleImage(platform: platform.description, blobs: 2)
      try await image.push(to: bench.outside, "debian")
      bases[platform] = image.manifest.digest
    }
    return bases
  }

  // MARK: No tags

  @Test func whatMovesNoTagIsThereByDigest() async throws {
    try await Bench.with { bench in
      let coordinator = try bench.coordinator()
      try await bench.queue.prepare([Bench.pool])
      var work = try bench.catalog.work()
      for index in work.plan.images.indices { work.plan.images[index].tags = [] }
      let (accepted, _) = try await coordinator.submit(
        work, Coordinator.Request(principal: Principal(text: "somebody"), idempotencyKey: "key"))
      try await bench.finish(accepted, worker: Worker(bench))
      let build = try await bench.build(accepted)
      #expect(build.summary.state == .passed && build.cells.allSatisfy { $0.state == .passed })
      let index = try #require(build.published.first)
      #expect(index.tags.isEmpty)
      #expect(try await bench.images.manifest(.digest(index.digest), in: "fixture/hello") != nil)
      #expect(try await bench.images.manifest(.tag("1.0.0"), in: "fixture/hello") == nil)
      #expect(try await bench.store.tag(repository: "fixture/hello", tag: "1.0.0") == nil)
      #expect(try await bench.store.records(RecordFilter(), limit: 10, after: nil).count == 2)
    }
  }

  @Test func layersAloneAreBuiltAndNothingElse() async throws {
    try await Bench.with { bench in
      let coordinator = try bench.coordinator()
      try await bench.queue.prepare([Bench.pool])
      let (work, tips) = try bench.catalog.work().until("core")
      let (accepted, forecast) = try await coordinator.submit(
        work, Coordinator.Request(principal: Principal(text: "somebody"), idempotencyKey: "key"))
      #expect(Set(forecast.layersToBuild) == Set(tips.map(\.key)) && tips.count == 2)
      let worker = Worker(bench)
      try await bench.finish(accepted, worker: worker)
      let build = try await bench.build(accepted)
      #expect(build.summary.state == .passed && build.published.isEmpty && worker.claims.count == 2)
      #expect(build.summary.products == ["hello"])
      // The whole product goes on from there.
      let whole = try await bench.run(key: "whole")
      #expect(whole.summary.state == .passed && whole.jobs.filter { $0.kind == .layer }.count == 2)
    }
  }
}
