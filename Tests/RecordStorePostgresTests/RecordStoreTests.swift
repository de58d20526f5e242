import Model
import RecordStore
import Testing

@testable import RecordStorePostgres
@testable import TestSupport

@Suite(.timeLimit(.minutes(1))) struct PostgresRecordStoreTests {
  /// The database's clock is its own: its time passes only by waiting.
  private static let wait: RecordStoreConformance.Advance = { try await Task.sleep(for: .seconds($0)) }

  @Test(arguments: RecordStoreConformance.all)
  func conforms(_ check: RecordStoreConformance) async throws {
    try await TestDatabase.with { database in
      let engine = try database.engine(database.configuration())
      let store = SQLRecordStore(engine: engine, effects: .system())
      _ = try await store.migrate(.postgres)
      try await check.run(store, advance: Self.wait)
      await store.close()
    }
  }

  /// What is attached to a layer while its end waits for the row is seen all the same: here, a graft by a
  /// transaction that commits when both of what it waits for are about to end.
  @Test func endsThatWaitForAnOpenTransactionReleaseTheGraft() async throws {
    try await TestDatabase.with { database in
      let engine = try database.engine(database.configuration())
      let store = SQLRecordStore(engine: engine, effects: .system())
      _ = try await store.migrate(.postgres)
      let fixture = StoreFixture(store: store, advance: Self.wait)
      for round in 0..<5 {
        try await fixture.submit("b\(round)", [["p\(round)", "x\(round)!"]])
        var claims: [Claim] = []
        for message in try await fixture.ready() { claims.append(try await fixture.claim(message.job)) }
        try #require(claims.count == 2)
        let graft = try await fixture.jobID(StoreFixture.layer("p\(round)", "x\(round)!"), in: "b\(round)")
        let parent = StoreFixture.layer("p\(round)")
        _ = try await engine.transaction {
          try $0.run("UPDATE jobs SET waits_on = 'nothing yet' WHERE id = $1", [.text(graft.text)])
        }
        let (locked, end) = (Counter(), Meeting(of: 2))
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask {
            try await engine.transaction { transaction in
              try transaction.run("SELECT key FROM layers ORDER BY key FOR UPDATE", [])
              try transaction.run(
                "UPDATE jobs SET waits_on = $2 WHERE id = $1", [.text(graft.text), .text(parent.text)])
              locked.add()
              end.arrive()
            }
          }
          try await eventually("the rows are locked") { locked.value == 1 }
          for claim in claims { group.addTask { try await fixture.complete(claim) } }
          try await eventually("both ends wait") {
            try await engine.transaction {
              try $0.run(
                "SELECT count(*) AS waiting FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
                []
              ).first?.int("waiting") == 2
            }
          }
          group.addTask { end.arrive() }
          try await group.waitForAll()
        }
        #expect(try await fixture.ready().map(\.job) == [graft], "round \(round)")
        try await fixture.run(graft)
        try await fixture.runAll()
      }
      await store.close()
    }
  }
}
