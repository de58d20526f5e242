import Foundation
import GRDB
package import Model
package import RecordStore
import Synchronization

/// The embedded store: one SQLite file with one owner, and any number of readers.
///
/// Everything runs synchronously on the caller's thread inside the async functions, without a hop or
/// a task, so that a simulator may run it on virtual time; calls wait for each other's (short)
/// transactions by blocking.
package final class SQLiteEngine: SQLEngine {
  /// How long a transaction waits when another program (a backup, a shell) holds the file.
  package static let busyTimeoutSeconds = 5.0

  private let queue: DatabaseQueue
  private let isReader: Bool
  private let feed = TopicFeed()
  /// Gone once closed.
  private let ownership: Mutex<Ownership?>

  private struct Ownership {
    /// nil in memory.
    var lock: FileLock?
  }

  /// Opens the file at `path`, or makes it; nil is a new database in memory.
  ///
  /// Throws `StoreError(.refused)` while another engine has it open. `kiln_now()` reads `time`.
  package convenience init(path: String?, time: any TimeSource) throws {
    try self.init(path: path, time: time, lock: try path.map(Self.lock), isReader: false)
  }

  /// Opens the file at `path`, which must be there, to look at while its owner works on it, or
  /// without one. Writes throw; nothing is announced.
  package convenience init(reading path: String, time: any TimeSource) throws {
    try self.init(path: path, time: time, lock: nil, isReader: true)
  }

  /// Whether an engine, in any process, owns the file at `path`.
  package static func isOwned(_ path: String) -> Bool { FileLock.isHeld(path: lockPath(path)) }

  private static func lock(_ path: String) throws -> FileLock {
    do throws(FileLock.Problem) {
      return try FileLock(path: lockPath(path))
    } catch {
      switch error {
      case .held(let owner):
        throw StoreError(
          .refused, "\(path) is in use by process \(owner ?? "(unknown)"). End it, or use another store")
      case .unusable(let reason): throw StoreError(.refused, reason)
      }
    }
  }

  private static func lockPath(_ path: String) -> String { path + ".lock" }

  private init(path: String?, time: any TimeSource, lock: FileLock?, isReader: Bool) throws {
    self.isReader = isReader
    var configuration = Configuration()
    configuration.label = "kiln.store"
    configuration.foreignKeysEnabled = true
    configuration.readonly = isReader
    configuration.busyMode = .timeout(Self.busyTimeoutSeconds)
    configuration.prepareDatabase { database in
      if !isReader {
        // By hand, for the library's own WAL mode means synchronous=NORMAL, which a power cut undoes.
        try database.execute(sql: "PRAGMA journal_mode = WAL")
        try database.execute(sql: "PRAGMA synchronous = FULL")
      }
      database.add(function: DatabaseFunction("kiln_now", argumentCount: 0) { _ in time.now().milliseconds })
    }
    do {
      queue =
        try path.map { try DatabaseQueue(path: $0, configuration: configuration) }
        ?? DatabaseQueue(configuration: configuration)
    } catch {
      throw SQLiteErrors.translate(error)
    }
    ownership = Mutex(Ownership(lock: lock))
  }

  package func transaction<Value: Sendable>(_ body: @escaping @Sendable (any SQLTransaction) throws -> Value)
    async throws -> Value
  { try write(body) }

  package func call(_ procedure: Procedure, _ arguments: [SQLValue]) async throws -> [SQLRow] {
    guard arguments.count == procedure.arguments.count else {
      throw StoreError(
        .statement, "\(procedure.name) takes \(procedure.arguments.count) arguments, not \(arguments.count)")
    }
    return try write { transaction in
      var rows: [SQLRow] = []
      for statement in procedure.statements { rows = try transaction.run(statement, arguments) }
      return procedure.result.isEmpty ? [] : rows
    }
  }

  @discardableResult
  package func migrate(_ migrations: [Migration], procedures: [Procedure]) async throws -> [Int] {
    try write { transaction in
      try transaction.run(
        """
        CREATE TABLE IF NOT EXISTS schema_versions(
          version integer PRIMARY KEY, min_compatible integer NOT NULL, applied_ms bigint)
        """, [])
      let asked = try transaction.run("SELECT coalesce(max(min_compatible), 0) AS asked FROM schema_versions", [])
      try Migration.check(storeAsksFor: asked.first?.int("asked") ?? 0, known: migrations)
    }
    return try migrations.sorted { $0.version < $1.version }.filter { migration in
      try write { transaction in
        let version = SQLValue.int(migration.version)
        let applied = try transaction.run("SELECT version FROM schema_versions WHERE version = $1", [version])
        guard applied.isEmpty else { return false }
        for statement in migration.statements { try transaction.run(statement, []) }
        try transaction.run(
          "INSERT INTO schema_versions(version, min_compatible, applied_ms) VALUES ($1, $2, kiln_now())",
          [version, .int(migration.minCompatible)])
        return true
      }
    }.map(\.version)
  }

  package func checkSchema(_ migrations: [Migration]) async throws {
    let rows = try write { transaction in
      try transaction.run(
        "SELECT coalesce(max(min_compatible), 0) AS asked, coalesce(max(version), 0) AS version FROM schema_versions",
        [])
    }
    try Migration.check(
      storeAsksFor: try rows.first?.int("asked") ?? 0, has: try rows.first?.int("version") ?? 0, known: migrations)
  }

  package func notify(_ topic: String) async { feed.announce(topic) }

  package func notifications() async throws -> AsyncThrowingStream<String, any Error> { feed.listen() }

  /// Closes the file and lets the next owner in.
  package func close() async {
    let owned = ownership.withLock { $0.take() }
    guard owned != nil else { return }
    feed.finish()
    // Fails only with statements still open, which cannot outlive `write`.
    try? queue.close()
  }

  private func write<Value>(_ body: (any SQLTransaction) throws -> Value) throws -> Value {
    guard ownership.withLock({ $0 != nil }) else { throw StoreError(.unavailable, "the store is closed") }
    do {
      return try queue.writeWithoutTransaction { database in
        // Kept statements: the library's own calls parse them each time.
        try database.cachedStatement(sql: isReader ? "BEGIN" : "BEGIN IMMEDIATE").execute()
        do {
          let transaction = SQLiteTransaction(database)
          let value = try body(transaction)
          if let failure = transaction.failure { throw failure }
          try database.cachedStatement(sql: "COMMIT").execute()
          return value
        } catch {
          try database.rollback()
          throw error
        }
      }
    } catch let error as DatabaseError {
      throw SQLiteErrors.translate(error)
    }
  }
}

