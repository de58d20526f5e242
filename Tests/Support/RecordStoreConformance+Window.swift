import Model
import RecordStore
import Testing

extension RecordStoreConformance {
  static let window: [RecordStoreConformance] = [
    RecordStoreConformance("a mark counts only for its own dispatch") { fixture in
      let (store, pool) = (fixture.store, StoreFixture.pool)
      try await fixture.submit("b1", [["a"]])
      let messages = try await fixture.ready()
      let first = try #require(messages.first)
      try await store.markQueued([JobMessage(job: first.job, dispatch: first.dispatch + 1)])
      var queued = try await store.outlook(of: [pool]).pools[pool]?.queued
      #expect(queued == 0)
      try await store.markQueued([first])
      queued = try await store.outlook(of: [pool]).pools[pool]?.queued
      #expect(queued == 1)

      let young = try await store.reviveGhosts(pool: pool, olderThanSeconds: 3600)
      #expect(young == 0)
      try await fixture.advance(0.3)
      let ghosts = try await store.reviveGhosts(pool: pool, olderThanSeconds: 0.1)
      #expect(ghosts == 1)
      let second = try await fixture.ready()
      #expect(second == [JobMessage(job: first.job, dispatch: 2)])
      try await store.markQueued([first])
      queued = try await store.outlook(of: [pool]).pools[pool]?.queued
      #expect(queued == 0)
      try await store.markQueued(second)
      queued = try await store.outlook(of: [pool]).pools[pool]?.queued
      #expect(queued == 1)
    },
    RecordStoreConformance("what could not be published is taken again when the pool has waited") { fixture in
      let (store, pool) = (fixture.store, StoreFixture.pool)
      try await fixture.submit("b1", [["a"]])
      let messages = try await fixture.ready()
      try await store.publishFailed(messages, pool: pool, reason: "no queue", retrySeconds: 3600)
      let none = try await fixture.ready()
      #expect(none.isEmpty)
      try await store.publishFailed([], pool: pool, reason: "no queue", retrySeconds: 0.1)
      try await fixture.advance(0.3)
      let again = try await fixture.ready()
      #expect(again == messages.map { JobMessage(job: $0.job, dispatch: 2) })
    },
    RecordStoreConformance("a publish lease that runs out is taken again") { fixture in
      try await fixture.submit("b1", [["a"]])
      let first = try await fixture.store.takeReady(pool: StoreFixture.pool, extra: 5, publishLeaseSeconds: 0.2)
      #expect(first.map(\.dispatch) == [1])
      try await fixture.advance(0.3)
      let second = try await fixture.ready()
      #expect(second == first.map { JobMessage(job: $0.job, dispatch: 2) })
    },
    RecordStoreConformance("a job that no executor can take says so") { fixture in
      let (store, pool) = (fixture.store, StoreFixture.pool)
      try await fixture.submit("b1", [["a", "b"]])
      let job = try await fixture.onlyReady()
      let alone = try await fixture.job(job).summary.lacksExecutor
      #expect(alone)
      let above = try await fixture.job(try await fixture.jobID(StoreFixture.layer("a", "b"), in: "b1"))
      #expect(!above.summary.lacksExecutor, "it waits for its parent, not for an executor")
      try await store.announce(
        StoreFixture.executor, pool: PoolName(text: "another"), slots: 2, host: try StoreFixture.host())
      let stillAlone = try await fixture.job(job).summary.lacksExecutor
      #expect(stillAlone)
      try await store.announce(StoreFixture.executor, pool: pool, slots: 2, host: try StoreFixture.host())
      let served = try await fixture.job(job).summary.lacksExecutor
      #expect(!served)
    },
    RecordStoreConformance("the window is the idle slots and a little more") { fixture in
      let (store, pool) = (fixture.store, StoreFixture.pool)
      try await store.announce(StoreFixture.executor, pool: pool, slots: 2, host: try StoreFixture.host())
      try await fixture.submit("b1", [["a"], ["b"], ["c"], ["d"]])
      let first = try await store.takeReady(pool: pool, extra: 0, publishLeaseSeconds: 600)
      try #require(first.count == 2)
      let full = try await store.takeReady(pool: pool, extra: 0, publishLeaseSeconds: 600)
      #expect(full.isEmpty)
      try await store.markQueued(first)
      _ = try await fixture.claim(first[0].job)
      let busy = try await store.takeReady(pool: pool, extra: 0, publishLeaseSeconds: 600)
      #expect(busy.isEmpty)
      let more = try await store.takeReady(pool: pool, extra: 1, publishLeaseSeconds: 600)
      #expect(more.count == 1)
      let elsewhere = try await store.takeReady(pool: PoolName(text: "other"), extra: 9, publishLeaseSeconds: 600)
      #expect(elsewhere.isEmpty)
      let executors = try await store.executors()
      #expect(executors.map(\.name) == [StoreFixture.executor])
      #expect(executors.map(\.slots) == [2])
      #expect(executors.map(\.running) == [1])
      let host = try StoreFixture.host()
      #expect(executors.map(\.host) == [host])
    },
    RecordStoreConformance("a higher priority goes first, then the older build, then the longer way") { fixture in
      try await fixture.submit("b1", [["a"], ["b", "c", "d"]])
      try await fixture.submit("b2", [["e"]])
      try await fixture.submit("b3", [["f"]]) { $0.priority = 5 }
      var order: [LayerKey?] = []
      for message in try await fixture.ready() {
        let job = try await fixture.job(message.job)
        order.append(job.layer)
      }
      let expected: [LayerKey?] = ["f", "b", "a", "e"].map { StoreFixture.layer($0) }
      #expect(order == expected)
    },
    RecordStoreConformance("the next deadline is the soonest lease or delay") { fixture in
      let none = try await fixture.store.outlook(of: []).secondsToNextDeadline
      #expect(none == nil)
      try await fixture.submit("b1", [["a"], ["b"]])
      let jobs = try await fixture.ready().map(\.job)
      try #require(jobs.count == 2)
      _ = try await fixture.claim(jobs[0], leaseSeconds: 300)
      let lease = try await fixture.store.outlook(of: []).secondsToNextDeadline
      #expect((lease ?? 0) > 200)
      #expect((lease ?? 999) <= 300)
      let claim = try await fixture.claim(jobs[1])
      try await fixture.store.fail(
        StoreFixture.failure, decision: .retry(afterSeconds: 100), record: nil, fence: claim.fence)
      let delay = try await fixture.store.outlook(of: []).secondsToNextDeadline
      #expect((delay ?? 0) > 10)
      #expect((delay ?? 999) <= 100)
    },
    RecordStoreConformance("an embedded store's start cancels what nobody works on, and keeps what was built") {
      fixture in
      try await fixture.submit("b1", [["a", "b"], ["c"], ["d"]])
      let messages = try await fixture.ready()
      try #require(messages.count == 3)
      let a = try await fixture.jobID(StoreFixture.layer("a"), in: "b1")
      try await fixture.run(a)
      let rest = messages.map(\.job).filter { $0 != a }
      let claim = try await fixture.claim(rest[0])
      try await fixture.store.markQueued(messages.filter { $0.job == rest[1] })
      let cancelled = try await fixture.store.cancelOwnerless()
      #expect(cancelled == [BuildID(text: "b1")])
      let heartbeat = try await fixture.store.heartbeat(claim.fence, leaseSeconds: 60)
      #expect(heartbeat == .stale)
      let nothing = try await fixture.ready()
      #expect(nothing.isEmpty)
      let old = try await fixture.build("b1")
      #expect(old.summary.state == .cancelled)
      #expect(old.cells.allSatisfy { $0.state == .cancelled })
      #expect(old.jobs.allSatisfy { $0.state.isFinal })

      try await fixture.submit("b2", [["a", "b"], ["c"]])
      let kept = try await fixture.layer(StoreFixture.layer("a"), in: "b2")
      #expect(kept.reused)
      let again = try await fixture.layer(StoreFixture.layer("c"), in: "b2")
      #expect(again.generation == 2)
      #expect(again.cause.contains("was cancelled"))
      try await fixture.runAll()
      let settled = try await fixture.store.settleBuilds()
      #expect(settled == [BuildID(text: "b2")])
      let passed = try await fixture.build("b2")
      #expect(passed.summary.state == .publishing)
    },
  ]

