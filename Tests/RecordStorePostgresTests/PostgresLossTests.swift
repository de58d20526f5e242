import Foundation
import Model
import RecordStore
import TestSupport
import Testing

@testable import RecordStorePostgres

/// Connections that end, at every moment at which they can.
@Suite(.timeLimit(.minutes(1))) struct PostgresLossTests {
  @Test func midTransactionItIsUnavailableAndThenBack() async throws {
    try await TestDatabase.with { database in
      let engine = try database.engine(database.configuration())
      try await engine.migrate([PostgresEngineTests.things], procedures: [])
      let message = await SQLEngineConformance.expect(.unavailable) {
        try await engine.transaction { transaction in
          try transaction.run("INSERT INTO things(id) VALUES ('a')", [])
          try transaction.run("SELECT pg_terminate_backend(pg_backend_pid())", [])
        }
      }
      #expect(!message.contains("may have happened"))
      let rows = try await engine.transaction { try $0.run("SELECT id FROM things", []) }
      #expect(rows.isEmpty)
      await engine.close()
    }
  }

  @Test func duringCommitItMayHaveHappened() async throws {
    try await TestDatabase.with { database in
      let engine = try database.engine(database.configuration())
      try await engine.migrate([PostgresEngineTests.things], procedures: [])
      try await engine.transaction { transaction in
        try transaction.run(
          """
          CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
          'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'
          """, [])
        try transaction.run(
          """
          CREATE CONSTRAINT TRIGGER die AFTER INSERT ON things DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW EXECUTE FUNCTION die()
          """, [])
      }
      let message = await SQLEngineConformance.expect(.unavailable) {
        try await engine.transaction { try $0.run("INSERT INTO things(id) VALUES ('a')", []) }
      }
      #expect(message.contains("may have happened"))
      await engine.close()
    }
  }

  @Test func whileIdleNobodyNotices() async throws {
    try await TestDatabase.with { database in
      let engine = try database.engine(database.configuration())
      _ = try await engine.transaction { try $0.run("SELECT 1 AS a", []) }
      try database.asSuperuser(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '\(database.name)'")
      let rows = try await engine.transaction { try $0.run("SELECT 1 AS a", []) }
      #expect(rows.count == 1)
      await engine.close()
    }
  }

  @Test func aListenerComesBackAndLooksAtEverything() async throws {
    try await TestDatabase.with { database in
      let engine = try database.engine(database.configuration())
      try await engine.migrate([], procedures: [])
      var topics = try await engine.notifications().makeAsyncIterator()
      #expect(try await topics.next() == "")
      try database.asSuperuser(
        """
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = '\(database.name)' AND query LIKE 'LISTEN%'
        """)
      #expect(try await topics.next() == "")
      await engine.notify("after")
      #expect(try await topics.next() == "after")
      await engine.close()
    }
  }

  @Test func aStatementThatTakesTooLongIsEnded() async throws {
    try await TestDatabase.with { database in
      var configuration = try database.configuration()
      configuration.statementTimeoutSeconds = 0.3
      let engine = database.engine(configuration)
      let ended = await SQLEngineConformance.expect(.unavailable) {
        try await engine.transaction { try $0.run("SELECT pg_sleep(30)", []) }
      }
      #expect(ended.contains("57014"))
      // And where the server does not end it, the connection is given up.
      let silent = await SQLEngineConformance.expect(.unavailable) {
        try await engine.transaction { transaction in
          try transaction.run("SET LOCAL statement_timeout = 0", [])
          try transaction.run("SELECT pg_sleep(3)", [])
        }
      }
      #expect(silent.contains("no answer"))
      let rows = try await engine.transaction { try $0.run("SELECT 1 AS a", []) }
      #expect(rows.count == 1)
      await engine.close()
    }
  }

  // MARK: No connection at all

  @Test func aWrongPasswordIsRefusedAndNotShown() async throws {
    try await TestDatabase.with { database in
      let owner = try database.engine(database.configuration())
      try await owner.migrate([], procedures: [])
      try database.makeLogins()
      await owner.close()
      let engine = try database.engine(database.configuration(user: database.coordinatorLogin, password: "wrong-9b1d"))
      let message = await SQLEngineConformance.expect(.refused) {
        try await engine.transaction { try $0.run("SELECT 1 AS a", []) }
      }
      #expect(message.contains("28P01"))
      #expect(!message.contains("wrong-9b1d"))
      await engine.close()
    }
  }

  @Test func aDatabaseThatDoesNotExistIsRefused() async throws {
    try await TestDatabase.with { database in
      let url = try database.url().replacing("/\(database.name)", with: "/kiln_test_nowhere")
      let engine = database.engine(
        try PostgresConfiguration(url: url, applicationName: "kiln-test", role: .coordinator))
      await SQLEngineConformance.expect(.refused) { try await engine.transaction { try $0.run("SELECT 1 AS a", []) } }
      await engine.close()
    }
  }

  @Test func aServerThatIsAwayIsUnavailable() async throws {
    try await TestDatabase.with { database in
      let engine = try database.engine(database.configuration(port: 1))
      for _ in 0..<3 {
        await SQLEngineConformance.expect(.unavailable) {
          try await engine.transaction { try $0.run("SELECT 1 AS a", []) }
        }
      }
      await SQLEngineConformance.expect(.unavailable) { try await engine.notifications() }
      await engine.close()
    }
  }

  @Test func theNextHostIsTriedAndAReadOnlyOneIsNotTaken() async throws {
    try await TestDatabase.with { database in
      let url = try database.url()
      let host = try #require(
        URLComponents(string: url).flatMap { parts in
          parts.host.map { "\($0):\(parts.port ?? 5432)" }
        })
      let engine = database.engine(
        try PostgresConfiguration(
          url: url.replacing(host, with: "127.0.0.1:1,\(host)"), applicationName: "kiln-test", role: .coordinator))
      _ = try await engine.transaction { try $0.run("SELECT 1 AS a", []) }
      await engine.close()
      try database.asSuperuser("ALTER DATABASE \(database.name) SET default_transaction_read_only = on")
      let late = try database.engine(database.configuration())
      let message = await SQLEngineConformance.expect(.unavailable) {
        try await late.transaction { try $0.run("SELECT 1 AS a", []) }
      }
      #expect(message.contains("read-only"))
      await late.close()
    }
  }
}