private final class SQLiteTransaction: SQLTransaction {
  private let database: Database
  private(set) var failure: StoreError?

  init(_ database: Database) { self.database = database }

  func run(_ statement: String, _ arguments: [SQLValue]) throws -> [SQLRow] {
    if let failure { throw failure }
    do {
      try SQLValue.check(arguments)
      let prepared = try database.cachedStatement(sql: SQLDialect.sqlite.render(statement))
      // By name, `$1` → "1": a statement may use only some of them, in any order.
      let named = Dictionary(
        uniqueKeysWithValues: arguments.enumerated().map { ("\($0 + 1)", $1.databaseValue) })
      let columns = prepared.columnNames
      let rows = try Row.fetchCursor(prepared, arguments: StatementArguments(named))
      var read: [SQLRow] = []
      while let row = try rows.next() { read.append(try SQLRow(reading: row, columns)) }
      return read
    } catch {
      let failure = SQLiteErrors.translate(error)
      self.failure = failure
      throw failure
    }
  }
}

extension SQLValue {
  fileprivate var databaseValue: DatabaseValue {
    switch self {
    case .null: .null
    case .text(let text): text.databaseValue
    case .integer(let integer): integer.databaseValue
    case .bytes(let bytes): Data(bytes).databaseValue
    }
  }
}

extension SQLRow {
  fileprivate init(reading row: Row, _ columns: [String]) throws {
    var values: [String: SQLValue] = [:]
    for (index, column) in columns.enumerated() {
      switch (row[index] as DatabaseValue).storage {
      case .null: values[column] = .null
      case .int64(let integer): values[column] = .integer(integer)
      case .string(let text): values[column] = .text(text)
      case .blob(let data): values[column] = .bytes([UInt8](data))
      case .double:
        throw StoreError(.statement, "column \(column) is a floating-point number; cast it to bigint or text")
      }
    }
    self.init(values)
  }
}
