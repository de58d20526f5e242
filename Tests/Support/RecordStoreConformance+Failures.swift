import Foundation
import Model
import RecordStore
import Testing

extension RecordStoreConformance {
  static let failures: [RecordStoreConformance] = [
    RecordStoreConformance("a failed job that is tried again waits until it is due") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a"], ["b"]])
      let jobs = try await fixture.ready().map(\.job)
      try #require(jobs.count == 2)
      let (late, soon) = (try await fixture.claim(jobs[0]), try await fixture.claim(jobs[1]))
      for _ in 0..<2 {
        try await store.fail(
          StoreFixture.failure, decision: .retry(afterSeconds: 3600), record: nil, fence: late.fence)
      }
      try await store.fail(StoreFixture.failure, decision: .retry(afterSeconds: 0.2), record: nil, fence: soon.fence)
      let delayed = try await fixture.job(jobs[0])
      #expect(delayed.summary.state == .delayed)
      #expect(delayed.summary.failures == 1)
      #expect(delayed.summary.failure == StoreFixture.failure)
      #expect(delayed.summary.dueAt != nil)
      #expect(delayed.attempts.map(\.outcome) == ["failed"])
      let early = try await fixture.ready()
      #expect(early.isEmpty)
      let refused = try await fixture.isRefused(jobs[0])
      #expect(refused)

      try await fixture.advance(0.3)
      let released = try await store.releaseDue()
      #expect(released == 1)
      let job = try await fixture.onlyReady()
      #expect(job == soon.fence.job)
      let second = try await fixture.claim(job)
      #expect(second.fence.attempt == 2)
      #expect(second.failureCount == 1)
      try await fixture.complete(second)
      let stillDelayed = try await fixture.job(jobs[0])
      #expect(stillDelayed.summary.state == .delayed)
      let letters = try await store.deadLetters(limit: 10)
      #expect(letters.isEmpty)
    },
    RecordStoreConformance("failures count by their class, and of a fault of its own the executor is not the next") {
      fixture in
      let store = fixture.store
      let fault = Failure(.infrastructure, code: "engine-unreachable", "gone")
      let other = ExecutorName(text: "executor-2")
      try await fixture.submit("b1", [["a"]])
      let job = try await fixture.onlyReady()
      func fail(_ failure: Failure) async throws {
        let claim = try await fixture.claim(job)
        try await store.fail(failure, decision: .retry(afterSeconds: 0), record: nil, fence: claim.fence)
        _ = try await store.hasten(job)
        try await fixture.advance(0.05)
        _ = try await store.releaseDue()
      }
      func isPublished() async throws -> Bool {
        let messages = try await fixture.ready()
        try await store.markQueued(messages)
        return !messages.isEmpty
      }
      try await fail(fault)
      // Nobody else is there: it is.
      try await fail(StoreFixture.failure)
      for executor in [StoreFixture.executor, other] {
        try await store.announce(executor, pool: StoreFixture.pool, slots: 1, host: try StoreFixture.host())
      }
      // The step's own failure is no reason to go elsewhere.
      try await fail(fault)
      let queued = try await isPublished()
      #expect(queued)
      let nonce = UUID().uuidString
      let refused = try await fixture.isRefused(job, nonce: nonce)
      #expect(refused)
      let left = try await fixture.job(job)
      #expect(left.summary.state == .ready && left.summary.attempt == 3)
      let early = try await isPublished()
      #expect(!early)
      // The mark of the message that was refused may come as late as this.
      try await store.markQueued([JobMessage(job: job, dispatch: 1), JobMessage(job: job, dispatch: 2)])
      let unmarked = try await fixture.job(job)
      #expect(unmarked.summary.state == .ready)
      try await fixture.advance(1.1)
      let again = try await isPublished()
      #expect(again)
      // Where the other does not come, it is this one after all.
      let claim = try await fixture.claim(job)
      #expect(claim.failures == [.infrastructure: 2, .build: 1, .test: 0])
      try await store.fail(fault, decision: .retry(afterSeconds: 0), record: nil, fence: claim.fence)
      try await fixture.advance(0.05)
      _ = try await store.releaseDue()
      let outcome = try await store.claim(job, executor: other, nonce: "n", leaseSeconds: 600)
      guard case .granted(let others) = outcome else {
        Issue.record("\(outcome)")
        return
      }
      #expect(others.failures[.infrastructure] == 3)
      try await fixture.complete(others)
    },
    RecordStoreConformance("a dead layer blocks the cells above it, and at last fails its build") { fixture in
      let store = fixture.store
      let b = StoreFixture.layer("a", "b")
      try await fixture.submit("b1", [["a", "b", "d"], ["a", "c"]])
      try await fixture.run(try await fixture.onlyReady())
      _ = try await fixture.ready()
      let claim = try await fixture.claim(try await fixture.jobID(b, in: "b1"))
      for _ in 0..<2 {
        try await store.fail(StoreFixture.failure, decision: .dead, record: nil, fence: claim.fence)
      }
      let job = try await fixture.job(claim.fence.job)
      #expect(job.summary.state == .dead)
      let layer = try await fixture.layer(b, in: "b1")
      #expect(layer.state == .failed)
      let blocked = try await fixture.cell(StoreFixture.cell("a", "b", "d"), in: "b1")
      #expect(blocked.state == .blocked)
      #expect(blocked.reason?.contains(claim.fence.job.text) == true)
      let other = try await fixture.cell(StoreFixture.cell("a", "c"), in: "b1")
      #expect(other.state == .waiting)

      let letters = try await store.deadLetters(limit: 10)
      #expect(letters.map(\.job) == [claim.fence.job])
      #expect(letters.map(\.pool) == [StoreFixture.pool])
      #expect(letters.map(\.failure) == [StoreFixture.failure])
      let effects = try await store.takeEffects(limit: 10, leaseSeconds: 600).map(\.kind)
      let letter = OutboxEffect.DeadLetter(job: claim.fence.job, attempt: 1, failure: StoreFixture.failure)
      #expect(effects.filter { $0 == .deadLetter(pool: StoreFixture.pool, letter) }.count == 1)
      #expect(effects.count == 2, "the layer below was tagged, and nothing else")

      let early = try await store.settleBuilds()
      #expect(early.isEmpty)
      try await fixture.run(try await fixture.jobID(StoreFixture.layer("a", "c"), in: "b1"))
      try await fixture.runAll()
      let settled = try await store.settleBuilds()
      #expect(settled == [BuildID(text: "b1")])
      let build = try await fixture.build("b1")
      #expect(build.summary.state == .failed)
      #expect(build.summary.finishedAt != nil)
      #expect(build.summary.problem?.contains("1 are blocked") == true)
      let publishing = try await store.takePublishing(leaseSeconds: 600)
      #expect(publishing == nil)
    },
    RecordStoreConformance("a failed build keeps what its cells came to, whoever tries them again") { fixture in
      try await fixture.submit("b1", [["a"]])
      let claim = try await fixture.claim(try await fixture.onlyReady())
      try await fixture.store.fail(StoreFixture.failure, decision: .dead, record: nil, fence: claim.fence)
      _ = try await fixture.store.settleBuilds()
      try await fixture.submit("b2", [["a"]]) { $0.retryFailed = true }
      try await fixture.runAll()
      let then = try await fixture.cell(StoreFixture.cell("a"), in: "b1")
      #expect(then.state == .blocked)
      #expect(then.image == nil)
      let now = try await fixture.cell(StoreFixture.cell("a"), in: "b2")
      #expect(now.state == .passed)
      #expect(now.image == StoreFixture.image(StoreFixture.cell("a")))
    },
    RecordStoreConformance("building a lower layer again unblocks no cell whose upper layer has failed") { fixture in
      try await fixture.submit("b1", [["a", "b"]])
      try await fixture.run(try await fixture.onlyReady())
      let claim = try await fixture.claim(try await fixture.onlyReady())
      try await fixture.store.fail(StoreFixture.failure, decision: .dead, record: nil, fence: claim.fence)
      try await fixture.submit("b2", [["a", "c"]]) {
        $0.missing = [StoreFixture.layer("a"): MissingImage(generation: 1, reason: "no manifest")]
      }
      let blocked = try await fixture.cell(StoreFixture.cell("a", "b"), in: "b1")
      #expect(blocked.state == .blocked)
      let waiting = try await fixture.cell(StoreFixture.cell("a", "c"), in: "b2")
      #expect(waiting.state == .waiting)
    },
    RecordStoreConformance("a lost parent that has failed meanwhile blocks the cell") { fixture in
      let store = fixture.store
      let cell = StoreFixture.cell("a")
      try await fixture.submit("b1", [["a"]])
      try await fixture.run(try await fixture.onlyReady())
      let finish = try await fixture.claim(try await fixture.onlyReady())
      try await fixture.submit("b2", [["a", "c"]]) {
        $0.missing = [StoreFixture.layer("a"): MissingImage(generation: 1, reason: "no manifest")]
      }
      let again = try await fixture.claim(try await fixture.onlyReady())
      try await store.fail(StoreFixture.failure, decision: .dead, record: nil, fence: again.fence)
      let finishing = try await fixture.cell(cell, in: "b1")
      #expect(finishing.state == .finishing, "its job may still end well")
      try await store.parentLost(finish.fence, finish.lostParent)
      let blocked = try await fixture.cell(cell, in: "b1")
      #expect(blocked.state == .blocked)
      #expect(blocked.reason?.contains(again.fence.job.text) == true)
      let settled = try await store.settleBuilds()
      #expect(Set(settled) == [BuildID(text: "b1"), BuildID(text: "b2")])
    },
    RecordStoreConformance("a failed layer rests, unless someone asks on purpose") { fixture in
      let b = StoreFixture.layer("a", "b")
      let cell = StoreFixture.cell("a", "b")
      try await fixture.submit("b1", [["a", "b"]])
      try await fixture.run(try await fixture.onlyReady())
      let claim = try await fixture.claim(try await fixture.onlyReady())
      try await fixture.store.fail(StoreFixture.failure, decision: .dead, record: nil, fence: claim.fence)
      let first = try await fixture.store.settleBuilds()
      #expect(first == [BuildID(text: "b1")])

      try await fixture.submit("b2", [["a", "b"]])
      let resting = try await fixture.cell(cell, in: "b2")
      #expect(resting.state == .blocked)
      #expect(resting.reason?.contains(claim.fence.job.text) == true)
      let nothing = try await fixture.ready()
      #expect(nothing.isEmpty)
      let second = try await fixture.store.settleBuilds()
      #expect(second == [BuildID(text: "b2")])

      try await fixture.submit("b3", [["a", "b"]]) { $0.retryFailed = true }
      let layer = try await fixture.layer(b, in: "b3")
      #expect(layer.state == .building)
      #expect(layer.generation == 2)
      #expect(layer.cause.contains(claim.fence.job.text))
      let waiting = try await fixture.cell(cell, in: "b3")
      #expect(waiting.state == .waiting)
      let dead = try await fixture.job(claim.fence.job)
      #expect(dead.summary.state == .dead)
      let retry = try await fixture.run(try await fixture.onlyReady())
      #expect(retry.fence.job != claim.fence.job)
      #expect(retry.fence.attempt == 2)
      #expect(retry.generation == 2)
      #expect(retry.failureCount == 0)
      try await fixture.runAll()
      let passed = try await fixture.cell(cell, in: "b3")
      #expect(passed.state == .passed)
      let third = try await fixture.store.settleBuilds()
      #expect(third == [BuildID(text: "b3")])
    },
    RecordStoreConformance("a cell that fails for good has a record, and so fails its build") { fixture in
      let cell = StoreFixture.cell("a")
      let failure = Failure(.test, code: "test-failed", "test 'starts' exited with 1", exitCode: 1)
      try await fixture.submit("b1", [["a"]])
      try await fixture.run(try await fixture.onlyReady())
      let claim = try await fixture.claim(try await fixture.onlyReady())
      let plan = try StoreFixture.plan([["a"]])
      let record = try StoreFixture.record(plan.cells[0], verdict: .failed)
      for _ in 0..<2 {
        try await fixture.store.fail(failure, decision: .dead, record: record, fence: claim.fence)
      }
      let failed = try await fixture.cell(cell, in: "b1")
      #expect(failed.state == .failed)
      let layer = try await fixture.layer(StoreFixture.layer("a"), in: "b1")
      #expect(layer.state == .available)
      let records = try await fixture.store.records(RecordFilter(), limit: 10, after: nil)
      #expect(records.map(\.record) == [record])
      let letters = try await fixture.store.deadLetters(limit: 10)
      #expect(letters.map(\.failure) == [failure])
      let settled = try await fixture.store.settleBuilds()
      #expect(settled == [BuildID(text: "b1")])
      let build = try await fixture.build("b1")
      #expect(build.summary.state == .failed)
      #expect(build.summary.problem?.contains("1 cells failed") == true)
    },
    RecordStoreConformance("a letter that the broker made is kept once") { fixture in
      let store = fixture.store
      for _ in 0..<2 {
        try await store.storeDeadLetter([0, 0xFF], pool: StoreFixture.pool, identifier: "m-1", settled: nil)
      }
      let letters = try await store.deadLetters(limit: 10)
      #expect(letters.map(\.identifier) == ["m-1"])
      #expect(letters.map(\.pool) == [StoreFixture.pool])
      #expect(letters.first?.failure == nil)
    },

