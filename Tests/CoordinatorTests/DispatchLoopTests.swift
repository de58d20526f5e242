import Foundation
import JobQueue
import Model
import RecordStore
import RecordStoreSQLite
import TestSupport
import Testing

@testable import KilnCoordinator

@Suite struct DispatchLoopTests {
  private func jobs(_ build: AcceptedBuild, _ state: JobState, _ bench: Bench) async throws -> [JobID] {
    try await bench.build(build).jobs.filter { $0.state == state }.map(\.id)
  }

  @Test func whatIsReadyIsPublishedAndQueued() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      let pause = try await bench.dispatch()
      let queued = try await jobs(build, .queued, bench)
      #expect(queued.count == 2)
      #expect(try await jobs(build, .ready, bench) == [])
      #expect(try await bench.queue.depth(of: Bench.pool).ready == 2)
      #expect(pause == CoordinatorSettings().idleSeconds)
      try await bench.dispatch()
      #expect(try await bench.queue.depth(of: Bench.pool).ready == 2)
      let slot = try await bench.queue.openSlot(on: Bench.pool)
      let message = try JobMessage(body: try #require(try await slot.next()).body)
      #expect(queued.contains(message.job))
      #expect(message.dispatch == 1)
      await slot.close()
    }
  }

  @Test func theWindowHoldsIdleSlotsAndALittleMore() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      for number in 1...3 {
        var catalog = bench.catalog
        catalog.files["fragments/core/1.0.0/Dockerfile.fragment"] = "RUN echo \(number)\n"
        try await bench.submit(catalog, key: "key \(number)")
      }
      try await bench.dispatch()
      #expect(try await bench.queue.depth(of: Bench.pool).ready == 2)
      let host = HostFacts(
        executor: Worker.name, kilnVersion: "1", engineVersion: "1", builderVersion: "1", platforms: [], cpuCount: 1,
        freeBytes: nil)
      try await bench.store.announce(Worker.name, pool: Bench.pool, slots: 3, host: host)
      try await bench.dispatch()
      #expect(try await bench.queue.depth(of: Bench.pool).ready == 5)
    }
  }

  @Test func everyJobIsBuiltOnceAndTheBuildPasses() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      let worker = Worker(bench)
      try await bench.finish(build, worker: worker)
      let detail = try await bench.build(build)
      #expect(detail.summary.state == .passed)
      #expect(worker.claims.count == 6)
      #expect(Set(worker.claims) == Set(detail.jobs.map(\.id)))
    }
  }

  @Test func whatComesBackIsTriedAgainAfterAPauseAndTheQueueIsMade() async throws {
    try await Bench.with { bench in
      let build = try await bench.submit()
      bench.queue.set(.returning, for: Bench.pool)
      try await bench.dispatch()
      #expect(try await jobs(build, .ready, bench).count == 2)
      #expect(bench.queue.preparations == [Bench.pool])
      #expect(bench.log.lines.contains { $0.contains("no queue") && $0.contains("there is no queue") })
      bench.queue.set(nil, for: Bench.pool)
      try await bench.dispatch()
      #expect(try await jobs(build, .queued, bench) == [])
      bench.time.advance(seconds: CoordinatorSettings().publishRetrySeconds)
      try await bench.dispatch()
      #expect(try await jobs(build, .queued, bench).count == 2)
    }
  }

  @Test func aBrokerThatIsAwayIsTriedAgainAfterAPause() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      bench.queue.set(.unavailable, for: Bench.pool)
      let pause = try await bench.dispatch()
      #expect(pause == CoordinatorSettings().publishRetrySeconds)
      #expect(try await jobs(build, .ready, bench).count == 2)
      bench.queue.set(nil, for: Bench.pool)
      bench.time.advance(seconds: pause)
      try await bench.dispatch()
      #expect(try await jobs(build, .queued, bench).count == 2)
    }
  }

  @Test func whatIsNotConfirmedWaitsForItsLeaseAndIsStillBuiltOnce() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      bench.queue.set(.silent, for: Bench.pool)
      let pause = try await bench.dispatch()
      #expect(pause == 5)
      #expect(try await jobs(build, .ready, bench).count == 2)
      bench.queue.set(nil, for: Bench.pool)
      bench.time.advance(seconds: CoordinatorSettings().publishLeaseSeconds - 1)
      try await bench.dispatch()
      #expect(try await bench.queue.depth(of: Bench.pool).ready == 2)
      bench.time.advance(seconds: 1)
      try await bench.dispatch()
      #expect(try await bench.queue.depth(of: Bench.pool).ready == 4)
      let worker = Worker(bench)
      try await bench.finish(build, worker: worker)
      #expect(worker.claims.count == 6)
      #expect(Set(worker.claims).count == 6)
    }
  }

  /// One pool's queue that cannot be had is no reason to keep the others waiting.
  @Test(arguments: [FaultyQueue.Fault.refusing, .unavailable])
  func aPoolWithoutAQueueDoesNotHoldUpTheOthers(_ fault: FaultyQueue.Fault) async throws {
    try await Bench.with { bench in
      let broken = try Bench.pool("a", platforms: Bench.arm64)
      let whole = try Bench.pool("b", platforms: Bench.amd64)
      let coordinator = try bench.coordinator(pools: [broken, whole])
      try await bench.queue.prepare([broken.name, whole.name])
      let build = try await bench.submit(with: coordinator)
      bench.queue.set(fault, for: broken.name)
      try await bench.dispatch(coordinator)
      let queued = try await bench.build(build).jobs.filter { $0.state == .queued }
      #expect(queued.map(\.pool) == [whole.name])
    }
  }
}

