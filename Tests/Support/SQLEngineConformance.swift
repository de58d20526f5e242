import Model
package import RecordStore
package import Testing

/// What every driver of `SQLEngine` must do. A driver's tests run each check on a new, empty database.
package struct SQLEngineConformance: Sendable, CustomTestStringConvertible {
  package let name: String
  package let run: @Sendable (any SQLEngine) async throws -> Void

  package var testDescription: String { name }

  package static let all = values + transactions + procedures + migrations + announcements

  private init(_ name: String, _ run: @escaping @Sendable (any SQLEngine) async throws -> Void) {
    self.name = name
    self.run = run
  }

  static let things = Migration(
    version: 1, minCompatible: 1,
    statements: [
      "CREATE TABLE things(id text PRIMARY KEY, number bigint, data bytea)",
      "CREATE TABLE counters(id text PRIMARY KEY, value bigint NOT NULL)",
    ])

  // MARK: Values and statements

  private static let values = [
    SQLEngineConformance("values come back as they went in") { engine in
      try await engine.migrate([things], procedures: [])
      let all: [(SQLValue, SQLValue, SQLValue)] = [
        (.text("plain"), .integer(.max), .bytes([0, 1, 0xFE, 0xFF])),
        (.text("\\x27 'quoted' \"ü\" 🧱\n"), .integer(.min), .bytes([])),
        (.text(""), .integer(0), .bytes(Array(repeating: 0x5C, count: 100_000))),
        (.text("nulls"), .null, .null),
      ]
      for (id, number, data) in all {
        let back = try await engine.transaction { transaction in
          let row = SQLRow(["id": id, "number": number, "data": data])
          let inserted = try transaction.run(
            "INSERT INTO things(id, number, data) VALUES ($1, $2, $3) RETURNING id, number, data", [id, number, data])
          #expect(inserted == [row])
          return try transaction.run(
            "SELECT data, number, id FROM things WHERE id = $2 AND (number = $1 OR $1 IS NULL)", [number, id])
        }
        #expect(back == [SQLRow(["id": id, "number": number, "data": data])])
      }
    },
    SQLEngineConformance("sums and comparisons are integers") { engine in
      let rows = try await engine.transaction { transaction in
        try transaction.run(
          "SELECT sum(x) AS s, max(x) > 1 AS b FROM (SELECT $1 AS x UNION ALL SELECT $2) q",
          [
            .integer(1 << 40), .integer(2),
          ])
      }
      #expect(rows == [SQLRow(["s": .integer(1 << 40 + 2), "b": .integer(1)])])
    },
    SQLEngineConformance("a NUL in a text is refused") { engine in
      try await engine.migrate([things], procedures: [])
      await expect(.statement) {
        _ = try await engine.transaction { try $0.run("INSERT INTO things(id) VALUES ($1)", [.text("a\0b")]) }
      }
    },
    SQLEngineConformance("a statement uses some of the arguments in any order") { engine in
      let rows = try await engine.transaction { transaction in
        try transaction.run(
          "SELECT $3 AS c, $1 AS a, $3 AS again, $2 AS b",
          [
            .integer(1), .integer(2), .integer(3),
          ])
      }
      #expect(
        rows == [
          SQLRow(["a": .integer(1), "b": .integer(2), "c": .integer(3), "again": .integer(3)])
        ])
    },
    SQLEngineConformance("kiln_now() is milliseconds since 1970") { engine in
      try await engine.migrate([things], procedures: [])
      let now = try await engine.transaction { try $0.run("SELECT kiln_now() AS now", []).first?.integer("now") }
      #expect((now ?? 0) > 1_600_000_000_000)
      #expect((now ?? 0) < 4_000_000_000_000)
    },
    SQLEngineConformance("row lock tokens are understood") { engine in
      try await engine.migrate([things], procedures: [])
      let rows = try await engine.transaction { transaction in
        try transaction.run("INSERT INTO things(id) VALUES ('a')", [])
        return try transaction.run("SELECT id FROM things {{for update}} {{skip locked}}", [])
          + transaction.run("SELECT id FROM things WHERE id = $1 {{for share}}", [.text("a")])
      }
      #expect(rows.count == 2)
    },
  ]

  // MARK: Transactions

  private static let transactions = [
    SQLEngineConformance("what throws leaves nothing behind, and its error arrives") { engine in
      try await engine.migrate([things], procedures: [])
      await #expect(throws: Stop.self) {
        try await engine.transaction { transaction in
          try transaction.run("INSERT INTO things(id) VALUES ('a')", [])
          throw Stop()
        }
      }
      #expect(try await count(engine) == 0)
    },
    SQLEngineConformance("a failed statement ends the transaction even if it is caught") { engine in
      try await engine.migrate([things], procedures: [])
      await expect(.statement) {
        try await engine.transaction { transaction in
          try transaction.run("INSERT INTO things(id) VALUES ('a')", [])
          _ = try? transaction.run("INSERT INTO things(id) VALUES ('a')", [])
          _ = try? transaction.run("INSERT INTO things(id) VALUES ('b')", [])
        }
      }
      #expect(try await count(engine) == 0)
      // And the connection works on.
      _ = try await engine.transaction { try $0.run("INSERT INTO things(id) VALUES ('c')", []) }
      #expect(try await count(engine) == 1)
    },
    SQLEngineConformance("two statements in one are refused") { engine in
      await expect(.statement) { try await engine.transaction { try $0.run("SELECT 1 AS a; SELECT 2 AS b", []) } }
    },
    SQLEngineConformance("concurrent transactions lose nothing") { engine in
      try await engine.migrate([things], procedures: [])
      _ = try await engine.transaction { try $0.run("INSERT INTO counters(id, value) VALUES ('a', 0)", []) }
      try await withThrowingTaskGroup { group in
        for _ in 0..<20 {
          group.addTask {
            try await engine.transaction { transaction in
              let value = try transaction.run("SELECT value FROM counters WHERE id = 'a' {{for update}}", [])
              try transaction.run(
                "UPDATE counters SET value = $1 WHERE id = 'a'",
                [
                  .integer((try value.first?.integer("value") ?? 0) + 1)
                ])
            }
          }
        }
        try await group.waitForAll()
      }
      let rows = try await engine.transaction { try $0.run("SELECT value FROM counters", []) }
      #expect(rows == [SQLRow(["value": .integer(20)])])
    },
    SQLEngineConformance("a closed engine says so") { engine in
      await engine.close()
      await expect(.unavailable) { try await engine.transaction { try $0.run("SELECT 1 AS a", []) } }
      await engine.close()
    },
  ]

  // MARK: Announcements

  private static let announcements = [
    SQLEngineConformance("announced topics arrive, the empty one first") { engine in
      try await engine.migrate([things], procedures: [])
      var topics = try await engine.notifications().makeAsyncIterator()
      var other = try await engine.notifications().makeAsyncIterator()
      #expect(try await topics.next() == "")
      #expect(try await other.next() == "")
      for topic in ["ready", "it's", "a topic of many words"] {
        await engine.notify(topic)
        #expect(try await topics.next() == topic)
        #expect(try await other.next() == topic)
      }
    },
    SQLEngineConformance("closing ends the streams") { engine in
      try await engine.migrate([things], procedures: [])
      var topics = try await engine.notifications().makeAsyncIterator()
      #expect(try await topics.next() == "")
      await engine.close()
      #expect(try await topics.next() == nil)
    },
  ]

  // MARK: Parts

  private struct Stop: Error {}

  static func make(_ name: String, _ run: @escaping @Sendable (any SQLEngine) async throws -> Void) -> Self {
    SQLEngineConformance(name, run)
  }

  static func count(_ engine: any SQLEngine) async throws -> Int? {
    try await engine.transaction { try $0.run("SELECT count(*) AS n FROM things", []).first?.int("n") }
  }

  /// That `body` throws a `StoreError` of one of these codes; returns its message.
  @discardableResult
  package static func expect<Value>(
    _ codes: StoreError.Code..., sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () async throws -> Value
  ) async -> String {
    do {
      _ = try await body()
      Issue.record("expected a StoreError of \(codes)", sourceLocation: sourceLocation)
    } catch let error as StoreError {
      #expect(codes.contains(error.code), "\(error)", sourceLocation: sourceLocation)
      return error.message
    } catch {
      Issue.record("expected a StoreError of \(codes), not \(error)", sourceLocation: sourceLocation)
    }
    return ""
  }
}
