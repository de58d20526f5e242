import Model
import RecordStore
import Testing

/// Events that each leave the store well, and together leave an open build waiting for what nobody does.
extension RecordStoreConformance {
  static let wanted: [RecordStoreConformance] = [
    RecordStoreConformance("a cell whose layers are all there finishes, whatever else of it failed meanwhile") {
      fixture in
      let cell = StoreFixture.cell("a", "b")
      try await fixture.submit("b1", [["a", "b"]])
      try await fixture.run(try await fixture.onlyReady())
      let top = try await fixture.claim(try await fixture.onlyReady())
      try await fixture.submit("b2", [["a", "c"]]) { $0.missing = Self.lost(StoreFixture.layer("a")) }
      try await Self.die(try await fixture.onlyReady(), fixture)
      #expect(try await fixture.cell(cell, in: "b1").state == .blocked)
      try await fixture.complete(top)
      #expect(try await fixture.cell(cell, in: "b1").state == .finishing)
      try await fixture.run(try await fixture.onlyReady())
      #expect(try await fixture.cell(cell, in: "b1").state == .passed)
      #expect(try await Self.ends(fixture, "b1", "b2") == [.passed, .failed])
      _ = try await fixture.store.replay(DeadLetterSelection(), by: Self.somebody)
      #expect(try await Self.ends(fixture, "b1", "b2") == [.passed, .passed])
    },
    RecordStoreConformance("what is grafted again for one build is built for another, where the first is cancelled") {
      fixture in
      let (store, own, graft) = (fixture.store, StoreFixture.own("x!"), StoreFixture.layer("a", "x!"))
      try await fixture.submit("b0", [["a", "x!"]])
      try await fixture.runAll()
      try await fixture.submit("b1", [["a", "x!", "d"]])
      let top = try await fixture.claim(try await fixture.onlyReady())
      try await fixture.submit("b2", [["a", "x!"]]) { $0.missing = Self.lost(own, graft) }
      _ = try await store.cancel(BuildID(text: "b2"), by: Self.somebody)
      try await store.parentLost(top.fence, top.lostParent)
      #expect(try await fixture.ready().isEmpty)
      let outcome = try await store.startWanted()
      #expect(outcome.started.count == 1 && outcome.blocked.isEmpty)
      let job = try await fixture.job(try #require(outcome.started.first))
      #expect(job.layer == own)
      #expect(try await store.startWanted() == WantedOutcome())
      #expect(try await Self.ends(fixture, "b1") == [.passed])
    },
    RecordStoreConformance("a cell that waits for what waits for what failed is blocked, and waits again with it") {
      fixture in
      let (store, own, graft) = (fixture.store, StoreFixture.own("x!"), StoreFixture.layer("a", "x!"))
      let cell = StoreFixture.cell("a", "x!", "d")
      try await fixture.submit("b0", [["a", "x!"]])
      try await fixture.runAll()
      try await fixture.submit("b1", [["a", "x!", "d"]])
      let top = try await fixture.claim(try await fixture.onlyReady())
      try await fixture.submit("b2", [["a", "x!"]]) { $0.missing = Self.lost(own, graft) }
      try await Self.die(try await fixture.onlyReady(), fixture)
      try await store.parentLost(top.fence, top.lostParent)
      let outcome = try await store.startWanted()
      #expect(outcome.blocked == [cell] && outcome.started.isEmpty)
      #expect(try await fixture.cell(cell, in: "b1").state == .blocked)
      #expect(try await Self.ends(fixture, "b1") == [.failed])
      _ = try await store.replay(DeadLetterSelection(), by: Self.somebody)
      #expect(try await Self.ends(fixture, "b1") == [.passed])
    },
    RecordStoreConformance("below a finishing cell, what failed blocks it when it finds its parent lost") { fixture in
      let (store, a, b) = (fixture.store, StoreFixture.layer("a"), StoreFixture.layer("a", "b"))
      try await fixture.submit("b1", [["a", "b"]])
      try await fixture.run(try await fixture.onlyReady())
      try await fixture.run(try await fixture.onlyReady())
      let finish = try await fixture.claim(try await fixture.onlyReady())
      try await fixture.submit("b2", [["a", "b", "c"]]) { $0.missing = Self.lost(a, b) }
      try await Self.die(try await fixture.onlyReady(), fixture)
      try await store.parentLost(finish.fence, finish.lostParent)
      #expect(try await store.startWanted().blocked == [StoreFixture.cell("a", "b")])
      #expect(try await Self.ends(fixture, "b1", "b2") == [.failed, .failed])
      _ = try await store.replay(DeadLetterSelection(), by: Self.somebody)
      #expect(try await Self.ends(fixture, "b1", "b2") == [.passed, .passed])
    },
    RecordStoreConformance("a job that was cancelled while it ran is done again for a build that is tried again") {
      fixture in
      let (store, own, a) = (fixture.store, StoreFixture.own("x!"), StoreFixture.layer("a"))
      try await fixture.submit("b1", [["a", "x!"]])
      let parent = try await fixture.claim(try await fixture.jobID(a, in: "b1"))
      try await Self.die(try await fixture.jobID(own, in: "b1"), fixture)
      _ = try await store.settleBuilds()
      let cancelled = try await store.cancel(parent.fence.job, by: Self.somebody)
      #expect(cancelled?.wasCancelled == true)
      _ = try await store.replay(DeadLetterSelection(), by: Self.somebody)
      try await store.giveBack(parent.fence, reason: "it was cancelled")
      #expect(try await fixture.layer(a, in: "b1").state == .idle)
      #expect(try await Self.ends(fixture, "b1") == [.passed])
      #expect(try await fixture.layer(a, in: "b1").cause.contains(parent.fence.job.text))
    },
    RecordStoreConformance("layers that are wanted for their own sake are all built where the build is tried again") {
      fixture in
      let (store, m) = (fixture.store, StoreFixture.layer("k", "m"))
      try await fixture.submit("b1", [["k", "m"]]) { Self.onlyLayers(&$0) }
      try await Self.die(try await fixture.onlyReady(), fixture)
      _ = try await store.settleBuilds()
      _ = try await store.cancel(try await fixture.jobID(m, in: "b1"), by: Self.somebody)
      #expect(try await fixture.layer(m, in: "b1").state == .idle)
      _ = try await store.replay(DeadLetterSelection(), by: Self.somebody)
      #expect(try await Self.ends(fixture, "b1") == [.passed])
    },
    RecordStoreConformance("a build of layers fails by what came to it later, too") { fixture in
      let store = fixture.store
      try await fixture.submit("b0", [["a", "x!"]])
      try await fixture.runAll()
      try await fixture.submit("b1", [["a", "x!", "d"]]) { Self.onlyLayers(&$0) }
      let top = try await fixture.claim(try await fixture.onlyReady())
      try await store.parentLost(top.fence, top.lostParent)
      let graft = try await fixture.claim(try await fixture.onlyReady())
      try await store.parentLost(graft.fence, graft.lostGraft)
      try await Self.die(try await fixture.onlyReady(), fixture)
      #expect(try await Self.ends(fixture, "b1") == [.failed])
      _ = try await store.replay(DeadLetterSelection(), by: Self.somebody)
      #expect(try await Self.ends(fixture, "b1") == [.passed])
    },
    RecordStoreConformance("who asks for a cell is not kept by what failed below a layer that is there") { fixture in
      let (own, cell) = (StoreFixture.own("x!"), StoreFixture.cell("a", "x!", "d"))
      try await fixture.submit("b1", [["a", "x!", "d"]])
      for job in try await fixture.ready().map(\.job) { try await fixture.run(job) }
      try await fixture.run(try await fixture.onlyReady())
      let top = try await fixture.claim(try await fixture.onlyReady())
      try await fixture.submit("b2", [["e", "x!"]]) { $0.missing = Self.lost(own) }
      try await Self.die(try await fixture.jobID(own, in: "b2"), fixture)
      #expect(try await fixture.cell(cell, in: "b1").state == .blocked)
      _ = try await fixture.store.settleBuilds()
      try await fixture.submit("b3", [["a", "x!", "d"]])
      #expect(try await fixture.cell(cell, in: "b3").state == .waiting)
      try await fixture.complete(top)
      #expect(try await Self.ends(fixture, "b3") == [.passed])
    },
  ]

  private static let somebody = Principal(text: "somebody")

  private static func lost(_ layers: LayerKey...) -> [LayerKey: MissingImage] {
    Dictionary(uniqueKeysWithValues: layers.map { ($0, MissingImage(generation: 1, reason: "pruned")) })
  }

  private static func onlyLayers(_ submission: inout Submission) {
    (submission.plan.cells, submission.plan.images) = ([], [])
  }

  private static func die(_ job: JobID, _ fixture: StoreFixture) async throws {
    let claim = try await fixture.claim(job)
    try await fixture.store.fail(StoreFixture.failure, decision: .dead, record: nil, fence: claim.fence)
  }

  /// Does what there is to do, as coordinators and executors would, and says what became of builds.
  private static func ends(_ fixture: StoreFixture, _ builds: String...) async throws -> [BuildState] {
    let store = fixture.store
    for _ in 0..<4 {
      _ = try await store.startWanted()
      try await fixture.runAll()
      _ = try await store.settleBuilds()
      while let build = try await store.takePublishing(leaseSeconds: 600) {
        try await store.finishPublishing(build.id, .tagsAgree, indexes: [], problem: nil)
      }
    }
    var states: [BuildState] = []
    for build in builds { states.append(try await fixture.build(build).summary.state) }
    return states
  }
}
