/// What a SQL database must offer to be a record store. `SQLRecordStore` puts the whole of the
/// store's behaviour on top of it, so that every driver behaves the same.
///
/// Statements use `$1…$n`. `kiln_now()` is the store's clock, in milliseconds since 1970. Text in
/// double braces is for one dialect: `{{for update}}`, `{{for share}}`, `{{skip locked}}` stand for
/// row locks where the database has them and for nothing where it has one writer.
package protocol SQLEngine: Sendable {
  /// Runs `body` in one transaction, on the thread that owns the connection. `body` must not block
  /// on anything but `SQLTransaction`; it runs again from the start after a conflict (40001, 40P01,
  /// SQLITE_BUSY), so its effects outside the transaction must be harmless when repeated.
  /// Throws `StoreError`, or what `body` throws after rolling back.
  func transaction<Value: Sendable>(_ body: @escaping @Sendable (any SQLTransaction) throws -> Value) async throws
    -> Value

  /// Calls one of `Procedure.all` in a transaction of its own and returns the rows of its last
  /// statement (none where `Procedure.result` is empty). Where the account may do nothing else, this is
  /// all that works.
  func call(_ procedure: Procedure, _ arguments: [SQLValue]) async throws -> [SQLRow]

  /// Applies what is missing of `migrations`, each in a transaction, under a lock that lets only one
  /// process migrate, and makes `procedures` callable. Returns the versions applied. Throws `.schema`
  /// when the store asks for a newer Kiln.
  @discardableResult
  func migrate(_ migrations: [Migration], procedures: [Procedure]) async throws -> [Int]

  /// Whether the store's schema is one that a program knowing `migrations` can work with: throws
  /// `.schema` where it asks for a newer Kiln, lacks a migration, or is not there.
  func checkSchema(_ migrations: [Migration]) async throws

  /// Tells every process that listens to look at `topic` (after the commit, never within).
  func notify(_ topic: String) async

  /// Topics as they are announced, also by other processes; a hint only, some may be lost. The first
  /// element comes at once, after (re)connecting: an empty topic, "look at everything".
  func notifications() async throws -> AsyncThrowingStream<String, any Error>

  func close() async
}

/// Statements within one transaction. Not to be kept beyond it. After a statement has failed nothing
/// more can be done and nothing is committed, even if `body` catches the error.
package protocol SQLTransaction {
  /// Runs one statement and returns its rows (of a SELECT or a RETURNING). Blocks.
  @discardableResult
  func run(_ statement: String, _ arguments: [SQLValue]) throws -> [SQLRow]
}

package enum SQLValue: Sendable, Hashable {
  case null
  case text(String)
  case integer(Int64)
  case bytes([UInt8])

  package static func optional(_ text: String?) -> SQLValue { text.map { .text($0) } ?? .null }
  package static func int(_ value: Int) -> SQLValue { .integer(Int64(value)) }
}

/// One row: values by column name. Booleans are the integers 0 and 1 in every table.
package struct SQLRow: Sendable, Hashable {
  package var values: [String: SQLValue]
  package init(_ values: [String: SQLValue]) { self.values = values }

  package func text(_ column: String) throws -> String {
    guard case .text(let value)? = values[column] else { throw missing(column, "text") }
    return value
  }

  package func optionalText(_ column: String) -> String? {
    if case .text(let value)? = values[column] { value } else { nil }
  }

  package func integer(_ column: String) throws -> Int64 {
    guard case .integer(let value)? = values[column] else { throw missing(column, "an integer") }
    return value
  }

  package func int(_ column: String) throws -> Int { Int(try integer(column)) }

  package func optionalInteger(_ column: String) -> Int64? {
    if case .integer(let value)? = values[column] { value } else { nil }
  }

  package func bytes(_ column: String) throws -> [UInt8] {
    guard case .bytes(let value)? = values[column] else { throw missing(column, "bytes") }
    return value
  }

  package func optionalBytes(_ column: String) -> [UInt8]? {
    if case .bytes(let value)? = values[column] { value } else { nil }
  }

  private func missing(_ column: String, _ kind: String) -> StoreError {
    StoreError(.statement, "column \(column) is not \(kind)")
  }
}

/// A step of the schema. Expand first, contract a release later.
package struct Migration: Sendable {
  package var version: Int
  /// Kiln versions below this schema version can no longer work with the store afterwards.
  package var minCompatible: Int
  /// One statement each, in the dialect of the engine that applies them.
  package var statements: [String]

  package init(version: Int, minCompatible: Int, statements: [String]) {
    self.version = version
    self.minCompatible = minCompatible
    self.statements = statements
  }
}

/// An operation that executors may call, as plain statements that run in order with the same
/// arguments. SQLite runs them; in Postgres a migration wraps them into a function
/// (`SECURITY DEFINER`, so that the executors' account needs no right on any table).
package struct Procedure: Sendable {
  package enum ArgumentType: String, Sendable {
    case text, bigint, bytea
  }

  package var name: String
  package var arguments: [ArgumentType]
  package var statements: [String]
  /// Columns of the last statement's rows.
  package var result: [(name: String, type: ArgumentType)]

  package init(
    name: String, arguments: [ArgumentType], result: [(name: String, type: ArgumentType)], statements: [String]
  ) {
    self.name = name
    self.arguments = arguments
    self.result = result
    self.statements = statements
  }
}