    // MARK: Lost images

    RecordStoreConformance("a lost parent is built again, and its child waits for it") { fixture in
      let store = fixture.store
      let a = StoreFixture.layer("a")
      let newImage = Digest(of: "another image")
      try await fixture.submit("b1", [["a", "b"]])
      let old = try await fixture.run(try await fixture.onlyReady())
      let child = try await fixture.claim(try await fixture.onlyReady())
      for _ in 0..<2 { try await store.parentLost(child.fence, child.lostParent) }
      let parent = try await fixture.layer(a, in: "b1")
      #expect(parent.state == .building)
      #expect(parent.generation == 2)
      #expect(parent.cause.contains(child.fence.job.text))
      #expect(parent.job != old.fence.job)
      let oldJob = try await fixture.job(old.fence.job)
      #expect(oldJob.summary.state == .succeeded)
      let waiting = try await fixture.job(child.fence.job)
      #expect(waiting.summary.state == .waiting)
      #expect(waiting.summary.failures == 0)
      #expect(waiting.waitsOn == a)
      let refused = try await fixture.isRefused(child.fence.job)
      #expect(refused)

      let again = try await fixture.claim(try await fixture.onlyReady())
      #expect(again.fence.job == parent.job)
      #expect(again.fence.attempt == 2)
      #expect(again.generation == 2)
      #expect(again.spec == old.spec)
      try await store.completeLayer(StoreFixture.result(newImage), fence: again.fence)
      let released = try await fixture.onlyReady()
      #expect(released == child.fence.job)
      let second = try await fixture.claim(released)
      #expect(second.fence.attempt == 2)
      #expect(second.failureCount == 0)
      #expect(second.parentImage == newImage)
      let different = try await fixture.layer(a, in: "b1")
      #expect(different.state == .available)
      #expect(!different.reproducible, "the same layer came out with another digest")
      try await fixture.complete(second)
      try await fixture.runAll()
      try await fixture.publish("b1")
    },
    RecordStoreConformance("a lost parent whose next try was cancelled is tried again for who finds it lost") {
      fixture in
      let store = fixture.store
      let a = StoreFixture.layer("a")
      let somebody = Principal(text: "somebody")
      try await fixture.submit("b1", [["a", "b"]])
      try await fixture.run(try await fixture.onlyReady())
      try await fixture.run(try await fixture.onlyReady())
      let finish = try await fixture.claim(try await fixture.onlyReady())
      try await store.fail(StoreFixture.failure, decision: .dead, record: nil, fence: finish.fence)
      _ = try await store.settleBuilds()
      try await fixture.submit("b2", [["a", "c"]]) {
        $0.missing = [a: MissingImage(generation: 1, reason: "no manifest")]
      }
      let cancelled = try await fixture.onlyReady()
      _ = try await store.cancel(BuildID(text: "b2"), by: somebody)
      _ = try await store.settleBuilds()
      let left = try await fixture.layer(a, in: "b1")
      #expect(left.state == .idle)

      _ = try await store.replay(DeadLetterSelection(), by: somebody)
      let cell = try await fixture.claim(try await fixture.onlyReady())
      try await store.parentLost(cell.fence, cell.lostParent)
      let child = try await fixture.claim(try await fixture.onlyReady())
      for _ in 0..<2 { try await store.parentLost(child.fence, child.lostParent) }
      let parent = try await fixture.layer(a, in: "b1")
      #expect(parent.state == .building)
      #expect(parent.generation == 3)
      #expect(parent.cause.contains(cancelled.text))
      try await fixture.runAll()
      try await fixture.publish("b1")
    },
    RecordStoreConformance("two children that lose their parent make one generation") { fixture in
      let a = StoreFixture.layer("a")
      try await fixture.submit("b1", [["a", "b"], ["a", "c"]])
      try await fixture.run(try await fixture.onlyReady())
      let jobs = try await fixture.ready().map(\.job)
      try #require(jobs.count == 2)
      var children: [Claim] = []
      for job in jobs { children.append(try await fixture.claim(job)) }
      let both = children
      try await withThrowingTaskGroup(of: Void.self) { group in
        for child in both { group.addTask { try await fixture.store.parentLost(child.fence, child.lostParent) } }
        try await group.waitForAll()
      }
      let parent = try await fixture.layer(a, in: "b1")
      #expect(parent.generation == 2)
      try await fixture.run(try await fixture.onlyReady())
      let released = try await fixture.ready().map(\.job)
      #expect(Set(released) == Set(jobs))
    },
    RecordStoreConformance("a parent that was built again meanwhile is not built for the child that comes late") {
      fixture in
      let store = fixture.store
      let a = StoreFixture.layer("a")
      try await fixture.submit("b1", [["a", "b"], ["a"]])
      try await fixture.run(try await fixture.onlyReady())
      let children = try await fixture.ready().map(\.job)
      try #require(children.count == 2)
      let early = try await fixture.claim(children[0])
      let late = try await fixture.claim(children[1])
      #expect(early.parentGeneration == 1)
      try await store.parentLost(early.fence, early.lostParent)
      // The same digest again: layers are reproducible.
      try await fixture.run(try await fixture.onlyReady())
      try await store.parentLost(late.fence, late.lostParent)
      let parent = try await fixture.layer(a, in: "b1")
      #expect(parent.state == .available)
      #expect(parent.generation == 2)
      let both = try await fixture.ready().map(\.job)
      #expect(Set(both) == Set(children))
      let cell = try await fixture.cell(StoreFixture.cell("a"), in: "b1")
      #expect(cell.state == .finishing)
      for job in both {
        let claim = try await fixture.run(job)
        #expect(claim.parentGeneration == 2)
      }
    },
    RecordStoreConformance("a cell whose last layer is lost waits and finishes later") { fixture in
      let cell = StoreFixture.cell("a")
      try await fixture.submit("b1", [["a"]])
      try await fixture.run(try await fixture.onlyReady())
      let first = try await fixture.claim(try await fixture.onlyReady())
      try await fixture.store.parentLost(first.fence, first.lostParent)
      let waiting = try await fixture.cell(cell, in: "b1")
      #expect(waiting.state == .waiting)
      try await fixture.run(try await fixture.onlyReady())
      let finishing = try await fixture.cell(cell, in: "b1")
      #expect(finishing.state == .finishing)
      let second = try await fixture.run(try await fixture.onlyReady())
      #expect(second.fence.job == first.fence.job)
      #expect(second.failureCount == 0)
      let passed = try await fixture.cell(cell, in: "b1")
      #expect(passed.state == .passed)
    },
  ]
}
