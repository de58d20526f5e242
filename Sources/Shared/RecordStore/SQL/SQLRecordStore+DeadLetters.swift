import Foundation
package import Model

extension SQLRecordStore {
  package func storeDeadLetter(_ bytes: [UInt8], pool: PoolName, identifier: String, settled reason: String?)
    async throws
  {
    try await engine.transaction { store in
      try store.run(
        """
        INSERT INTO dead_letters (identifier, pool, bytes, created_at) VALUES ($1, $2, $3, kiln_now())
        ON CONFLICT (identifier) DO UPDATE SET bytes = excluded.bytes
        """, [.text(identifier), .id(pool), .bytes(bytes)])
      guard let reason else { return }
      try Self.settle("identifier = $5", [.text(identifier)], as: .replayed, by: "kiln", reason: reason, store)
    }
  }

  package func deadLetters(_ selection: DeadLetterSelection, limit: Int, after: String?) async throws
    -> [StoredDeadLetter]
  {
    let (condition, values) = Self.condition(selection, from: 4)
    return try await engine.transaction { store in
      let last = try after.flatMap { identifier in
        try store.run("SELECT created_at FROM dead_letters WHERE identifier = $1", [.text(identifier)]).first
      }
      let rows = try store.run(
        """
        SELECT d.identifier AS identifier, d.pool AS pool, d.job_id AS job_id, d.failure AS failure,
          d.created_at AS created_at, d.state AS state, d.settled_at AS settled_at, d.settled_by AS settled_by,
          d.reason AS reason, d.bytes AS bytes, \(Self.fingerprint("d.")) AS fingerprint,
          (SELECT j.title FROM jobs j WHERE j.id = d.job_id) AS title
        FROM dead_letters d
        WHERE (d.created_at < $2 OR (d.created_at = $2 AND d.identifier > $3)) AND \(condition)
        ORDER BY d.created_at DESC, d.identifier LIMIT $1
        """,
        [.int(limit), .integer(try last?.integer("created_at") ?? .max), .text(after ?? "")] + values)
      return try rows.map { row in
        StoredDeadLetter(
          identifier: try row.text("identifier"), pool: PoolName(text: try row.text("pool")),
          job: row.optionalText("job_id").map(JobID.init(text:)), title: row.optionalText("title"),
          failure: try row.optionalText("failure").map { try StoredJSON.value($0) },
          fingerprint: try row.text("fingerprint"), createdAt: try row.time("created_at"),
          state: try row.state("state"), settledAt: row.optionalTime("settled_at"),
          settledBy: row.optionalText("settled_by"), reason: row.optionalText("reason"),
          bytes: row.optionalBytes("bytes").map { Data($0).base64EncodedString() })
      }
    }
  }

  package func deadLetterGroups() async throws -> [DeadLetterGroup] {
    try await engine.transaction { store in
      let group = Self.fingerprint()
      let rows = try store.run(
        """
        SELECT \(group) AS fingerprint, count(*) AS letters, min(created_at) AS oldest, max(created_at) AS newest
        FROM dead_letters WHERE state = 'open' GROUP BY \(group) ORDER BY letters DESC, fingerprint
        """)
      return try rows.map { row in
        let fingerprint = try row.text("fingerprint")
        let pools = try store.run(
          "SELECT DISTINCT pool AS pool FROM dead_letters WHERE state = 'open' AND \(group) = $1 ORDER BY pool",
          [.text(fingerprint)])
        let sample = try store.run(
          """
          SELECT d.failure AS failure, (SELECT j.title FROM jobs j WHERE j.id = d.job_id) AS title FROM dead_letters d
          WHERE d.state = 'open' AND \(Self.fingerprint("d.")) = $1 ORDER BY d.created_at DESC, d.identifier LIMIT 1
          """, [.text(fingerprint)]
        ).first
        return DeadLetterGroup(
          fingerprint: fingerprint, count: try row.int("letters"),
          pools: try pools.map { PoolName(text: try $0.text("pool")) }, oldest: try row.time("oldest"),
          newest: try row.time("newest"), failure: try sample?.optionalText("failure").map { try StoredJSON.value($0) },
          title: sample?.optionalText("title"))
      }
    }
  }

  package func dropDeadLetters(_ selection: DeadLetterSelection, reason: String, by principal: Principal) async throws
    -> Int
  {
    let (condition, values) = Self.condition(selection, from: 5)
    return try await engine.transaction { store in
      try Self.settle(condition, values, as: .dropped, by: principal.text, reason: reason, store)
    }
  }