  // MARK: Claims and leases

  static let claims: [RecordStoreConformance] = [
    RecordStoreConformance("ready and queued jobs can be claimed, by one nonce") { fixture in
      let (store, executor) = (fixture.store, StoreFixture.executor)
      try await fixture.submit("b1", [["a"], ["b"], ["c"]])
      let messages = try await fixture.store.takeReady(pool: StoreFixture.pool, extra: 2, publishLeaseSeconds: 600)
      try #require(messages.count == 2)
      try await store.markQueued([messages[0]])
      // The third was never taken.
      let build = try await fixture.build("b1")
      let untaken = try #require(
        build.jobs.first { job in job.state == .ready && !messages.contains { $0.job == job.id } })
      for job in [messages[0].job, messages[1].job, untaken.id] {
        let first = try await store.claim(job, executor: executor, nonce: "one", leaseSeconds: 600)
        guard case .granted(let claim) = first else {
          Issue.record("\(first)")
          return
        }
        #expect(claim.fence == Fence(job: job, attempt: 1, nonce: "one"))
        let again = try await store.claim(job, executor: executor, nonce: "one", leaseSeconds: 600)
        #expect(again == first)
        let refused = try await fixture.isRefused(job, nonce: "two")
        #expect(refused)
        let detail = try await fixture.job(job)
        #expect(detail.summary.state == .running)
        #expect(detail.summary.attempt == 1)
        #expect(detail.summary.executor == executor)
        #expect(detail.attempts.count == 1)
      }
      // A mark that comes after the claim changes nothing.
      try await store.markQueued([messages[1]])
      let late = try await fixture.job(messages[1].job)
      #expect(late.summary.state == .running)
      let unknown = try await fixture.isRefused(JobID(text: "unknown"))
      #expect(unknown)
    },
    RecordStoreConformance("of fifty who claim at once, one has it") { fixture in
      try await fixture.submit("b1", [["a"]])
      let job = try await fixture.onlyReady()
      let granted = try await withThrowingTaskGroup(of: ClaimOutcome.self) { group in
        for number in 0..<50 {
          group.addTask {
            try await fixture.store.claim(
              job, executor: ExecutorName(text: "executor-\(number)"), nonce: "nonce-\(number)", leaseSeconds: 600)
          }
        }
        return try await group.reduce(into: [Claim]()) { claims, outcome in
          if case .granted(let claim) = outcome { claims.append(claim) }
        }
      }
      #expect(granted.count == 1)
      let detail = try await fixture.job(job)
      #expect(detail.attempts.count == 1)
      #expect(detail.summary.attempt == 1)
    },
    RecordStoreConformance("a claim carries the job and the image below it") { fixture in
      try await fixture.submit("b1", [["a", "b"]])
      let plan = try StoreFixture.plan([["a", "b"]])
      let root = try await fixture.run(try await fixture.onlyReady())
      #expect(root.spec == .layer(plan.layers[0]))
      #expect(root.parentImage == nil)
      #expect(root.scope == .release)
      #expect(root.generation == 1)
      #expect(root.failureCount == 0)
      let child = try await fixture.run(try await fixture.onlyReady())
      #expect(child.spec == .layer(plan.layers[1]))
      #expect(child.parentImage == StoreFixture.image(plan.layers[0].key))
      let finish = try await fixture.run(try await fixture.onlyReady())
      #expect(finish.spec == .finish(plan.cells[0]))
      #expect(finish.parentImage == StoreFixture.image(plan.layers[1].key))
    },
    RecordStoreConformance("a claim that is asked for again has its lease from then on") { fixture in
      let (store, executor) = (fixture.store, StoreFixture.executor)
      try await fixture.submit("b1", [["a"]])
      let job = try await fixture.onlyReady()
      _ = try await store.claim(job, executor: executor, nonce: "one", leaseSeconds: 0.2)
      _ = try await store.claim(job, executor: executor, nonce: "one", leaseSeconds: 600)
      _ = try await store.claim(job, executor: executor, nonce: "two", leaseSeconds: 0.2)
      try await fixture.advance(0.3)
      let expired = try await store.expiredLeases(limit: 10)
      #expect(expired.isEmpty)
    },
    RecordStoreConformance("a heartbeat extends, and a stale one says so") { fixture in
      try await fixture.submit("b1", [["a"]])
      let claim = try await fixture.claim(try await fixture.onlyReady(), leaseSeconds: 0.2)
      let extended = try await fixture.store.heartbeat(claim.fence, leaseSeconds: 600)
      #expect(extended == .extended)
      try await fixture.advance(0.3)
      let expired = try await fixture.store.expiredLeases(limit: 10)
      #expect(expired.isEmpty)
      for stale in StoreFixture.staleFences(claim.fence) {
        let outcome = try await fixture.store.heartbeat(stale, leaseSeconds: 600)
        #expect(outcome == .stale)
      }
      try await fixture.complete(claim)
      let late = try await fixture.store.heartbeat(claim.fence, leaseSeconds: 600)
      #expect(late == .stale)
    },
    RecordStoreConformance("what the broker gave up is ready again, once, and only by its own message") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a"]])
      let message = try #require(try await fixture.ready().first)
      let early = try await store.reviveOverDelivered(message, afterSeconds: 0.2)
      #expect(!early, "it is not queued yet")
      try await store.markQueued([message])
      let other = try await store.reviveOverDelivered(
        JobMessage(job: message.job, dispatch: message.dispatch + 1), afterSeconds: 0.2)
      #expect(!other)
      let revived = try await store.reviveOverDelivered(message, afterSeconds: 0.2)
      #expect(revived)
      let again = try await store.reviveOverDelivered(message, afterSeconds: 0.2)
      #expect(!again)
      let pausing = try await fixture.ready()
      #expect(pausing.isEmpty)
      try await fixture.advance(0.3)
      let next = try #require(try await fixture.ready().first)
      #expect(next == JobMessage(job: message.job, dispatch: message.dispatch + 1))
    },
    RecordStoreConformance("a lease that is out is found and ended, unless it was extended") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a"]])
      let claim = try await fixture.claim(try await fixture.onlyReady(), leaseSeconds: 0.2)
      try await fixture.advance(0.3)
      let found = try await store.expiredLeases(limit: 10)
      #expect(found.map(\.fence) == [claim.fence])
      #expect(found.map(\.pool) == [StoreFixture.pool])
      #expect(found.map(\.failures) == [0])
      #expect(found.map(\.executor) == [StoreFixture.executor])
      let lease = try #require(found.first)
      let failure = Failure(.infrastructure, code: "lease-expired", "nothing was heard of executor-1")

      _ = try await store.heartbeat(claim.fence, leaseSeconds: 600)
      let extended = try await store.expire(lease, failure: failure, decision: .retry(afterSeconds: 0))
      #expect(!extended)
      _ = try await store.heartbeat(claim.fence, leaseSeconds: 0.2)
      try await fixture.advance(0.3)
      let ended = try await store.expire(lease, failure: failure, decision: .retry(afterSeconds: 0))
      #expect(ended)
      let delayed = try await fixture.job(claim.fence.job)
      #expect(delayed.summary.state == .delayed)
      #expect(delayed.summary.failures == 1)
      #expect(delayed.summary.failure == failure)
      let none = try await store.expiredLeases(limit: 10)
      #expect(none.isEmpty)

      let due = try await store.releaseDue()
      #expect(due == 1)
      let second = try await fixture.claim(claim.fence.job)
      #expect(second.fence.attempt == 2)
      #expect(second.failureCount == 1)
      let heartbeat = try await store.heartbeat(claim.fence, leaseSeconds: 600)
      #expect(heartbeat == .stale)
      await #expect(throws: StaleFence.self) { try await fixture.complete(claim) }
      try await fixture.complete(second)
    },
  ]
}

extension StoreFixture {
  /// Fences that are wrong in one thing each.
  static func staleFences(_ fence: Fence) -> [Fence] {
    [
      Fence(job: fence.job, attempt: fence.attempt, nonce: "wrong"),
      Fence(job: fence.job, attempt: fence.attempt + 1, nonce: fence.nonce),
      Fence(job: fence.job, attempt: fence.attempt - 1, nonce: fence.nonce),
      Fence(job: JobID(text: "unknown"), attempt: fence.attempt, nonce: fence.nonce),
    ]
  }
}
