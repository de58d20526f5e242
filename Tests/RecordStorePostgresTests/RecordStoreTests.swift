import Model
import RecordStore
import TestSupport
import Testing

@testable import RecordStorePostgres

@Suite(.timeLimit(.minutes(1))) struct PostgresRecordStoreTests {
  @Test(arguments: RecordStoreConformance.all)
  func conforms(_ check: RecordStoreConformance) async throws {
    try await TestDatabase.with { database in
      let engine = try database.engine(database.configuration())
      let store = SQLRecordStore(engine: engine, effects: .system())
      _ = try await store.migrate(.postgres)
      try await check.run(store) { try await Task.sleep(for: .seconds($0)) }
      await store.close()
    }
  }
}
