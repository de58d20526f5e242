import Model
import RecordStore
import RecordStoreSQLite
import Testing

@testable import TestSupport

@Suite struct SQLiteRecordStoreTests {
  @Test(arguments: RecordStoreConformance.all)
  func conforms(_ check: RecordStoreConformance) async throws {
    let time = ManualTime()
    let engine = try SQLiteEngine(path: nil, time: time)
    let store = SQLRecordStore(engine: engine, effects: Effects(time: time, random: SeededRandom(seed: 1)))
    _ = try await store.migrate(.sqlite)
    try await check.run(store) { time.advance(seconds: $0) }
    await store.close()
  }

  /// A job of a newer Kiln: this executor cannot read it, another one may.
  @Test func aJobThatCannotBeReadIsLeftToOthersAndDiesInTheEnd() async throws {
    let time = ManualTime()
    let engine = try SQLiteEngine(path: nil, time: time)
    let store = SQLRecordStore(engine: engine, effects: Effects(time: time, random: SeededRandom(seed: 1)))
    _ = try await store.migrate(.sqlite)
    let fixture = StoreFixture(store: store) { time.advance(seconds: $0) }
    try await fixture.submit("b1", [["a"]])
    let job = try await fixture.onlyReady()
    let spec = try await engine.transaction { transaction in
      let kept = try transaction.run("SELECT spec FROM job_specs", []).first?.optionalText("spec")
      try transaction.run("UPDATE job_specs SET spec = '{\"of\":\"tomorrow\"}'", [])
      return kept
    }
    #expect(try await fixture.isRefused(job))
    var seen = try await fixture.job(job)
    #expect(seen.summary.state == .delayed)
    #expect(seen.summary.failure?.code == "job-unreadable")
    // Another one reads it.
    time.advance(seconds: 400)
    _ = try await store.releaseDue()
    _ = try await engine.transaction {
      try $0.run("UPDATE job_specs SET spec = $1", [.text(try #require(spec))])
    }
    #expect(try await fixture.onlyReady() == job)
    let claim = try await fixture.claim(job)
    #expect(claim.failureCount == 1)
    try await store.giveBack(claim.fence, reason: "the test goes on")
    // Nobody does.
    _ = try await engine.transaction { try $0.run("UPDATE job_specs SET spec = 'x'", []) }
    for _ in 0..<4 {
      time.advance(seconds: 400)
      _ = try await store.releaseDue()
      _ = try await fixture.ready()
      #expect(try await fixture.isRefused(job))
    }
    seen = try await fixture.job(job)
    #expect(seen.summary.state == .dead)
    #expect(try await store.deadLetters(limit: 10).map(\.failure?.code) == ["job-unreadable"])
    await store.close()
  }

  @Test func anEffectOfANewerKilnStaysAndHoldsUpNoOther() async throws {
    let time = ManualTime()
    let engine = try SQLiteEngine(path: nil, time: time)
    let store = SQLRecordStore(engine: engine, effects: Effects(time: time, random: SeededRandom(seed: 1)))
    _ = try await store.migrate(.sqlite)
    let image = "sha256:" + String(repeating: "a", count: 64)
    _ = try await engine.transaction { transaction in
      for (kind, payload) in [("of-tomorrow", "?"), ("tag-layer", "layers layer-1 \(image)")] {
        try transaction.run(
          "INSERT INTO outbox (kind, identifier, payload, due_at) VALUES ($1, $1, $2, 0)",
          [.text(kind), .text(payload)])
      }
    }
    let taken = try await store.takeEffects(limit: 10, leaseSeconds: 60)
    #expect(taken.count == 1)
    let left = try await engine.transaction { try $0.run("SELECT problem FROM outbox WHERE kind = 'of-tomorrow'", []) }
    #expect(left.first?.optionalText("problem")?.contains("newer") == true)
    await store.close()
  }
}
