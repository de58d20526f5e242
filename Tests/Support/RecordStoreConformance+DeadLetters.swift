import Model
import RecordStore
import Testing

extension RecordStoreConformance {
  private static let somebody = Principal(text: "somebody")

  /// Claims the only job that is ready and lets it fail for good.
  private static func die(_ fixture: StoreFixture, _ failure: Failure = StoreFixture.failure) async throws -> JobID {
    let claim = try await fixture.claim(try await fixture.onlyReady())
    try await fixture.store.fail(failure, decision: .dead, record: nil, fence: claim.fence)
    return claim.fence.job
  }

  static let deadLetters: [RecordStoreConformance] = [
    RecordStoreConformance("a dead layer is replayed once, and what waited on it goes on") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a", "b"], ["a", "c"]])
      let dead = try await die(fixture)
      _ = try await store.settleBuilds()
      let failed = try await fixture.build("b1")
      #expect(failed.summary.state == .failed)

      // By two people at once.
      async let one = store.replay(DeadLetterSelection(letter: dead.text), by: somebody)
      async let two = store.replay(DeadLetterSelection(pool: StoreFixture.pool), by: somebody)
      let outcomes = try await [one, two]
      #expect(outcomes.flatMap(\.replayed).map(\.job) == [dead])
      #expect(outcomes.flatMap(\.builds) == [BuildID(text: "b1")])
      let again = try await store.replay(DeadLetterSelection(letter: dead.text, isEvery: true), by: somebody)
      #expect(again.replayed.isEmpty && again.skipped.count == 1)

      let running = try await fixture.build("b1")
      #expect(running.summary.state == .running && running.summary.problem == nil && running.summary.finishedAt == nil)
      #expect(running.cells.allSatisfy { $0.state == .waiting })
      let layer = try await fixture.layer(StoreFixture.layer("a"), in: "b1")
      #expect(layer.state == .building && layer.generation == 2)
      #expect(layer.cause == "job \(dead) was replayed by somebody")
      let job = try await fixture.job(dead)
      #expect(job.summary.state == .dead, "what ended stays so")
      let claim = try await fixture.claim(try await fixture.onlyReady())
      #expect(claim.fence.attempt == 2 && claim.generation == 2 && claim.failureCount == 0)
      try await fixture.complete(claim)
      try await fixture.runAll()
      try await fixture.publish("b1")
      let open = try await store.deadLetters(limit: 10)
      #expect(open.isEmpty)
      let letter = try await store.deadLetters(DeadLetterSelection(isEvery: true), limit: 10, after: nil)
      #expect(letter.map(\.state) == [.replayed] && letter.map(\.settledBy) == ["somebody"])
    },
    RecordStoreConformance("a build that died of two causes is revived by the replay of both") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a", "c"], ["x", "c"]])
      for message in try await fixture.ready() {
        let claim = try await fixture.claim(message.job)
        try await store.fail(StoreFixture.failure, decision: .dead, record: nil, fence: claim.fence)
      }
      _ = try await store.settleBuilds()
      let outcome = try await store.replay(DeadLetterSelection(build: BuildID(text: "b1")), by: somebody)
      #expect(outcome.replayed.count == 2 && outcome.builds == [BuildID(text: "b1")] && !outcome.hasMore)
      let cells = try await fixture.build("b1").cells.map(\.state)
      #expect(cells == [.waiting, .waiting])
      try await fixture.runAll()
      try await fixture.publish("b1")
    },
    RecordStoreConformance("a replay starts what was cancelled with another build") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a", "b", "c"]])
      let dead = try await die(fixture)
      _ = try await store.settleBuilds()
      // It wants what is above, too, and something else that is open.
      try await fixture.submit("b2", [["a", "b", "d"], ["x"]])
      _ = try await store.cancel(BuildID(text: "b2"), by: somebody)
      let idle = try await fixture.layer(StoreFixture.layer("a", "b"), in: "b1")
      #expect(idle.state == .idle)
      let kept = try await fixture.cell(StoreFixture.cell("a", "b", "c"), in: "b1")
      #expect(kept.state == .blocked)
      _ = try await store.settleBuilds()
      let outcome = try await store.replay(DeadLetterSelection(letter: dead.text), by: somebody)
      #expect(outcome.builds == [BuildID(text: "b1")])
      try await fixture.runAll()
      try await fixture.publish("b1")
    },
    RecordStoreConformance("a cell with two causes is unblocked by two replays at once") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a", "b"]])
      try await fixture.run(try await fixture.onlyReady())
      let upper = try await die(fixture)
      _ = try await store.settleBuilds()
      try await fixture.submit("b2", [["a", "c"]]) {
        $0.missing = [StoreFixture.layer("a"): MissingImage(generation: 1, reason: "no manifest")]
      }
      let lower = try await die(fixture)
      _ = try await store.settleBuilds()
      async let one = store.replay(DeadLetterSelection(letter: lower.text), by: somebody)
      async let two = store.replay(DeadLetterSelection(letter: upper.text), by: somebody)
      _ = try await [one, two]
      let cells = try await fixture.build("b1").cells.map(\.state)
      #expect(cells == [.waiting])
      try await fixture.runAll()
      let settled = try await store.settleBuilds()
      #expect(settled == [BuildID(text: "b1"), BuildID(text: "b2")])
    },
    RecordStoreConformance("a replayed layer stands on what is there, and starts what is not") { fixture in
      let store = fixture.store
      let (a, b) = (StoreFixture.layer("a"), StoreFixture.layer("a", "b"))
      try await fixture.submit("b1", [["a", "b"]])
      try await fixture.run(try await fixture.onlyReady())
      let dead = try await die(fixture)
      _ = try await store.settleBuilds()
      // Its parent is lost meanwhile, and the build that asked for it again is cancelled.
      try await fixture.submit("b2", [["a", "c"]]) {
        $0.missing = [a: MissingImage(generation: 1, reason: "no manifest")]
      }
      _ = try await store.cancel(BuildID(text: "b2"), by: somebody)
      _ = try await store.settleBuilds()
      let idle = try await fixture.layer(a, in: "b1")
      #expect(idle.state == .idle)
      let outcome = try await store.replay(DeadLetterSelection(build: BuildID(text: "b1")), by: somebody)
      #expect(outcome.replayed.map(\.job) == [dead])
      let work = try await fixture.readyWork()
      #expect(work == [a.text])
      let waiting = try await fixture.job(try await fixture.jobID(b, in: "b1"))
      #expect(waiting.summary.state == .waiting && waiting.waitsOn == a)
      try await fixture.run(try await fixture.jobID(a, in: "b1"))
      try await fixture.runAll()
      try await fixture.publish("b1")
    },
    RecordStoreConformance("a failed cell is replayed, and its build with it") { fixture in
      let store = fixture.store
      let cell = StoreFixture.cell("a")
      try await fixture.submit("b1", [["a"], ["x"]])
      for message in try await fixture.ready() { try await fixture.run(message.job) }
      let finish = try await fixture.cell(cell, in: "b1").job
      let claim = try await fixture.claim(try #require(finish))
      let record = try StoreFixture.record(try StoreFixture.plan([["a"]]).cells[0], verdict: .failed)
      try await store.fail(
        Failure(.test, code: "test-failed", "no"), decision: .dead, record: record, fence: claim.fence)
      _ = try await fixture.ready()
      try await fixture.run(try #require(try await fixture.cell(StoreFixture.cell("x"), in: "b1").job))
      _ = try await store.settleBuilds()
      let failed = try await fixture.build("b1")
      #expect(failed.summary.state == .failed)
      let outcome = try await store.replay(DeadLetterSelection(build: BuildID(text: "b1")), by: somebody)
      #expect(outcome.replayed.map(\.job) == [claim.fence.job] && outcome.builds == [BuildID(text: "b1")])
      let again = try await fixture.build("b1")
      #expect(again.cells.map(\.state).sorted { $0.rawValue < $1.rawValue } == [.finishing, .passed])
      try await fixture.runAll()
      try await fixture.publish("b1")
      let records = try await store.records(RecordFilter(), limit: 10, after: nil)
      #expect(records.count == 3)
    },
    RecordStoreConformance("a cell that something else blocks too stays blocked, and so does its build") { fixture in
      let store = fixture.store
      let a = StoreFixture.layer("a")
      try await fixture.submit("b1", [["a", "b"]])
      try await fixture.run(try await fixture.onlyReady())
      let upper = try await die(fixture)
      _ = try await store.settleBuilds()
      try await fixture.submit("b2", [["a", "c"]]) {
        $0.missing = [a: MissingImage(generation: 1, reason: "no manifest")]
      }
      let lower = try await die(fixture)
      _ = try await store.settleBuilds()
      let outcome = try await store.replay(DeadLetterSelection(letter: lower.text), by: somebody)
      #expect(outcome.builds == [BuildID(text: "b2")])
      let blocked = try await fixture.build("b1")
      #expect(blocked.summary.state == .failed && blocked.cells.map(\.state) == [.blocked])
      let both = try await store.replay(DeadLetterSelection(letter: upper.text), by: somebody)
      #expect(both.builds == [BuildID(text: "b1")])
      try await fixture.runAll()
      let settled = try await store.settleBuilds()
      #expect(settled == [BuildID(text: "b1"), BuildID(text: "b2")])
    },
    RecordStoreConformance("asking again settles the letter, and a build of layers alone is revived") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a"]]) {
        $0.plan.cells = []
        $0.plan.images = []
      }
      let dead = try await die(fixture)
      let settled = try await store.settleBuilds()
      #expect(settled == [BuildID(text: "b1")])
      let outcome = try await store.replay(
        DeadLetterSelection(fingerprint: StoreFixture.failure.fingerprint), by: somebody)
      #expect(outcome.builds == [BuildID(text: "b1")])
      let second = try await die(fixture)
      _ = try await store.settleBuilds()
      try await fixture.submit("b2", [["a"]]) { $0.retryFailed = true }
      let letters = try await store.deadLetters(DeadLetterSelection(isEvery: true), limit: 10, after: nil)
      #expect(Set(letters.compactMap(\.job)) == [dead, second])
      #expect(letters.allSatisfy { $0.state == .replayed })
      let late = try await store.replay(DeadLetterSelection(letter: second.text, isEvery: true), by: somebody)
      #expect(late.replayed.isEmpty && late.skipped.map(\.reason) == ["it was tried again already"])
    },
    RecordStoreConformance("letters are grouped by cause, read in pages, and dropped with a name") { fixture in
      let store = fixture.store
      let other = Failure(.infrastructure, code: "registry", "registry:5000 answered 503")
      for (index, failure) in [StoreFixture.failure, StoreFixture.failure, other].enumerated() {
        try await fixture.submit("b\(index)", [["x\(index)"]])
        _ = try await die(fixture, failure)
      }
      try await store.storeDeadLetter([0xFF], pool: PoolName(text: "far"), identifier: "bytes:1", settled: nil)
      try await store.storeDeadLetter([1], pool: StoreFixture.pool, identifier: "bytes:2", settled: "it went on")
      let groups = try await store.deadLetterGroups()
      #expect(
        groups.map { "\($0.fingerprint) \($0.count) \($0.pools.map(\.text))" }.sorted()
          == [
            "\(StoreFixture.failure.fingerprint) 2 [\"pool\"]", "\(other.fingerprint) 1 [\"pool\"]",
            "undecodable 1 [\"far\"]",
          ].sorted())
      #expect(groups.first?.failure == StoreFixture.failure && groups.first?.title?.hasPrefix("x") == true)

      var pages: [[String]] = []
      var after: String?
      repeat {
        let page = try await store.deadLetters(DeadLetterSelection(isEvery: true), limit: 2, after: after)
        pages.append(page.map(\.identifier))
        after = page.last?.identifier
      } while pages.last?.isEmpty == false
      #expect(pages.map(\.count) == [2, 2, 1, 0] && Set(pages.joined()).count == 5)

      let dropped = try await store.dropDeadLetters(
        DeadLetterSelection(fingerprint: StoreFixture.failure.fingerprint), reason: "old", by: somebody)
      #expect(dropped == 2)
      let none = try await store.dropDeadLetters(
        DeadLetterSelection(fingerprint: StoreFixture.failure.fingerprint), reason: "again", by: somebody)
      #expect(none == 0)
      let left = try await store.deadLetters(limit: 10)
      #expect(left.map(\.fingerprint).sorted() == [other.fingerprint, "undecodable"].sorted())
      let all = try await store.deadLetters(DeadLetterSelection(isEvery: true), limit: 10, after: nil)
      #expect(all.filter { $0.state == .dropped }.map(\.reason) == ["old", "old"])
      #expect(all.first { $0.identifier == "bytes:2" }?.reason == "it went on")
      #expect(all.first { $0.identifier == "bytes:1" }?.bytes == "/w==")
      // What names no job has nothing to replay; what was dropped can be tried all the same.
      let bytes = try await store.replay(DeadLetterSelection(letter: "bytes:1"), by: somebody)
      #expect(bytes.replayed.isEmpty && bytes.skipped.map(\.letter) == ["bytes:1"])
      let build = try await store.replay(DeadLetterSelection(build: BuildID(text: "b0"), isEvery: true), by: somebody)
      #expect(build.replayed.count == 1)
    },
    RecordStoreConformance("a job that waits for its next attempt can be told not to") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a"]])
      let claim = try await fixture.claim(try await fixture.onlyReady())
      let early = try await store.hasten(claim.fence.job)
      #expect(!early)
      try await store.fail(StoreFixture.failure, decision: .retry(afterSeconds: 3600), record: nil, fence: claim.fence)
      let hastened = try await store.hasten(claim.fence.job)
      #expect(hastened)
      let released = try await store.releaseDue()
      #expect(released == 1)
    },
  ]
}
