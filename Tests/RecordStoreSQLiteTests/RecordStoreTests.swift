import Model
import RecordStore
import RecordStoreSQLite
import TestSupport
import Testing

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
