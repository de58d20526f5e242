import Foundation
import JobQueue
import Model
import RecordStore
import RecordStoreSQLite
import Registry
import Testing

@testable import KilnCoordinator

@Suite struct EndingLoopTests {
  private func tag(_ bench: Bench, _ tag: String = "1.0.0") async throws -> Manifest? {
    try await bench.images.manifest(.tag(tag), in: "fixture/hello")
  }

  private func platforms(_ index: Manifest?) throws -> [String] {
    try ImageIndex.children(try #require(index)).map(\.platform.description)
  }

  /// Its letter has not left yet.
  private func deadJob(_ bench: Bench) async throws -> JobID {
    let (_, claim) = try await bench.claimFirst()
    try await bench.store.fail(
      Failure(.build, code: "step-failed", "no luck"), decision: .dead, record: nil, fence: claim.fence)
    return claim.fence.job
  }

  @Test func theTagNamesEveryPlatform() async throws {
    try await Bench.with { bench in
      let build = try await bench.run()
      #expect(build.summary.state == .passed)
      let index = try await tag(bench)
      #expect(try platforms(index) == [Bench.amd64, Bench.arm64])
      #expect(build.published.map(\.digest) == [index?.digest])
      let children = try ImageIndex.children(try #require(index)).map(\.descriptor.digest)
      #expect(Set(children) == Set(build.cells.compactMap(\.image)))
    }
  }

  @Test func anImageThatIsGoneBeforeItsTagMovedFailsTheBuildWithWhatToDo() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      let worker = Worker(bench)
      try await bench.settleCells(of: build, worker: worker)
      let image = try #require(try await bench.build(build).cells.first?.image)
      try bench.delete(image)
      try await bench.end()
      let ended = try await bench.build(build)
      #expect(ended.summary.state == .failed)
      #expect(ended.summary.problem?.contains("\(image)") == true)
      #expect(ended.summary.problem?.contains("submit again") == true)
      #expect(try await tag(bench) == nil)
    }
  }

