import Model
import RecordStore
import Testing

/// What an independent fragment's layers wait for: `own("x!")` stands on nothing and is grafted.
extension RecordStoreConformance {
  static let grafts: [RecordStoreConformance] = [
    RecordStoreConformance("what is grafted is built once, and waited for together with each parent") { fixture in
      let own = StoreFixture.own("x!")
      try await fixture.submit("b1", [["a", "x!"], ["b", "x!"]])
      let first = try await fixture.ready()
      let work = try await Self.keys(first, fixture)
      #expect(Set(work.keys) == [own.text, StoreFixture.layer("a").text, StoreFixture.layer("b").text])
      // A parent first: its graft goes on waiting, for what it grafts.
      try await fixture.run(try #require(work[StoreFixture.layer("a").text]))
      #expect(try await fixture.ready().isEmpty)
      let waiting = try await fixture.job(try await fixture.jobID(StoreFixture.layer("a", "x!"), in: "b1"))
      #expect(waiting.summary.state == .waiting && waiting.waitsOn == own)
      try await fixture.run(try #require(work[own.text]))
      let graft = try await fixture.claim(try await fixture.onlyReady())
      #expect(graft.parentImage == StoreFixture.image(StoreFixture.layer("a")))
      #expect(graft.graftImage == StoreFixture.image(own) && graft.graftGeneration == 1)
      try await fixture.complete(graft)
      // The other one last: it is ready at once.
      try await fixture.run(try #require(work[StoreFixture.layer("b").text]))
      let ready = try await fixture.readyWork()
      #expect(ready == [StoreFixture.layer("b", "x!").text, StoreFixture.cell("a", "x!").text])
    },
    RecordStoreConformance("a new parent has the old blobs grafted: nothing is built again") { fixture in
      try await fixture.submit("b1", [["a", "x!"]])
      try await fixture.runAll()
      try await fixture.submit("b2", [["c", "x!"]])
      let own = StoreFixture.own("x!")
      #expect(try await fixture.readyWork() == [StoreFixture.layer("c").text])
      #expect(try await fixture.layer(own, in: "b2").generation == 1)
      try await fixture.run(try await fixture.jobID(StoreFixture.layer("c"), in: "b2"))
      let graft = try await fixture.claim(try await fixture.onlyReady())
      #expect(graft.graftImage == StoreFixture.image(own))
    },
    RecordStoreConformance("where all is grafted already, what was grafted is not asked for") { fixture in
      try await fixture.submit("b1", [["a", "x!"]])
      try await fixture.runAll()
      try await fixture.submit("b2", [["a", "x!", "d"]]) {
        $0.missing = [StoreFixture.own("x!"): MissingImage(generation: 1, reason: "pruned")]
      }
      #expect(try await fixture.readyWork() == [StoreFixture.layer("a", "x!", "d").text])
      let layers = try await fixture.build("b2").layers.map(\.key)
      #expect(!layers.contains(StoreFixture.own("x!")))
    },
    RecordStoreConformance("parent and graft that end at the same moment release what waits on both") { fixture in
      for round in 0..<8 {
        let names = ["p\(round)", "y\(round)!"]
        try await fixture.submit("b\(round)", [names])
        let claims = try await Self.claimAll(fixture)
        try #require(claims.count == 2)
        try await withThrowingTaskGroup(of: Void.self) { group in
          for claim in claims { group.addTask { try await fixture.complete(claim) } }
          try await group.waitForAll()
        }
        let key = StoreFixture.layerKey(names[...])
        let ready = try await fixture.ready()
        #expect(ready.map(\.job) == [try await fixture.jobID(key, in: "b\(round)")], "round \(round)")
        for job in ready { try await fixture.run(job.job) }
        try await fixture.runAll()
      }
    },
    RecordStoreConformance("blobs that are lost before they are grafted are built again") { fixture in
      let own = StoreFixture.own("x!")
      try await fixture.submit("b1", [["a", "x!"]])
      for claim in try await Self.claimAll(fixture) { try await fixture.complete(claim) }
      let graft = try await fixture.claim(try await fixture.onlyReady())
      for _ in 0..<2 { try await fixture.store.parentLost(graft.fence, graft.lostGraft) }
      #expect(try await fixture.layer(own, in: "b1").generation == 2)
      let again = try await fixture.claim(try await fixture.onlyReady())
      #expect(again.spec.kind == .layer && again.generation == 2)
      try await fixture.complete(again)
      let second = try await fixture.run(try await fixture.onlyReady())
      #expect(second.fence.job == graft.fence.job && second.graftGeneration == 2 && second.failureCount == 0)
      // Neither what it stands on nor what it grafts.
      try await fixture.submit("b2", [["a", "z!"]])
      try await fixture.run(try await fixture.jobID(StoreFixture.own("z!"), in: "b2"))
      let other = try await fixture.claim(try await fixture.jobID(StoreFixture.layer("a", "z!"), in: "b2"))
      await #expect(throws: StaleFence.self) {
        try await fixture.store.parentLost(other.fence, LostLayer(key: own, generation: 2))
      }
    },
    RecordStoreConformance("blobs that cannot be built block all cells that want them, until they are asked for again")
    {
      fixture in
      let own = StoreFixture.own("x!")
      let cells = [StoreFixture.cell("a", "x!"), StoreFixture.cell("b", "x!")]
      try await fixture.submit("b1", [["a", "x!"], ["b", "x!"], ["a"]])
      let dead = try await fixture.claim(try await fixture.jobID(own, in: "b1"))
      try await fixture.store.fail(StoreFixture.failure, decision: .dead, record: nil, fence: dead.fence)
      for key in cells {
        let cell = try await fixture.cell(key, in: "b1")
        #expect(cell.state == .blocked && cell.reason?.contains(dead.fence.job.text) == true)
      }
      try await fixture.submit("b2", [["a", "x!"], ["b", "x!"]]) { $0.retryFailed = true }
      for key in cells { #expect(try await fixture.cell(key, in: "b2").state == .waiting) }
      try await fixture.runAll()
      for key in cells { #expect(try await fixture.cell(key, in: "b2").state == .passed) }
    },
    RecordStoreConformance("blobs that fail while a graft waits for its parent block its cells too") { fixture in
      let store = fixture.store
      let (own, graft) = (StoreFixture.own("x!"), StoreFixture.layer("a", "x!"))
      let cell = StoreFixture.cell("a", "x!", "d")
      try await fixture.submit("b1", [["a", "x!"]])
      try await fixture.runAll()
      // All is there when this is asked for.
      try await fixture.submit("b2", [["a", "x!", "d"]])
      let top = try await fixture.claim(try await fixture.onlyReady())
      try await store.parentLost(top.fence, top.lostParent)
      let again = try await fixture.claim(try await fixture.jobID(graft, in: "b2"))
      try await store.parentLost(again.fence, again.lostParent)
      try await fixture.submit("b3", [["e", "x!"]]) {
        $0.missing = [own: MissingImage(generation: 1, reason: "pruned")]
      }
      try await fixture.run(try await fixture.jobID(StoreFixture.layer("a"), in: "b2"))
      let waiting = try await fixture.job(again.fence.job)
      #expect(waiting.summary.state == .waiting && waiting.waitsOn == own)
      let dead = try await fixture.claim(try await fixture.jobID(own, in: "b3"))
      try await store.fail(StoreFixture.failure, decision: .dead, record: nil, fence: dead.fence)
      #expect(try await fixture.cell(cell, in: "b2").state == .blocked)
    },
    RecordStoreConformance("what has failed before is not waited for: the attempt tells, and the cells are blocked") {
      fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a", "x!"]])
      let work = try await Self.keys(try await fixture.ready(), fixture)
      let own = try await fixture.claim(try #require(work[StoreFixture.own("x!").text]))
      try await store.fail(StoreFixture.failure, decision: .dead, record: nil, fence: own.fence)
      try await fixture.run(try #require(work[StoreFixture.layer("a").text]))
      let graft = try await fixture.claim(try await fixture.onlyReady())
      #expect(graft.graftImage == nil)
      try await store.parentLost(graft.fence, graft.lostGraft)
      let cell = try await fixture.cell(StoreFixture.cell("a", "x!"), in: "b1")
      #expect(cell.state == .blocked && cell.reason?.contains(own.fence.job.text) == true)
    },
    RecordStoreConformance("an image that is being built again is told by its own generation") { fixture in
      try await fixture.submit("b1", [["a", "x!"], ["b", "x!"]])
      for claim in try await Self.claimAll(fixture) { try await fixture.complete(claim) }
      let grafts = try await Self.claimAll(fixture)
      try #require(grafts.count == 2)
      try await fixture.store.parentLost(grafts[0].fence, grafts[0].lostGraft)
      // Given back and taken again while the blobs are being built.
      try await fixture.store.giveBack(grafts[1].fence, reason: "stopping")
      let late = try await fixture.claim(grafts[1].fence.job)
      #expect(late.graftGeneration == 1)
      try await fixture.run(try await fixture.jobID(StoreFixture.own("x!"), in: "b1"))
      try await fixture.store.parentLost(late.fence, late.lostGraft)
      #expect(try await fixture.layer(StoreFixture.own("x!"), in: "b1").generation == 2, "built twice for one loss")
      #expect(try await fixture.job(late.fence.job).summary.state == .ready)
    },
  ]

  private static func keys(_ messages: [JobMessage], _ fixture: StoreFixture) async throws -> [String: JobID] {
    var keys: [String: JobID] = [:]
    for message in messages {
      let job = try await fixture.job(message.job)
      keys[job.layer?.text ?? job.cell?.text ?? ""] = message.job
    }
    return keys
  }

  private static func claimAll(_ fixture: StoreFixture) async throws -> [Claim] {
    var claims: [Claim] = []
    for message in try await fixture.ready() { claims.append(try await fixture.claim(message.job)) }
    return claims
  }
}
