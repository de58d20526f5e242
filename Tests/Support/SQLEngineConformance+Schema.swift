package import RecordStore
import Testing

extension SQLEngineConformance {
  private static let second = Migration(
    version: 2, minCompatible: 2, statements: ["ALTER TABLE things ADD COLUMN extra text"])

  /// Statements that use different arguments, change rows, return some that nobody reads, and see what
  /// the earlier ones did.
  private static let put = Procedure(
    name: "conformance_put", arguments: [.text, .bigint, .bytea],
    result: [("id", .text), ("number", .bigint), ("data", .bytea), ("total", .bigint)],
    statements: [
      "INSERT INTO things(id, number) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING RETURNING id",
      "UPDATE things SET data = $3 WHERE id = $1",
      """
      SELECT id, number, data, (SELECT count(*) FROM things) AS total FROM things
      WHERE id = $1 AND number <= kiln_now() {{for update}}
      """,
    ])

  private static let forget = Procedure(
    name: "conformance_forget", arguments: [.text], result: [], statements: ["DELETE FROM things WHERE id = $1"])

  static let procedures = [
    make("a procedure runs its statements in order and returns the last one's rows") { engine in
      try await engine.migrate([things], procedures: [put, forget])
      let first = try await engine.call(put, [.text("a"), .integer(7), .bytes([1, 2])])
      #expect(
        first == [
          SQLRow(["id": .text("a"), "number": .integer(7), "data": .bytes([1, 2]), "total": .integer(1)])
        ])
      let second = try await engine.call(put, [.text("a"), .integer(8), .bytes([3])])
      #expect(
        second == [
          SQLRow(["id": .text("a"), "number": .integer(7), "data": .bytes([3]), "total": .integer(1)])
        ])
      #expect(try await engine.call(put, [.text("b"), .null, .null]) == [])
      #expect(try await engine.call(forget, [.text("a")]) == [])
      #expect(try await count(engine) == 1)
    },
    make("a procedure that fails leaves nothing behind") { engine in
      let half = Procedure(
        name: "conformance_half", arguments: [.text], result: [],
        statements: ["INSERT INTO things(id) VALUES ($1)", "INSERT INTO counters(id, value) VALUES ($1, NULL)"])
      try await engine.migrate([things], procedures: [half])
      await expect(.statement) { try await engine.call(half, [.text("a")]) }
      #expect(try await count(engine) == 0)
    },
    make("a procedure takes exactly its arguments") { engine in
      try await engine.migrate([things], procedures: [forget])
      await expect(.statement) { try await engine.call(forget, []) }
    },
    make("a procedure may change, its result too") { engine in
      var procedure = Procedure(
        name: "conformance_changing", arguments: [.bigint], result: [("a", .bigint)],
        statements: ["SELECT $1 AS a"])
      try await engine.migrate([things], procedures: [procedure])
      #expect(try await engine.call(procedure, [.integer(5)]) == [SQLRow(["a": .integer(5)])])
      procedure.result = [("a", .bigint), ("b", .text)]
      procedure.statements = ["SELECT $1 AS a, 'x' AS b"]
      try await engine.migrate([things], procedures: [procedure])
      #expect(try await engine.call(procedure, [.integer(5)]) == [SQLRow(["a": .integer(5), "b": .text("x")])])
    },
  ]

  static let migrations = [
    make("migrations are applied once, in order") { engine in
      #expect(try await engine.migrate([second, things], procedures: []) == [1, 2])
      #expect(try await engine.migrate([things, second], procedures: []) == [])
      _ = try await engine.transaction { try $0.run("INSERT INTO things(id, extra) VALUES ('a', 'b')", []) }
    },
    make("a later kiln applies only what is new") { engine in
      let first = try await engine.migrate([things], procedures: [])
      #expect(first == [1])
      #expect(try await engine.migrate([things, second], procedures: []) == [2])
    },
    make("a store that asks for a newer kiln is refused") { engine in
      try await engine.migrate([things, second], procedures: [])
      let message = await expect(.schema) { try await engine.migrate([things], procedures: []) }
      #expect(message.contains("schema version 2"))
      #expect(message.contains("knows 1"))
    },
    make("a newer schema that is still compatible is accepted and left alone") { engine in
      var compatible = second
      compatible.minCompatible = 1
      try await engine.migrate([things, compatible], procedures: [put])
      #expect(try await engine.migrate([things], procedures: []) == [])
    },
    make("a migration that fails leaves nothing of itself") { engine in
      let broken = Migration(
        version: 2, minCompatible: 1, statements: ["CREATE TABLE more(id text)", "CREATE TABLE things(id text)"])
      await expect(.statement) { try await engine.migrate([things, broken], procedures: []) }
      await expect(.statement, .schema) { try await engine.transaction { try $0.run("SELECT * FROM more", []) } }
      let kept = try await count(engine)
      #expect(kept == 0)
      #expect(try await engine.migrate([things, second], procedures: []) == [2])
    },
  ]
}

extension SQLEngineConformance {
  /// That the store's own tables and procedures are understood, and that every procedure can be called
  /// with a fence that nobody holds.
  package static func acceptsTheStore(_ engine: any SQLEngine, _ dialect: Schema.Dialect) async throws {
    let migrations = Schema.migrations(dialect)
    #expect(try await engine.migrate(migrations, procedures: Procedure.all) == migrations.map(\.version))
    #expect(try await engine.migrate(migrations, procedures: Procedure.all) == [])
    for procedure in Procedure.all {
      let arguments = procedure.arguments.map { type -> SQLValue in
        switch type {
        case .text: .text("nobody")
        case .bigint: .integer(1)
        case .bytea: .bytes([])
        }
      }
      let rows = try await engine.call(procedure, arguments)
      let columns = Set(procedure.result.map(\.name))
      for row in rows { #expect(Set(row.values.keys) == columns, "\(procedure.name)") }
    }
  }
}
