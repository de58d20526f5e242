import Model
import RecordStore
import Testing

extension RecordStoreConformance {
  static let completions: [RecordStoreConformance] = [
    RecordStoreConformance("a completed layer releases exactly its children, once") { fixture in
      let a = StoreFixture.layer("a")
      try await fixture.submit("b1", [["a", "b", "d"], ["a", "c"], ["e", "f"]])
      let roots = try await fixture.readyWork()
      #expect(roots == [a.text, StoreFixture.layer("e").text])
      let claim = try await fixture.claim(try await fixture.jobID(a, in: "b1"))
      try await fixture.complete(claim)
      try await fixture.complete(claim)
      let children = try await fixture.readyWork()
      #expect(children == [StoreFixture.layer("a", "b").text, StoreFixture.layer("a", "c").text])
      try await fixture.complete(claim)
      let more = try await fixture.readyWork()
      #expect(more.isEmpty)
      let layer = try await fixture.layer(a, in: "b1")
      #expect(layer.state == .available)
      #expect(layer.generation == 1)
      #expect(layer.image == StoreFixture.image(a))
      #expect(layer.reproducible)
      let job = try await fixture.job(claim.fence.job)
      #expect(job.summary.state == .succeeded)
      #expect(job.attempts.map(\.outcome) == ["succeeded"])
      let effects = try await fixture.store.takeEffects(limit: 10, leaseSeconds: 600)
      #expect(
        effects.map(\.kind) == [
          .tagLayer(.release, tag: Repositories.tag(a, generation: 1), image: StoreFixture.image(a))
        ])
    },
    RecordStoreConformance("a stale fence changes nothing") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a", "b"]])
      try await fixture.run(try await fixture.onlyReady())
      let claim = try await fixture.claim(try await fixture.onlyReady())
      let before = try await fixture.build("b1")
      let plan = try StoreFixture.plan([["a", "b"]])
      let record = try StoreFixture.record(plan.cells[0])
      for fence in StoreFixture.staleFences(claim.fence) {
        let calls: [@Sendable () async throws -> Void] = [
          { try await store.completeLayer(StoreFixture.result(Digest(of: "stale")), fence: fence) },
          { try await store.completeCell(record, fence: fence) },
          { try await store.fail(StoreFixture.failure, decision: .dead, record: record, fence: fence) },
          { try await store.giveBack(fence, reason: "stale") },
          { try await store.parentLost(fence, claim.lostParent) },
          { try await store.append(EvidenceChunk(stream: .log, sequence: 0, bytes: [1]), fence: fence) },
        ]
        for call in calls { await #expect(throws: StaleFence.self) { try await call() } }
      }
      // The right fence of the wrong kind of job is no better.
      await #expect(throws: StaleFence.self) { try await store.completeCell(record, fence: claim.fence) }
      let after = try await fixture.build("b1")
      #expect(after == before)
      let ready = try await fixture.ready()
      #expect(ready.isEmpty)
      let letters = try await store.deadLetters(limit: 10)
      #expect(letters.isEmpty)
      let records = try await store.records(RecordFilter(), limit: 10, after: nil)
      #expect(records.isEmpty)
      let heartbeat = try await store.heartbeat(claim.fence, leaseSeconds: 600)
      #expect(heartbeat == .extended)
      try await fixture.complete(claim)
    },
    RecordStoreConformance("the last layer makes the cell finishing, and passing it leaves one record") { fixture in
      let key = StoreFixture.cell("a", "b")
      try await fixture.submit("b1", [["a", "b"]])
      try await fixture.run(try await fixture.onlyReady())
      let waiting = try await fixture.cell(key, in: "b1")
      #expect(waiting.state == .waiting)
      try await fixture.run(try await fixture.onlyReady())
      let finishing = try await fixture.cell(key, in: "b1")
      #expect(finishing.state == .finishing)
      let early = try await fixture.store.settleBuilds()
      #expect(early.isEmpty)

      let job = try await fixture.onlyReady()
      #expect(job == finishing.job)
      let claim = try await fixture.claim(job)
      try await fixture.complete(claim)
      try await fixture.complete(claim)
      let passed = try await fixture.cell(key, in: "b1")
      #expect(passed.state == .passed)
      #expect(passed.image == StoreFixture.image(key))
      let records = try await fixture.store.records(RecordFilter(), limit: 10, after: nil)
      let plan = try StoreFixture.plan([["a", "b"]])
      let expected = try StoreFixture.record(plan.cells[0])
      #expect(records.map(\.record) == [expected])
      #expect(records.map(\.job) == [job])
      #expect(records.map(\.attempt) == [1])
      #expect(records.map(\.generation) == [1])
    },
    RecordStoreConformance("records are found by what they combine") { fixture in
      try await fixture.submit("b1", [["a", "b"], ["a", "c"]])
      try await fixture.runAll()
      let filters: [(RecordFilter, Int)] = [
        (RecordFilter(), 2), (RecordFilter(product: "app"), 2), (RecordFilter(product: "other"), 0),
        (RecordFilter(platform: Platform("linux/amd64")), 2), (RecordFilter(platform: Platform("linux/arm64")), 0),
        (RecordFilter(fragments: [FragmentVersion(name: "a", version: "1.0.0")]), 2),
        (RecordFilter(fragments: ["a", "b"].map { FragmentVersion(name: $0, version: "1.0.0") }), 1),
        (RecordFilter(fragments: ["b", "c"].map { FragmentVersion(name: $0, version: "1.0.0") }), 0),
        (RecordFilter(fragments: [FragmentVersion(name: "a", version: "2.0.0")]), 0),
      ]
      for (filter, count) in filters {
        let records = try await fixture.store.records(filter, limit: 10, after: nil)
        #expect(records.count == count, "\(filter)")
      }
      let first = try await fixture.store.records(RecordFilter(), limit: 1, after: nil)
      try #require(first.count == 1)
      let rest = try await fixture.store.records(RecordFilter(), limit: 10, after: first[0].id)
      #expect(rest.count == 1)
      #expect(rest.first?.id != first[0].id)
    },
    RecordStoreConformance("evidence is kept once, and not after the end") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a"]])
      let claim = try await fixture.claim(try await fixture.onlyReady())
      let job = claim.fence.job
      let chunks = (0..<3).map { number in
        EvidenceChunk(stream: number == 2 ? .steps : .log, sequence: number, bytes: [0, 0xFF, UInt8(number)])
      }
      for chunk in chunks { try await store.append(chunk, fence: claim.fence) }
      try await store.append(EvidenceChunk(stream: .log, sequence: 1, bytes: [9]), fence: claim.fence)
      let open = try await store.evidence(job, attempt: nil, afterSequence: -1, limit: 10)
      #expect(open.attempt == 1)
      #expect(open.chunks == chunks)
      #expect(!open.isClosed)
      #expect(!open.isFinal)
      let middle = try await store.evidence(job, attempt: 1, afterSequence: 0, limit: 1)
      #expect(middle.chunks == [chunks[1]])
      for stale in StoreFixture.staleFences(claim.fence) {
        await #expect(throws: StaleFence.self, "though there is a piece of that number") {
          try await store.append(chunks[1], fence: stale)
        }
      }
      try await fixture.complete(claim)
      await #expect(throws: StaleFence.self) {
        try await store.append(EvidenceChunk(stream: .log, sequence: 3, bytes: [1]), fence: claim.fence)
      }
      let closed = try await store.evidence(job, attempt: nil, afterSequence: -1, limit: 10)
      #expect(closed.chunks == chunks)
      #expect(closed.isClosed)
      #expect(closed.isFinal)
    },
    RecordStoreConformance("what is given back is ready, and is no failure") { fixture in
      try await fixture.submit("b1", [["a"]])
      let first = try await fixture.claim(try await fixture.onlyReady())
      try await fixture.store.giveBack(first.fence, reason: "the executor ends")
      try await fixture.store.giveBack(first.fence, reason: "the executor ends")
      let again = try await fixture.onlyReady()
      #expect(again == first.fence.job)
      let old = try await fixture.isRefused(again, nonce: first.fence.nonce)
      #expect(old, "an attempt that ended is not claimed again")
      let second = try await fixture.claim(again)
      #expect(second.fence.attempt == 2)
      #expect(second.failureCount == 0)
      let job = try await fixture.job(again)
      #expect(job.attempts.map(\.outcome) == ["given-back", nil])
      await #expect(throws: StaleFence.self) { try await fixture.complete(first) }
      try await fixture.complete(second)
    },
  ]

  // MARK: Publishing

  static let publishing: [RecordStoreConformance] = [
    RecordStoreConformance("a build whose cells passed is published") { fixture in
      let store = fixture.store
      let id = BuildID(text: "b1")
      let keys = [StoreFixture.cell("a", "b"), StoreFixture.cell("a", "c")]
      let accepted = try await fixture.submit("b1", [["a", "b"], ["a", "c"]])
      try await fixture.runAll()
      let settled = try await store.settleBuilds()
      #expect(settled == [id])
      let again = try await store.settleBuilds()
      #expect(again.isEmpty)
      let running = try await fixture.build("b1")
      #expect(running.summary.state == .publishing)
      #expect(running.summary.finishedAt == nil)

      let publishing = try await store.takePublishing(leaseSeconds: 600)
      let taken = try #require(publishing)
      let plan = try StoreFixture.plan([["a", "b"], ["a", "c"]])
      #expect(taken.id == id)
      #expect(taken.sequence == accepted.sequence)
      #expect(taken.scope == .release)
      #expect(taken.images == plan.images)
      #expect(taken.cellImages == Dictionary(uniqueKeysWithValues: keys.map { ($0, StoreFixture.image($0)) }))
      let leased = try await store.takePublishing(leaseSeconds: 600)
      #expect(leased == nil)

      let indexes = [PublishedIndex(repository: "app", tags: ["1.0.0"], digest: Digest(of: "index"))]
      try await store.finishPublishing(id, .tagsAgree, indexes: indexes, problem: nil)
      try await store.finishPublishing(id, .superseded, indexes: [], problem: "late")
      let passed = try await fixture.build("b1")
      #expect(passed.summary.state == .passed)
      #expect(passed.summary.finishedAt != nil)
      #expect(passed.published == indexes)
      #expect(passed.images == plan.images)
    },
    RecordStoreConformance("a publisher that is gone is replaced when its lease is out") { fixture in
      try await fixture.submit("b1", [["a"]])
      try await fixture.runAll()
      _ = try await fixture.store.settleBuilds()
      let first = try await fixture.store.takePublishing(leaseSeconds: 0.2)
      try await fixture.advance(0.3)
      let second = try await fixture.store.takePublishing(leaseSeconds: 600)
      #expect(first != nil)
      #expect(second == first)
      try await fixture.store.finishPublishing(BuildID(text: "b1"), .superseded, indexes: [], problem: nil)
      let build = try await fixture.build("b1")
      #expect(build.summary.state == .superseded)
    },
    RecordStoreConformance("a tag never goes back to an older build") { fixture in
      let store = fixture.store
      let steps: [(sequence: Int64, digest: String, after: Int64, its: String)] = [
        (5, "five", 5, "five"), (3, "three", 5, "five"), (5, "five again", 5, "five again"),
        (7, "seven", 7, "seven"), (6, "six", 7, "seven"),
      ]
      for step in steps {
        let row = try await store.claimTag(
          repository: "app", tag: "1.0.0", sequence: step.sequence, digest: Digest(of: step.digest))
        #expect(row == TagRow(sequence: step.after, digest: Digest(of: step.its)))
      }
      let row = try await store.tag(repository: "app", tag: "1.0.0")
      #expect(row == TagRow(sequence: 7, digest: Digest(of: "seven")))
      let other = try await store.tag(repository: "app", tag: "2.0.0")
      #expect(other == nil)
    },
    RecordStoreConformance("an effect comes again until it is done") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a"]])
      try await fixture.run(try await fixture.onlyReady())
      let effects = try await store.takeEffects(limit: 10, leaseSeconds: 600)
      let first = try #require(effects.first)
      let leased = try await store.takeEffects(limit: 10, leaseSeconds: 600)
      #expect(leased.isEmpty)
      try await store.effectFailed(first.id, retrySeconds: 0, reason: "the registry is away")
      let again = try await store.takeEffects(limit: 10, leaseSeconds: 0.1)
      #expect(again == [first])
      try await fixture.advance(0.3)
      let later = try await store.takeEffects(limit: 10, leaseSeconds: 600)
      #expect(later == [first])
      try await store.effectFailed(first.id, retrySeconds: 0, reason: "the registry is away")
      try await store.effectDone(first.id)
      let done = try await store.takeEffects(limit: 10, leaseSeconds: 600)
      #expect(done.isEmpty)
    },
  ]
}
