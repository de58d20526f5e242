import Model
import RecordStore
import TestSupport
import Testing

@testable import RecordStorePostgres

@Suite(.timeLimit(.minutes(1))) struct PostgresEngineTests {
  @Test(arguments: SQLEngineConformance.all)
  func conforms(_ check: SQLEngineConformance) async throws {
    try await TestDatabase.with { database in
      let engine = try database.engine(database.configuration())
      try await check.run(engine)
      await engine.close()
    }
  }

  @Test func acceptsTheStore() async throws {
    try await TestDatabase.with { database in
      let engine = try database.engine(database.configuration())
      try await SQLEngineConformance.acceptsTheStore(engine, .postgres)
      await engine.close()
    }
  }

  // MARK: Roles

  @Test func anExecutorCallsProceduresAndNothingElse() async throws {
    try await TestDatabase.with { database in
      let owner = try database.engine(database.configuration())
      try await owner.migrate([Self.things], procedures: [Self.put])
      try database.makeLogins()
      var topics = try await owner.notifications().makeAsyncIterator()
      #expect(try await topics.next() == "")

      let executor = try database.engine(database.configuration(.executor, user: database.executorLogin))
      try await executor.checkSchema([Self.things])
      #expect(try await executor.call(Self.put, [.text("a")]) == [SQLRow(["n": .integer(1)])])
      await executor.notify("woken")
      #expect(try await topics.next() == "woken")
      for statement in [
        "SELECT * FROM things", "INSERT INTO things(id) VALUES ('b')", "SELECT * FROM schema_versions",
        "CREATE TABLE mine(id text)", "SELECT kiln_now()", "SET ROLE kiln_coordinator",
      ] {
        await SQLEngineConformance.expect(.refused) {
          try await executor.transaction { try $0.run(statement, []) }
        }
      }
      await SQLEngineConformance.expect(.refused) { try await executor.notifications() }
      await executor.close()
      await owner.close()
    }
  }

  @Test func aCoordinatorsLoginMigratesAndUsesEverything() async throws {
    try await TestDatabase.with { database in
      let first = try database.engine(database.configuration())
      try await first.migrate([], procedures: [])
      try database.makeLogins()
      let coordinator = try database.engine(database.configuration(user: database.coordinatorLogin))
      #expect(try await coordinator.migrate([Self.things], procedures: [Self.put]) == [1])
      #expect(try await coordinator.migrate([Self.things], procedures: [Self.put]) == [])
      _ = try await coordinator.transaction { try $0.run("INSERT INTO things(id) VALUES ('a')", []) }
      _ = try await coordinator.transaction { try $0.run("DELETE FROM things WHERE id = 'a'", []) }
      await coordinator.close()
      await first.close()
    }
  }

  @Test func anExecutorBeforeItsCoordinatorIsToldThatThereIsNoSchema() async throws {
    try await TestDatabase.with { database in
      let engine = try database.engine(database.configuration(.executor))
      await SQLEngineConformance.expect(.schema) { try await engine.call(Self.put, [.text("a")]) }
      await SQLEngineConformance.expect(.schema) { try await engine.checkSchema([Self.things]) }
      await engine.close()
    }
  }

  @Test func anExecutorOlderThanTheSchemaAllowsIsRefused() async throws {
    try await TestDatabase.with { database in
      let owner = try database.engine(database.configuration())
      let next = Migration(version: 2, minCompatible: 2, statements: ["ALTER TABLE things ADD COLUMN more text"])
      try await owner.migrate([Self.things, next], procedures: [])
      let executor = try database.engine(database.configuration(.executor))
      await SQLEngineConformance.expect(.schema) { try await executor.checkSchema([Self.things]) }
      await executor.close()
      await owner.close()
    }
  }

  @Test func manyMayMigrateAtOnce() async throws {
    try await TestDatabase.with { database in
      let engines = try (0..<4).map { _ in try database.engine(database.configuration()) }
      let applied = try await withThrowingTaskGroup(of: [Int].self) { group in
        for engine in engines {
          group.addTask { try await engine.migrate([Self.things], procedures: [Self.put]) }
        }
        return try await group.reduce(into: []) { $0 += $1 }
      }
      #expect(applied == [1])
      for engine in engines { await engine.close() }
    }
  }

  @Test func anOlderCoordinatorLeavesNewerProceduresAlone() async throws {
    try await TestDatabase.with { database in
      let next = Migration(version: 2, minCompatible: 1, statements: ["ALTER TABLE things ADD COLUMN more text"])
      var newer = Self.put
      newer.statements = ["SELECT 2 AS n"]
      let engine = try database.engine(database.configuration())
      try await engine.migrate([Self.things, next], procedures: [newer])
      try await engine.migrate([Self.things], procedures: [Self.put])
      #expect(try await engine.call(Self.put, [.text("a")]) == [SQLRow(["n": .integer(2)])])
      await engine.close()
    }
  }

  // MARK: Concurrency

  @Test func aDeadlockIsTriedAgain() async throws {
    try await TestDatabase.with { database in
      let engine = try database.engine(database.configuration())
      try await engine.migrate([Self.things], procedures: [])
      _ = try await engine.transaction { try $0.run("INSERT INTO things(id) VALUES ('a'), ('b')", []) }
      let runs = Counter()
      // Both hold one row before they ask for the other's, the first time round.
      let bothHoldOne = Meeting(of: 2)
      try await withThrowingTaskGroup { group in
        for (first, second) in [("a", "b"), ("b", "a")] {
          group.addTask {
            try await engine.transaction { transaction in
              runs.add()
              try transaction.run("UPDATE things SET number = number + 1 WHERE id = $1", [.text(first)])
              bothHoldOne.arrive()
              try transaction.run("UPDATE things SET number = number + 1 WHERE id = $1", [.text(second)])
            }
          }
        }
        try await group.waitForAll()
      }
      #expect(runs.value == 3)
      let rows = try await engine.transaction { try $0.run("SELECT number FROM things", []) }
      #expect(rows == [SQLRow(["number": .integer(2)]), SQLRow(["number": .integer(2)])])
      await engine.close()
    }
  }

  @Test func conflictsWithoutEndAreGivenUp() async throws {
    try await TestDatabase.with { database in
      let engine = try database.engine(database.configuration())
      let runs = Counter()
      await SQLEngineConformance.expect(.conflict) {
        try await engine.transaction { transaction in
          runs.add()
          try transaction.run("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$", [])
        }
      }
      #expect(runs.value == PostgresEngine.maxConflictAttempts)
      await engine.close()
    }
  }

  /// A later statement of a procedure must see what others committed while an earlier one waited.
  @Test func aProceduresStatementsEachHaveTheirOwnSnapshot() async throws {
    try await TestDatabase.with { database in
      let look = Procedure(
        name: "look", arguments: [.text], result: [("n", .bigint)],
        statements: [
          "UPDATE things SET number = number + 1 WHERE id = $1 RETURNING id",
          "SELECT count(*) AS n FROM things",
        ])
      let engine = try database.engine(database.configuration())
      try await engine.migrate([Self.things], procedures: [look])
      _ = try await engine.transaction { try $0.run("INSERT INTO things(id) VALUES ('a')", []) }
      let looked = try await withThrowingTaskGroup(of: [SQLRow].self) { group in
        let locked = Meeting(of: 2)
        group.addTask {
          try await engine.transaction { transaction in
            try transaction.run("UPDATE things SET number = 5 WHERE id = 'a'", [])
            locked.arrive()
            // Commit once the other waits for this row.
            while try transaction.run(
              "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'", []
            ).isEmpty {}
            try transaction.run("INSERT INTO things(id) VALUES ('b')", [])
          }
          return []
        }
        group.addTask {
          try await engine.transaction { _ in locked.arrive() }
          return try await engine.call(look, [.text("a")])
        }
        return try await group.reduce(into: []) { $0 += $1 }
      }
      #expect(looked == [SQLRow(["n": .integer(2)])])
      await engine.close()
    }
  }

  // MARK: What a transaction is

  @Test func transactionsAreDurableAndPinned() async throws {
    try await TestDatabase.with { database in
      try database.asSuperuser("ALTER DATABASE \(database.name) SET synchronous_commit = off")
      try database.asSuperuser("ALTER DATABASE \(database.name) SET search_path = pg_catalog")
      let engine = try database.engine(database.configuration())
      let settings = try await engine.transaction { transaction in
        try ["synchronous_commit", "search_path", "transaction_isolation", "statement_timeout"].map { name in
          try transaction.run("SELECT current_setting($1) AS v", [.text(name)]).first?.text("v")
        }
      }
      #expect(settings == ["on", "kiln, pg_temp", "read committed", "30s"])
      await engine.close()
    }
  }

  static let things = Migration(
    version: 1, minCompatible: 1,
    statements: ["CREATE TABLE things(id text PRIMARY KEY, number bigint NOT NULL DEFAULT 0)"])

  static let put = Procedure(
    name: "put", arguments: [.text], result: [("n", .bigint)],
    statements: [
      "INSERT INTO things(id, number) VALUES ($1, kiln_now()) ON CONFLICT DO NOTHING",
      "SELECT count(*) AS n FROM things",
    ])
}
