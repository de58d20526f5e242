import Model
import RecordStore
import Testing

extension RecordStoreConformance {
  private static let somebody = Principal(text: "somebody")
  private static let b1 = BuildID(text: "b1")

  static let cancelling: [RecordStoreConformance] = [
    RecordStoreConformance("of a cancelled build, what nobody works on has ended at once") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a", "b"], ["c"], ["d"]])
      let messages = try await fixture.ready()
      try #require(messages.count == 3)
      try await store.markQueued([messages[0]])
      let delayed = try await fixture.claim(messages[1].job)
      try await store.fail(
        StoreFixture.failure, decision: .retry(afterSeconds: 0.1), record: nil, fence: delayed.fence)

      let state = try await store.cancel(b1, by: somebody)
      #expect(state == .cancelling)
      let again = try await store.cancel(b1, by: somebody)
      #expect(again == .cancelling)
      let build = try await fixture.build("b1")
      #expect(build.jobs.map(\.state).allSatisfy { $0 == .cancelled } && build.jobs.count == 7)
      #expect(build.layers.allSatisfy { $0.state == .idle })
      #expect(build.cells.allSatisfy { $0.state == .cancelled })
      #expect(build.summary.problem == "cancelled by somebody")
      for message in messages {
        let refused = try await fixture.isRefused(message.job)
        #expect(refused)
      }
      try await fixture.advance(0.2)
      let due = try await store.releaseDue()
      #expect(due == 0)
      let settled = try await store.settleBuilds()
      #expect(settled == [b1])
      let ended = try await fixture.build("b1")
      #expect(ended.summary.state == .cancelled && ended.summary.finishedAt != nil)
      let late = try await store.cancel(b1, by: somebody)
      #expect(late == .cancelled)

      // Wanted again, it is made again.
      try await fixture.submit("b2", [["a", "b"]])
      let layer = try await fixture.layer(StoreFixture.layer("a"), in: "b2")
      #expect(layer.state == .building && layer.generation == 2)
      #expect(layer.cause.contains("was cancelled"))
      try await fixture.runAll()
      try await fixture.publish("b2")
    },
    RecordStoreConformance("what runs is told, and its build ends with it") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a"]])
      let claim = try await fixture.claim(try await fixture.onlyReady())
      let before = try await store.heartbeat(claim.fence, leaseSeconds: 600)
      #expect(before == .extended)
      let state = try await store.cancel(b1, by: somebody)
      #expect(state == .cancelling)
      let settled = try await store.settleBuilds()
      #expect(settled.isEmpty)
      let told = try await store.heartbeat(claim.fence, leaseSeconds: 600)
      #expect(told == .cancelled)
      for _ in 0..<2 { try await store.giveBack(claim.fence, reason: "cancelled") }
      let job = try await fixture.job(claim.fence.job)
      #expect(job.summary.state == .cancelled && job.attempts.map(\.outcome) == ["cancelled"])
      let build = try await fixture.build("b1")
      #expect(build.layers.map(\.state) == [.idle])
      let ended = try await store.settleBuilds()
      #expect(ended == [b1])
    },
    RecordStoreConformance("what another build wants goes on") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a", "b"], ["a", "c"]])
      try await fixture.submit("b2", [["a", "c"]])
      let claim = try await fixture.claim(try await fixture.onlyReady())
      _ = try await store.cancel(b1, by: somebody)
      let told = try await store.heartbeat(claim.fence, leaseSeconds: 600)
      #expect(told == .extended)
      try await fixture.complete(claim)
      let work = try await fixture.readyWork()
      #expect(work == [StoreFixture.layer("a", "c").text])
      let settled = try await store.settleBuilds()
      #expect(settled == [b1])
      for job in try await fixture.build("b2").jobs where job.state == .ready { try await fixture.run(job.id) }
      try await fixture.runAll()
      try await fixture.publish("b2")
      let cells = try await fixture.build("b1").cells.map(\.state)
      #expect(cells == [.cancelled, .cancelled])
    },
    RecordStoreConformance("wanted again before it ended, it goes on") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a"]])
      let claim = try await fixture.claim(try await fixture.onlyReady())
      _ = try await store.cancel(b1, by: somebody)
      try await fixture.submit("b2", [["a"]])
      let told = try await store.heartbeat(claim.fence, leaseSeconds: 600)
      #expect(told == .extended)
      // Its executor had heard of the cancellation before.
      try await store.giveBack(claim.fence, reason: "cancelled")
      let job = try await fixture.job(claim.fence.job)
      #expect(job.summary.state == .ready)
      let settled = try await store.settleBuilds()
      #expect(settled == [b1])
      try await fixture.runAll()
      try await fixture.publish("b2")

      try await fixture.submit("b3", [["x"]])
      try await fixture.run(try await fixture.onlyReady())
      let finish = try await fixture.claim(try await fixture.onlyReady())
      _ = try await store.cancel(BuildID(text: "b3"), by: somebody)
      let cancelled = try await store.heartbeat(finish.fence, leaseSeconds: 600)
      #expect(cancelled == .cancelled)
      try await fixture.submit("b4", [["x"]])
      let wanted = try await store.heartbeat(finish.fence, leaseSeconds: 600)
      #expect(wanted == .extended)
    },
    RecordStoreConformance("however a cancelled job's attempt ends, it is not tried again") { fixture in
      let store = fixture.store
      for (number, end) in ["fail", "lease", "lost"].enumerated() {
        let build = "b\(number + 1)"
        try await fixture.submit(build, [["a\(number)", "b"]])
        try await fixture.run(try await fixture.onlyReady())
        let claim = try await fixture.claim(try await fixture.onlyReady(), leaseSeconds: end == "lease" ? 0.1 : 600)
        _ = try await store.cancel(BuildID(text: build), by: somebody)
        switch end {
        case "fail": try await store.fail(StoreFixture.failure, decision: .dead, record: nil, fence: claim.fence)
        case "lost":
          try await store.parentLost(
            claim.fence, LostLayer(key: StoreFixture.layer("a\(number)"), generation: 1))
        default:
          try await fixture.advance(0.2)
          let lease = try #require(try await store.expiredLeases(limit: 10).first)
          let expired = try await store.expire(
            lease, failure: StoreFixture.failure, decision: .retry(afterSeconds: 0))
          #expect(expired)
        }
        let job = try await fixture.job(claim.fence.job)
        #expect(job.summary.state == .cancelled, "\(end)")
        let settled = try await store.settleBuilds()
        #expect(settled == [BuildID(text: build)])
      }
      let letters = try await store.deadLetters(limit: 10)
      #expect(letters.isEmpty)
      let ready = try await fixture.ready()
      #expect(ready.isEmpty)
    },
    RecordStoreConformance("without a job, builds go without the cells that need it, and no others") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a", "b"], ["a", "c"]])
      try await fixture.submit("b2", [["a", "b"]])
      try await fixture.submit("b3", [["a", "b"]]) {
        $0.plan.cells = []
        $0.plan.images = []
      }
      try await fixture.run(try await fixture.onlyReady())
      _ = try await fixture.ready()
      let (b, c) = (StoreFixture.layer("a", "b"), StoreFixture.layer("a", "c"))
      let claim = try await fixture.claim(try await fixture.jobID(b, in: "b1"))
      let outcome = try await store.cancel(claim.fence.job, by: somebody)
      #expect(outcome == CancelledJob(state: .running, wasCancelled: true, cells: 2))
      let told = try await store.heartbeat(claim.fence, leaseSeconds: 600)
      #expect(told == .cancelled)
      let other = try await fixture.job(try await fixture.jobID(c, in: "b1"))
      #expect(other.summary.state == .ready)
      try await store.giveBack(claim.fence, reason: "cancelled")
      let settled = try await store.settleBuilds()
      #expect(settled == [BuildID(text: "b2"), BuildID(text: "b3")])
      let b2 = try await fixture.build("b2")
      #expect(b2.summary.state == .failed && b2.summary.problem?.contains("1 were cancelled") == true)
      let b3 = try await fixture.build("b3")
      #expect(b3.summary.state == .cancelled && b3.summary.problem?.contains("\(claim.fence.job)") == true)

      // The cell that is left finishes, and is then cancelled by its own job, which another build also wants.
      try await fixture.run(other.summary.id)
      let finish = try #require(try await fixture.cell(StoreFixture.cell("a", "c"), in: "b1").job)
      try await fixture.submit("b4", [["a", "c"]])
      let idle = try await store.cancel(finish, by: somebody)
      #expect(idle == CancelledJob(state: .cancelled, wasCancelled: true, cells: 2))
      let late = try await store.cancel(finish, by: somebody)
      #expect(late == CancelledJob(state: .cancelled, wasCancelled: false, cells: 0))
      let rest = try await store.settleBuilds()
      #expect(rest == [b1, BuildID(text: "b4")])
      let nobody = try await store.cancel(JobID(text: "nobody's"), by: somebody)
      #expect(nobody == nil)
    },
    RecordStoreConformance("a cancelled cell that another build asks for again fails its own build at last") {
      fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a"]])
      try await fixture.run(try await fixture.onlyReady())
      let finish = try await fixture.claim(try await fixture.onlyReady())
      _ = try await store.cancel(finish.fence.job, by: somebody)
      try await fixture.submit("b2", [["a"]])
      try await fixture.complete(finish)
      let settled = try await store.settleBuilds()
      #expect(settled == [b1, BuildID(text: "b2")])
      let first = try await fixture.build("b1")
      #expect(first.summary.state == .failed)
      let second = try await fixture.build("b2")
      #expect(second.summary.state == .publishing)
    },
    RecordStoreConformance("what succeeds all the same is kept, and no build is cancelled twice") { fixture in
      let store = fixture.store
      try await fixture.submit("b1", [["a"]])
      let claim = try await fixture.claim(try await fixture.onlyReady())
      _ = try await store.cancel(b1, by: somebody)
      try await fixture.complete(claim)
      let settled = try await store.settleBuilds()
      #expect(settled == [b1])
      let layer = try await fixture.layer(StoreFixture.layer("a"), in: "b1")
      #expect(layer.state == .available)
      try await fixture.submit("b2", [["a"]])
      try await fixture.runAll()
      try await fixture.publish("b2")
      let late = try await store.cancel(BuildID(text: "b2"), by: somebody)
      #expect(late == .passed)
      let unknown = try await store.cancel(BuildID(text: "nobody's"), by: somebody)
      #expect(unknown == nil)
    },
  ]
}