  @Test func theTagDoesNotMoveUntilAllRequiredCellsPassed() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      let worker = Worker(bench)
      while try await bench.build(build).cells.contains(where: { $0.state != .finishing }) {
        try await bench.dispatch()
        try await worker.drain()
      }
      let finishing = try await bench.build(build).cells.compactMap(\.job)
      #expect(finishing.count == 2)
      for job in finishing {
        try await bench.end()
        #expect(try await tag(bench) == nil)
        #expect(try await bench.build(build).summary.state == .running)
        try await worker.finish(try #require(try await worker.claim(job)))
      }
      try await bench.end()
      #expect(try await bench.build(build).summary.state == .passed)
      #expect(try platforms(try await tag(bench)) == [Bench.amd64, Bench.arm64])
    }
  }

  @Test func aRequiredCellThatFailedFailsTheBuild() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      try await bench.finish(build, worker: Worker(bench, failing: [Bench.arm64]))
      let summary = try await bench.build(build).summary
      #expect(summary.state == .failed)
      #expect(summary.problem == "1 cells failed, 0 are blocked")
      #expect(try await tag(bench) == nil)
    }
  }

  @Test func anOptionalCellThatFailedIsLeftOut() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      var catalog = bench.catalog
      catalog.setTargets((Bench.amd64, required: true), (Bench.arm64, required: false))
      let build = try await bench.submit(catalog)
      let worker = Worker(bench, failing: [Bench.arm64])
      // The optional one is over first.
      while try await bench.build(build).cells.contains(where: { $0.state == .waiting }) {
        try await bench.dispatch()
        try await worker.drain()
      }
      try await bench.finish(build, worker: worker)
      #expect(try await bench.build(build).summary.state == .passed)
      #expect(try platforms(try await tag(bench)) == [Bench.amd64])
    }
  }

  @Test func layersAreTaggedByTheOutbox() async throws {
    try await Bench.with { bench in
      let build = try await bench.run()
      for layer in build.layers {
        let tag = Repositories.tag(layer.key, generation: 1)
        #expect(try await bench.images.manifest(.tag(tag), in: "layers")?.digest == layer.image)
      }
      #expect(try await bench.store.takeEffects(limit: 10, leaseSeconds: 60) == [])
    }
  }

  @Test func aLetterWaitsForItsBroker() async throws {
    try await Bench.with { bench in
      let job = try await deadJob(bench)
      bench.queue.set(.unavailable, for: Bench.pool)
      try await bench.end()
      #expect(bench.log.lines.contains { $0.contains("effect failed") && $0.contains("the broker is away") })
      bench.queue.set(nil, for: Bench.pool)
      bench.time.advance(seconds: 5)
      try await bench.end()
      let slot = try await bench.queue.openDeadLetters(of: Bench.pool)
      let letter = try DeadLetterMessage(body: try #require(try await slot.next()).body)
      await slot.close()
      #expect(letter.job == job)
      #expect(letter.failure.code == "step-failed")
    }
  }

  @Test func aLetterFindsItsQueueAlsoOnABrokerThatLostEverything() async throws {
    try await Bench.with { bench in
      let job = try await deadJob(bench)
      try await bench.queue.purge([])
      try await bench.end()
      bench.time.advance(seconds: 5)
      try await bench.end()
      #expect(try await bench.store.takeEffects(limit: 10, leaseSeconds: 60) == [])
      try #require(bench.queue.preparations.count == 2)
      let slot = try await bench.queue.openDeadLetters(of: Bench.pool)
      let delivery = try #require(try await slot.next())
      #expect(try DeadLetterMessage(body: delivery.body).job == job)
      await slot.close()
    }
  }

  @Test func aLayerThatLostABlobIsNotTaggedAndHoldsNothingUp() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      let job = try #require(try await bench.build(build).jobs.first { $0.state == .ready }).id
      let worker = Worker(bench)
      try await worker.finish(try #require(try await worker.claim(job)))
      let layer = try #require(try await bench.build(build).layers.first { $0.image != nil })
      let digest = try #require(layer.image)
      let image = try #require(try await bench.images.manifest(.digest(digest), in: "layers"))
      let blobs = try ImageManifest(image).blobs
      try bench.delete(try #require(blobs.last).digest)
      try await bench.end()
      #expect(bench.log.lines.contains { $0.contains("layer not tagged") })
      #expect(try await bench.store.takeEffects(limit: 10, leaseSeconds: 60) == [])
      let tag = Repositories.tag(layer.key, generation: 1)
      #expect(try await bench.images.manifest(.tag(tag), in: "layers") == nil)
    }
  }

  @Test func aRegistryWithoutRoomIsAskedForOneTagAndHoldsNoLetterUp() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      let worker = Worker(bench)
      var built = 0
      while let job = try await bench.build(build).jobs.first(where: { $0.state == .ready }), built < 2 {
        try await worker.finish(try #require(try await worker.claim(job.id)))
        built += 1
      }
      #expect(built == 2)
      let dead = try await deadJob(bench)
      let full = FullRegistry(bench.images)
      // What failed is due again by the end of the turn.
      try await bench.end(try bench.coordinator(failpoints: SlowEffects(time: bench.time), images: full))
      #expect(full.refused == 1)
      let slot = try await bench.queue.openDeadLetters(of: Bench.pool)
      #expect(try DeadLetterMessage(body: try #require(try await slot.next()).body).job == dead)
      await slot.close()
      bench.time.advance(seconds: 5)
      try await bench.end()
      let layers = try await bench.build(build).layers.filter { $0.image != nil }
      #expect(layers.count == 2)
      for layer in layers {
        let tag = Repositories.tag(layer.key, generation: 1)
        #expect(try await bench.images.manifest(.tag(tag), in: "layers")?.digest == layer.image)
      }
    }
  }

  private struct SlowEffects: Failpoints {
    let time: HeldTime

    func reach(_ point: Failpoint) async throws {
      if point == .outboxBeforeEffect { time.advance(seconds: 6) }
    }
  }

  // MARK: Older and newer builds

  @Test func anOlderBuildThatEndsLaterDoesNotMoveTheTagBack() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      var catalog = bench.catalog
      catalog.changeApp("older")
      let older = try await bench.submit(catalog, key: "older")
      let olderJobs = Set(try await bench.build(older).jobs.map(\.id))
      catalog.changeApp("newer")
      let newer = try await bench.submit(catalog, key: "newer")
      let worker = Worker(bench)
      // By hand, for the older one's jobs come first in the window.
      while true {
        let open = try await bench.build(newer).jobs.first { $0.state == .ready }
        guard let open else { break }
        try await worker.finish(try #require(try await worker.claim(open.id)))
      }
      try await bench.end()
      let newerDetail = try await bench.build(newer)
      #expect(newerDetail.summary.state == .passed)
      #expect(!olderJobs.isSubset(of: worker.claims))
      try await bench.finish(older, worker: worker)
      let olderDetail = try await bench.build(older)
      #expect(olderDetail.summary.state == .superseded)
      let digest = try await tag(bench)?.digest
      #expect(digest == newerDetail.published.first?.digest)
      #expect(digest != olderDetail.published.first?.digest)
    }
  }

  @Test func aNewerBuildMovesTheTag() async throws {
    try await Bench.with { bench in
      var catalog = bench.catalog
      let first = try await bench.run(catalog, key: "first")
      catalog.changeApp("again")
      let second = try await bench.run(catalog, key: "second")
      #expect(first.published.first?.digest != second.published.first?.digest)
      #expect(try await tag(bench)?.digest == second.published.first?.digest)
    }
  }

  @Test func aTagThatSomebodyElseMovedIsPutRightByTheNextBuild() async throws {
    try await Bench.with { bench in
      let first = try await bench.run(key: "first")
      let child = try #require(first.cells.first?.image)
      let stray = try #require(try await bench.images.manifest(.digest(child), in: "fixture/hello"))
      try await bench.images.put(stray, in: "fixture/hello", tag: "1.0.0")
      let second = try await bench.run(key: "second")
      #expect(second.summary.state == .passed)
      #expect(second.cells.allSatisfy { $0.state == .reused })
      #expect(try await tag(bench)?.digest == first.published.first?.digest)
    }
  }

  // MARK: Kills

  @Test(arguments: [
    Failpoint.settleBeforeApply, .indexBeforePut, .indexAfterPut, .tagBeforePut, .tagAfterPut, .outboxBeforeEffect,
    .outboxAfterEffect,
  ])
  func aKillIsMadeGoodByTheNextCoordinator(_ point: Failpoint) async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      let worker = Worker(bench)
      try await bench.settleCells(of: build, worker: worker)
      let kill = KillAt(point)
      try await bench.end(try bench.coordinator(failpoints: kill))
      #expect(kill.wasReached)
      let halfway = try await bench.build(build).summary.state
      #expect(halfway.isSettled == [.outboxBeforeEffect, .outboxAfterEffect].contains(point))
      bench.time.advance(seconds: CoordinatorSettings().effectLeaseSeconds)
      try await bench.end()
      let detail = try await bench.build(build)
      #expect(detail.summary.state == .passed)
      let index = try await tag(bench)
      #expect(try platforms(index) == [Bench.amd64, Bench.arm64])
      #expect(detail.published.map(\.digest) == [index?.digest])
      for layer in detail.layers {
        let tag = Repositories.tag(layer.key, generation: 1)
        #expect(try await bench.images.manifest(.tag(tag), in: "layers")?.digest == layer.image)
      }
      #expect(try await bench.store.takeEffects(limit: 10, leaseSeconds: 60) == [])
    }
  }

  /// Killed after it put its own index, when a newer build had taken the tag meanwhile.
  @Test func aTagPutTooLateIsPutRightByWhoTakesTheBuildUp() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      let worker = Worker(bench)
      try await bench.settleCells(of: build, worker: worker)
      let child = try #require(try await bench.build(build).cells.first?.image)
      let newer = try #require(try await bench.images.manifest(.digest(child), in: "layers"))
      let late = NewerTag(bench: bench, image: newer, sequence: build.sequence + 1)
      try await bench.end(try bench.coordinator(failpoints: late))
      bench.time.advance(seconds: CoordinatorSettings().effectLeaseSeconds)
      try await bench.end()
      #expect(try await bench.build(build).summary.state == .superseded)
      #expect(try await tag(bench)?.digest == newer.digest)
    }
  }

  private struct NewerTag: Failpoints {
    let bench: Bench
    let image: Manifest
    let sequence: Int64

    func reach(_ point: Failpoint) async throws {
      switch point {
      case .tagBeforePut:
        _ = try await bench.store.claimTag(
          repository: "fixture/hello", tag: "1.0.0", sequence: sequence, digest: image.digest)
        try await bench.images.put(image, in: "fixture/hello", tag: "1.0.0")
      case .tagAfterPut: throw CancellationError()
      default: break
      }
    }
  }
}
