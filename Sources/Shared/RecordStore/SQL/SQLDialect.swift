import Synchronization

/// What differs between the databases in statements that are otherwise the same.
package enum SQLDialect: Sendable {
  case sqlite, postgres

  /// The statement with its double-braced tokens replaced. Statements are a fixed set of texts: each is
  /// worked on once.
  package func render(_ statement: String) -> String {
    Self.rendered.withLock { rendered in
      if let text = rendered[self]?[statement] { return text }
      var text = statement
      for (token, words) in Self.rowLocks {
        text = text.replacing("{{\(token)}}", with: self == .postgres ? words : "")
      }
      rendered[self, default: [:]][statement] = text
      return text
    }
  }

  private static let rendered = Mutex<[SQLDialect: [String: String]]>([:])

  private static let rowLocks = [
    ("for update", "FOR UPDATE"), ("for share", "FOR SHARE"), ("skip locked", "SKIP LOCKED"),
  ]
}

extension SQLValue {
  /// Postgres has no NUL in text, so no driver takes it.
  package static func check(_ arguments: [SQLValue]) throws {
    for (index, argument) in arguments.enumerated() {
      if case .text(let text) = argument, text.utf8.contains(0) {
        throw StoreError(.statement, "argument $\(index + 1) holds a NUL, which text cannot; store bytes instead")
      }
    }
  }
}

extension Migration {
  /// Refuses a store that asks for a newer Kiln, or that lacks migrations.
  package static func check(storeAsksFor minCompatible: Int, has version: Int, known migrations: [Migration]) throws {
    try check(storeAsksFor: minCompatible, known: migrations)
    let known = migrations.map(\.version).max() ?? 0
    guard version < known else { return }
    throw StoreError(
      .schema,
      "the store's schema has version \(version), this kiln needs \(known). Run 'kiln db migrate' (embedded: build once)"
    )
  }

  /// Refuses a store whose schema asks for a newer Kiln than the one that knows `migrations`.
  package static func check(storeAsksFor minCompatible: Int, known migrations: [Migration]) throws {
    let known = migrations.map(\.version).max() ?? 0
    guard minCompatible > known else { return }
    throw StoreError(
      .schema,
      "the store's schema asks for schema version \(minCompatible), this kiln knows \(known). "
        + "Use the newer kiln that migrated the store")
  }
}
