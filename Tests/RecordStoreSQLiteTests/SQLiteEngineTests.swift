import Foundation
import Model
import RecordStore
import RecordStoreSQLite
import TestSupport
import Testing

@Suite struct SQLiteEngineTests {
  @Test(arguments: SQLEngineConformance.all)
  func conforms(_ check: SQLEngineConformance) async throws {
    let engine = try SQLiteEngine(path: nil, time: SystemTime())
    try await check.run(engine)
    await engine.close()
  }

  @Test func acceptsTheStore() async throws {
    let engine = try SQLiteEngine(path: nil, time: SystemTime())
    try await SQLEngineConformance.acceptsTheStore(engine, .sqlite)
    await engine.close()
  }

  @Test func aFileKeepsWhatWasCommitted() async throws {
    try await withDatabase { path in
      let first = try SQLiteEngine(path: path, time: SystemTime())
      try await first.migrate([Self.things], procedures: [])
      _ = try await first.transaction { try $0.run("INSERT INTO things(id) VALUES ('a')", []) }
      await first.close()
      let second = try SQLiteEngine(path: path, time: SystemTime())
      #expect(try await second.migrate([Self.things], procedures: []) == [])
      #expect(try await second.transaction { try $0.run("SELECT id FROM things", []) }.count == 1)
      await second.close()
    }
  }

  @Test func commitsAreDurableAndForeignKeysHold() async throws {
    try await withDatabase { path in
      let engine = try SQLiteEngine(path: path, time: SystemTime())
      let settings = try await engine.transaction { transaction in
        try ["journal_mode", "synchronous", "foreign_keys", "busy_timeout"].map { name in
          try transaction.run("PRAGMA \(name)", []).first?.values.values.first
        }
      }
      #expect(settings == [.text("wal"), .integer(2), .integer(1), .integer(5000)])
      await engine.close()
    }
  }

  @Test func theClockIsTheInjectedOne() async throws {
    let time = ManualTime(milliseconds: 1_700_000_000_000)
    let engine = try SQLiteEngine(path: nil, time: time)
    func now() async throws -> Int64? {
      try await engine.transaction { try $0.run("SELECT kiln_now() AS now", []).first?.integer("now") }
    }
    #expect(try await now() == 1_700_000_000_000)
    time.advance(seconds: 1.5)
    #expect(try await now() == 1_700_000_001_500)
  }

  @Test func aSecondOwnerIsRefusedByName() async throws {
    try await withDatabase { path in
      let first = try SQLiteEngine(path: path, time: SystemTime())
      let message = await SQLEngineConformance.expect(.refused) { try SQLiteEngine(path: path, time: SystemTime()) }
      #expect(message.contains("in use by process \(ProcessInfo.processInfo.processIdentifier)"))
      await first.close()
      let second = try SQLiteEngine(path: path, time: SystemTime())
      await second.close()
    }
  }

  @Test func readersLookWhileTheOwnerWrites() async throws {
    try await withDatabase { path in
      let owner = try SQLiteEngine(path: path, time: SystemTime())
      try await owner.migrate([Self.things], procedures: [])
      let reader = try SQLiteEngine(reading: path, time: SystemTime())
      try await reader.checkSchema([Self.things])
      func count() async throws -> Int {
        try await reader.transaction { try $0.run("SELECT id FROM things", []).count }
      }
      #expect(try await count() == 0)
      _ = try await owner.transaction { try $0.run("INSERT INTO things(id) VALUES ('a')", []) }
      #expect(try await count() == 1)
      await #expect(throws: StoreError.self) {
        _ = try await reader.transaction { try $0.run("DELETE FROM things", []) }
      }
      #expect(SQLiteEngine.isOwned(path))
      await owner.close()
      #expect(!SQLiteEngine.isOwned(path))
      #expect(try await count() == 1)
      await reader.close()
    }
  }

  @Test func aReaderOfAnOlderOrNewerSchemaIsTold() async throws {
    try await withDatabase { path in
      let owner = try SQLiteEngine(path: path, time: SystemTime())
      try await owner.migrate([Self.things], procedures: [])
      await owner.close()
      let reader = try SQLiteEngine(reading: path, time: SystemTime())
      let second = Migration(version: 2, minCompatible: 1, statements: [])
      let older = await SQLEngineConformance.expect(.schema) {
        try await reader.checkSchema([Self.things, second])
      }
      #expect(older.contains("needs 2"))
      await SQLEngineConformance.expect(.schema) { try await reader.checkSchema([]) }
      await reader.close()
    }
  }

  @Test func anEngineThatIsDroppedLetsTheNextOneIn() async throws {
    try await withDatabase { path in
      _ = try SQLiteEngine(path: path, time: SystemTime())
      let second = try SQLiteEngine(path: path, time: SystemTime())
      await second.close()
    }
  }

  @Test func aFolderThatDoesNotExistIsRefused() async {
    await SQLEngineConformance.expect(.refused) {
      try SQLiteEngine(path: "/nonexistent/kiln.sqlite", time: SystemTime())
    }
  }

  @Test func aFileOfAnotherKindIsRefused() async throws {
    try await withDatabase { path in
      try Data(repeating: 0x41, count: 8192).write(to: URL(filePath: path))
      await SQLEngineConformance.expect(.refused) { try SQLiteEngine(path: path, time: SystemTime()) }
    }
  }

  private static let things = Migration(
    version: 1, minCompatible: 1, statements: ["CREATE TABLE things(id text PRIMARY KEY)"])

  private func withDatabase(_ body: (String) async throws -> Void) async throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "kiln-sqlite-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try await body(folder.appending(path: "kiln.sqlite").path)
  }
}
