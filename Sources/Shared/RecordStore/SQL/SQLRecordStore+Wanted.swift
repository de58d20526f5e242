import Model

extension SQLRecordStore {
  package func startWanted() async throws -> WantedOutcome {
    var outcome = WantedOutcome()
    let (effects, waits) = (self.effects, try await engine.transaction { store in try Self.vainWaits(store) })
    // Each by itself, and looked at again under its lock.
    for wait in waits {
      let end = try await engine.transaction { store in
        try WantedTransaction(store: store, newID: effects.identifier, wait: wait).run()
      }
      switch end {
      case .started(let jobs): outcome.started += jobs
      case .blocked(let cells): outcome.blocked += cells
      case .nothingToDo: break
      }
    }
    try await engine.transaction { store in try Self.keepPassed(store) }
    if outcome != WantedOutcome() { await engine.notify("work") }
    return outcome
  }

  /// Layers for which something waits in vain that an open build wants, and what that is: cells, or builds that
  /// want layers only. Nobody builds them, or they have failed.
  private static func vainWaits(_ store: any SQLTransaction) throws -> [VainWait] {
    let rows = try store.run(
      """
      WITH RECURSIVE waits(scope, cell, build, key) AS (
        SELECT c.scope, c.key, '', j.waits_on FROM builds b
          JOIN build_cells bc ON bc.build_id = b.id AND bc.state IS NULL
          JOIN cells c ON c.scope = bc.scope AND c.key = bc.cell_key AND c.state = 'waiting'
          JOIN jobs j ON j.id = c.job_id AND j.state = 'waiting'
        WHERE b.state = 'running'
        UNION
        SELECT bl.scope, '', b.id, bl.layer_key FROM builds b JOIN build_layers bl ON bl.build_id = b.id
        WHERE b.state = 'running' AND NOT EXISTS (SELECT 1 FROM build_cells n WHERE n.build_id = b.id)
        UNION
        SELECT w.scope, w.cell, w.build, j.waits_on FROM waits w
          JOIN layers l ON l.scope = w.scope AND l.key = w.key AND l.state = 'building'
          JOIN jobs j ON j.id = l.job_id AND j.state = 'waiting')
      SELECT w.scope AS scope, w.cell AS cell, w.build AS build, w.key AS key
      FROM waits w JOIN layers l ON l.scope = w.scope AND l.key = w.key AND l.state NOT IN ('building', 'available')
      ORDER BY w.scope, w.key, w.cell, w.build
      """, [])
    var waits: [VainWait] = []
    for row in rows {
      let (scope, key) = (try row.text("scope"), try row.text("key"))
      if waits.last.map({ $0.scope != scope || $0.layer != key }) ?? true {
        waits.append(VainWait(scope: scope, layer: key))
      }
      let (cell, build) = (try row.text("cell"), try row.text("build"))
      if cell.isEmpty { waits[waits.count - 1].builds.append(build) } else { waits[waits.count - 1].cells.append(cell) }
    }
    return waits
  }

  /// A cell passed while a build came to count on it again.
  private static func keepPassed(_ store: any SQLTransaction) throws {
    func there(_ column: String) -> String {
      """
      (SELECT c.\(column) FROM cells c WHERE c.scope = build_cells.scope AND c.key = build_cells.cell_key
        AND c.state = 'passed')
      """
    }
    try store.run(
      """
      UPDATE build_cells SET state = 'passed', record_id = \(there("record_id")), image = \(there("image"))
      WHERE state IS NULL AND \(there("image")) IS NOT NULL
        AND EXISTS (SELECT 1 FROM builds b WHERE b.id = build_cells.build_id AND b.state = 'running')
      """, [])
  }
}

private struct VainWait: Sendable {
  let scope: String
  let layer: String
  var cells: [String] = []
  var builds: [String] = []
}

private struct WantedTransaction {
  let store: any SQLTransaction
  let newID: () -> String
  let wait: VainWait

  enum End {
    case started([JobID])
    case blocked([CellKey])
    case nothingToDo
  }

  func run() throws -> End {
    let (scope, key) = (SQLValue.text(wait.scope), SQLValue.text(wait.layer))
    let rows = try store.run(
      "SELECT state, job_id FROM layers WHERE scope = $1 AND key = $2 {{for update}}", [scope, key])
    guard let row = rows.first else { return .nothingToDo }
    let state: LayerState = try row.state("state")
    guard state != .building, state != .available else { return .nothingToDo }
    // From now on its end is theirs, too.
    for cell in wait.cells {
      try store.run(
        "INSERT INTO cell_layers (scope, cell_key, layer_key) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        [scope, .text(cell), key])
    }
    for build in wait.builds {
      try store.run(
        """
        INSERT INTO build_layers (build_id, scope, layer_key, reused) VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING
        """, [.text(build), scope, key])
    }
    if state == .failed { return .blocked(try block(scope, by: row.optionalText("job_id"))) }
    var start = GenerationStart(store: store, newID: newID, principal: "kiln", replaysFailed: false) {
      "the job before (\($0)) was cancelled"
    }
    _ = try start.startLayer(scope, key, onlyAfter: nil)
    return .started(start.jobs)
  }

  /// Whoever waits for a layer that failed cannot be had.
  private func block(_ scope: SQLValue, by job: String?) throws -> [CellKey] {
    var blocked: [CellKey] = []
    for cell in wait.cells {
      blocked += try store.run(
        """
        UPDATE cells SET state = '\(CellState.waiting.after(.layerFailed)?.state.rawValue ?? "blocked")',
          blocked_by = $3, updated_at = kiln_now()
        WHERE scope = $1 AND key = $2 AND state = 'waiting'
          AND job_id IN (SELECT j.id FROM jobs j WHERE j.state = 'waiting') RETURNING key AS key
        """, [scope, .text(cell), .optional(job)]
      ).map { CellKey(text: try $0.text("key")) }
    }
    return blocked
  }
}
