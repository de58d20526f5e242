import Foundation
package import Model

/// The record store on any SQL engine: all behaviour is here, drivers only run statements.
package struct SQLRecordStore<Engine: SQLEngine>: RecordStore {
  package let engine: Engine
  let effects: Effects

  package init(engine: Engine, effects: Effects) {
    self.engine = engine
    self.effects = effects
  }

  package func notifications() async throws -> AsyncThrowingStream<String, any Error> {
    try await engine.notifications()
  }

  package func close() async { await engine.close() }

  /// Throws `.schema` where this program cannot work with the store as it is.
  package func checkSchema(_ dialect: Schema.Dialect) async throws {
    try await engine.checkSchema(Schema.migrations(dialect))
  }

  /// Brings the schema up to date. Returns the versions applied.
  package func migrate(_ dialect: Schema.Dialect) async throws -> [Int] {
    try await engine.migrate(Schema.migrations(dialect), procedures: Procedure.all)
  }
}

/// JSON as the store keeps it: sorted keys, so that equal values are equal text.
enum StoredJSON {
  static func text(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }

  static func value<Value: Decodable>(_ text: String, as type: Value.Type = Value.self) throws -> Value {
    do {
      return try JSONDecoder().decode(type, from: Data(text.utf8))
    } catch {
      throw StoreError(.statement, "a stored \(type) cannot be read: \(error)")
    }
  }
}

extension SQLRow {
  func state<State: RawRepresentable<String>>(_ column: String, _ type: State.Type = State.self) throws -> State {
    let word = try text(column)
    guard let state = State(rawValue: word) else {
      throw StoreError(.schema, "\(column) '\(word)' is unknown to this Kiln: it may be of a newer one")
    }
    return state
  }

  func digest(_ column: String) -> Digest? { optionalText(column).flatMap { Digest($0) } }
  func flag(_ column: String) throws -> Bool { try integer(column) != 0 }
  func time(_ column: String) throws -> Timestamp { Timestamp(milliseconds: try integer(column)) }
  func optionalTime(_ column: String) -> Timestamp? { optionalInteger(column).map { Timestamp(milliseconds: $0) } }
}

extension SQLTransaction {
  @discardableResult
  func run(_ statement: String) throws -> [SQLRow] { try run(statement, []) }
}

extension SQLValue {
  static func id(_ value: some Identifier) -> SQLValue { .text(value.text) }
  static func flag(_ value: Bool) -> SQLValue { .integer(value ? 1 : 0) }
  static func milliseconds(_ seconds: Double) -> SQLValue { .integer(Int64(seconds * 1000)) }
}
