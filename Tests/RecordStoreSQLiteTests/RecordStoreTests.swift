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
}
