package import RecordStore

extension PostgresEngine {
  /// Makes roles, schema and the engine's own functions, applies `migrations`, then makes the
  /// `procedures` again, unless a newer Kiln made them.
  ///
  /// The first time it needs a login that may create roles and a schema; later, one that was granted
  /// `kiln_coordinator`.
  @discardableResult
  package func migrate(_ migrations: [Migration], procedures: [Procedure]) async throws -> [Int] {
    let schema = configuration.schema
    try await locked { transaction in
      try PostgresSchema.make(schema, transaction)
      try PostgresSchema.check(transaction, migrations)
    }
    var applied: [Int] = []
    for migration in migrations.sorted(by: { $0.version < $1.version }) {
      let isNew = try await locked { transaction in
        try transaction.run(PostgresSchema.becomeOwner, [])
        let version = SQLValue.int(migration.version)
        guard try transaction.run("SELECT version FROM schema_versions WHERE version = $1", [version]).isEmpty else {
          return false
        }
        for statement in migration.statements { try transaction.run(statement, []) }
        try transaction.run(
          "INSERT INTO schema_versions(version, min_compatible, applied_ms) VALUES ($1, $2, kiln_now())",
          [version, .int(migration.minCompatible)])
        return true
      }
      if isNew { applied.append(migration.version) }
    }
    try await locked { transaction in
      try transaction.run(PostgresSchema.becomeOwner, [])
      // An older coordinator that restarts must not bring back the procedures of its time.
      let newest = try transaction.run("SELECT coalesce(max(version), 0) AS v FROM schema_versions", [])
      guard try newest.first?.int("v") ?? 0 <= migrations.map(\.version).max() ?? 0 else { return }
      for procedure in procedures { try PostgresSchema.make(procedure, schema, transaction) }
    }
    return applied
  }

  /// An executor may do this too.
  package func checkSchema(_ migrations: [Migration]) async throws {
    let rows = try await transaction { transaction in
      try transaction.run("SELECT version, min_compatible FROM \(self.configuration.schema).kiln_schema()", [])
    }
    try Migration.check(
      storeAsksFor: rows.first?.int("min_compatible") ?? 0, has: rows.first?.int("version") ?? 0, known: migrations)
  }

  /// One process at a time. The lock ends with the transaction, which a pooler between cannot spoil.
  private func locked<Value: Sendable>(_ body: @escaping @Sendable (any SQLTransaction) throws -> Value) async throws
    -> Value
  {
    let name = SQLValue.text("kiln.migrate.\(configuration.schema)")
    return try await transaction(timeoutSeconds: configuration.migrationTimeoutSeconds) { transaction in
      try transaction.run("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))", [name])
      return try body(transaction)
    }
  }
}