@Suite struct GhostTests {
  @Test func aQueueThatWasPurgedIsFilledAgainOnce() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      var looks: [PoolName: Int] = [:]
      try await bench.dispatch(looks: &looks)
      try await bench.queue.purge([Bench.pool])
      // Two looks, but too soon: a delivery may be on its way to its claim.
      for _ in 1...2 { try await bench.dispatch(looks: &looks) }
      #expect(try await bench.queue.depth(of: Bench.pool).ready == 0)
      bench.time.advance(seconds: CoordinatorSettings().ghostSeconds + 1)
      for _ in 1...4 { try await bench.dispatch(looks: &looks) }
      #expect(try await bench.queue.depth(of: Bench.pool).ready == 2)
      #expect(bench.log.lines.filter { $0.contains("queued jobs made ready again") }.count == 1)
      let worker = Worker(bench)
      try await bench.finish(build, worker: worker)
      #expect(worker.claims.count == 6)
      #expect(try await bench.build(build).summary.state == .passed)
    }
  }

  @Test func whatIsInTheQueueIsNoGhost() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      try await bench.submit()
      var looks: [PoolName: Int] = [:]
      for _ in 1...4 {
        try await bench.dispatch(looks: &looks)
        bench.time.advance(seconds: CoordinatorSettings().ghostSeconds + 1)
      }
      #expect(try await bench.queue.depth(of: Bench.pool).ready == 2)
    }
  }

  /// A broker that cannot be asked still has what it was given.
  @Test func aQueueThatCannotBeReadIsNotEmpty() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      var looks: [PoolName: Int] = [:]
      try await bench.dispatch(looks: &looks)
      bench.queue.set(.unavailable, for: Bench.pool)
      for _ in 1...4 {
        bench.time.advance(seconds: CoordinatorSettings().ghostSeconds + 1)
        try await bench.dispatch(looks: &looks)
      }
      let states = try await bench.build(build).jobs.map(\.state)
      #expect(states.filter { $0 == .queued }.count == 2)
      bench.queue.set(nil, for: Bench.pool)
      bench.time.advance(seconds: CoordinatorSettings().ghostSeconds + 1)
      try await bench.dispatch(looks: &looks)
      #expect(try await bench.queue.depth(of: Bench.pool).ready == 2)
    }
  }
}

@Suite struct ReaperTests {
  @Test func anAttemptWhoseLeaseRanOutIsTriedAgainAndDeadInTheEnd() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      var catalog = bench.catalog
      catalog.setTargets((Bench.amd64, required: true))
      let build = try await bench.submit(catalog)
      let worker = Worker(bench)
      let attempts = RetryPolicy().infrastructure.attempts
      let job = try #require(try await bench.build(build).jobs.first { $0.state == .ready }).id
      for attempt in 1...attempts {
        try await bench.dispatch()
        #expect(try await bench.job(job).summary.state == .queued)
        // Taken, and never heard of again.
        _ = try #require(try await worker.claim(job, leaseSeconds: 30))
        bench.time.advance(seconds: 29)
        try await bench.dispatch()
        #expect(try await bench.job(job).summary.state == .running)
        bench.time.advance(seconds: 2)
        try await bench.dispatch()
        let summary = try await bench.job(job).summary
        #expect(summary.failures == attempt)
        #expect(summary.failure?.code == "lease-out")
        #expect(summary.failure?.message.contains("executor worker") == true)
        #expect(summary.state == (attempt == attempts ? .dead : .delayed))
        if let due = summary.dueAt {
          bench.time.advance(seconds: Double(due.milliseconds - bench.time.now().milliseconds) / 1000)
        }
      }
      try await bench.end()
      #expect(try await bench.build(build).summary.state == .failed)
      #expect(try await bench.store.deadLetters(limit: 10).map(\.identifier) == ["dead:\(job):\(attempts)"])
    }
  }

  @Test func aKillBeforeTheEndIsWrittenLosesNothing() async throws {
    try await Bench.with { bench in
      let (build, stale) = try await bench.claimFirst()
      let job = stale.fence.job
      bench.time.advance(seconds: 31)
      let kill = KillAt(.reapBeforeApply)
      try await bench.dispatch(try bench.coordinator(failpoints: kill))
      #expect(kill.wasReached)
      #expect(try await bench.job(job).summary.state == .running)
      try await bench.dispatch()
      #expect(try await bench.job(job).summary.state == .delayed)
      await #expect(throws: StaleFence.self) {
        try await bench.store.append(EvidenceChunk(stream: .log, sequence: 0, bytes: [1]), fence: stale.fence)
      }
      try await bench.finish(build, worker: Worker(bench))
      #expect(try await bench.build(build).summary.state == .passed)
      #expect(try await bench.job(job).attempts.map(\.outcome) == ["failed", "succeeded"])
    }
  }

  @Test func aLeaseThatWasRenewedMeanwhileIsLeftAlone() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      try await bench.dispatch()
      let job = try #require(try await bench.build(build).jobs.first { $0.state == .queued }).id
      let claim = try #require(try await Worker(bench).claim(job))
      bench.time.advance(seconds: 31)
      let late = Renewal(store: bench.store, fence: claim.fence)
      try await bench.dispatch(try bench.coordinator(failpoints: late))
      #expect(try await bench.job(job).summary.state == .running)
      #expect(!bench.log.lines.contains { $0.contains("lease out") })
    }
  }

  /// The heartbeat arrives between the look and the end.
  private struct Renewal: Failpoints {
    let store: any RecordStore
    let fence: Fence

    func reach(_ point: Failpoint) async throws {
      if point == .reapBeforeApply { _ = try await store.heartbeat(fence, leaseSeconds: 30) }
    }
  }
}