  private static func fingerprint(_ letter: String = "") -> String {
    """
    coalesce(\(letter)fingerprint, CASE WHEN \(letter)job_id IS NULL THEN '\(DeadLetterGroup.undecodable)'
      ELSE '\(DeadLetterGroup.unknown)' END)
    """
  }

  /// Those that a replay may be of, the oldest first, with nothing of them but their names. What was replayed
  /// already, or names no job, is among them only where it is asked for by its name.
  func letters(_ selection: DeadLetterSelection, limit: Int) async throws -> [(identifier: String, job: JobID?)] {
    let (condition, values) = Self.condition(selection, from: 2)
    return try await engine.transaction { store in
      try store.run(
        """
        SELECT d.identifier AS identifier, d.job_id AS job_id FROM dead_letters d WHERE \(condition)
          \(selection.letter == nil ? "AND d.job_id IS NOT NULL AND d.state <> 'replayed'" : "")
        ORDER BY d.created_at, d.identifier LIMIT $1
        """, [.int(limit)] + values
      ).map { (try $0.text("identifier"), $0.optionalText("job_id").map(JobID.init(text:))) }
    }
  }

  /// What `$n…` must meet, beginning with that n, and their values.
  private static func condition(_ selection: DeadLetterSelection, from first: Int) -> (String, [SQLValue]) {
    var conditions = selection.isEvery ? ["1 = 1"] : ["d.state = 'open'"]
    var values: [SQLValue] = []
    func require(_ value: String?, _ condition: (String) -> String) {
      guard let value else { return }
      conditions.append(condition("$\(first + values.count)"))
      values.append(.text(value))
    }
    require(selection.letter) { "(d.identifier = \($0) OR d.job_id = \($0))" }
    require(selection.fingerprint) { "\(fingerprint("d.")) = \($0)" }
    require(selection.pool?.text) { "d.pool = \($0)" }
    require(selection.build?.text) { build in
      """
      d.job_id IN (SELECT l.job_id FROM build_layers bl JOIN layers l ON l.scope = bl.scope AND l.key = bl.layer_key
        WHERE bl.build_id = \(build)
        UNION SELECT c.job_id FROM build_cells bc JOIN cells c ON c.scope = bc.scope AND c.key = bc.cell_key
        WHERE bc.build_id = \(build))
      """
    }
    return (conditions.joined(separator: " AND "), values)
  }

  /// Open letters that meet `condition`, whose values begin with `$5`. Returns how many.
  @discardableResult
  private static func settle(
    _ condition: String, _ values: [SQLValue], as state: LetterState, by principal: String, reason: String,
    _ store: any SQLTransaction
  ) throws -> Int {
    try store.run(
      """
      UPDATE dead_letters AS d SET state = $1, settled_by = $2, settled_at = kiln_now(), reason = $3
      WHERE state = $4 AND \(condition) RETURNING identifier AS identifier
      """,
      [.text(state.rawValue), .text(principal), .text(reason), .text(LetterState.open.rawValue)] + values
    ).count
  }
}

extension SQLTransaction {
  /// Its job has a successor: its letter needs nobody any more.
  func settleLetters(of job: String?, by principal: String, reason: String) throws {
    guard let job else { return }
    try run(
      """
      UPDATE dead_letters SET state = 'replayed', settled_by = $2, settled_at = kiln_now(), reason = $3
      WHERE job_id = $1 AND state <> 'replayed'
      """, [.text(job), .text(principal), .text(reason)])
  }

  /// A layer has a new generation: the cells that its failure blocked wait again, but for those that another
  /// failure blocks.
  func unblockCells(_ scope: SQLValue, _ layer: SQLValue) throws {
    // Of two that each end one cause of the same cell, the second must see that the first did.
    try run(
      """
      SELECT c.key FROM cells c WHERE c.state = 'blocked' AND (c.scope, c.key) IN
        (SELECT p.scope, p.cell_key FROM cell_layers p WHERE p.scope = $1 AND p.layer_key = $2)
      ORDER BY c.key {{for update}}
      """, [scope, layer])
    try run(
      """
      UPDATE cells SET state = '\(CellState.blocked.after(.layerBuildingAgain)?.state.rawValue ?? "waiting")',
        blocked_by = NULL
      WHERE state = 'blocked' AND (scope, key) IN
        (SELECT p.scope, p.cell_key FROM cell_layers p WHERE p.scope = $1 AND p.layer_key = $2)
        AND NOT EXISTS (SELECT 1 FROM cell_layers q JOIN layers f ON f.scope = q.scope AND f.key = q.layer_key
          WHERE q.scope = cells.scope AND q.cell_key = cells.key AND f.state = 'failed')
      """, [scope, layer])
  }
}
