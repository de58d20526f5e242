import Model

extension SQLRecordStore {
  package func startWanted() async throws -> WantedOutcome {
    var outcome = WantedOutcome()
    let (effects, layers) = (self.effects, try await engine.transaction { store in try Self.vainLayers(store) })
    // Each by itself, and looked at again under its lock.
    for layer in layers {
      let end = try await engine.transaction { store in
        try WantedTransaction(store: store, newID: effects.identifier, layer: layer).run()
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

  /// Layers for which something waits in vain that an open build wants: nobody builds them, or they have failed.
  private static func vainLayers(_ store: any SQLTransaction) throws -> [VainLayer] {
    try store.run(
      """
      WITH RECURSIVE waits(scope, key) AS (
        SELECT c.scope, j.waits_on FROM builds b
          JOIN build_cells bc ON bc.build_id = b.id AND bc.state IS NULL
          JOIN cells c ON c.scope = bc.scope AND c.key = bc.cell_key AND c.state = 'waiting'
          JOIN jobs j ON j.id = c.job_id AND j.state = 'waiting'
        WHERE b.state = 'running'
        UNION
        SELECT bl.scope, bl.layer_key FROM builds b JOIN build_layers bl ON bl.build_id = b.id
        WHERE b.state = 'running' AND NOT EXISTS (SELECT 1 FROM build_cells n WHERE n.build_id = b.id)
        UNION
        SELECT w.scope, j.waits_on FROM waits w
          JOIN layers l ON l.scope = w.scope AND l.key = w.key AND l.state = 'building'
          JOIN jobs j ON j.id = l.job_id AND j.state = 'waiting')
      SELECT w.scope AS scope, w.key AS key
      FROM waits w JOIN layers l ON l.scope = w.scope AND l.key = w.key AND l.state NOT IN ('building', 'available')
      ORDER BY w.scope, w.key
      """, []
    ).map { VainLayer(scope: try $0.text("scope"), key: try $0.text("key")) }
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

private struct VainLayer: Sendable {
  let scope: String
  let key: String
}

private struct WantedTransaction {
  let store: any SQLTransaction
  let newID: () -> String
  let layer: VainLayer

  enum End {
    case started([JobID])
    case blocked([CellKey])
    case nothingToDo
  }

  func run() throws -> End {
    let (scope, key) = (SQLValue.text(layer.scope), SQLValue.text(layer.key))
    let rows = try store.run(
      "SELECT state, job_id FROM layers WHERE scope = $1 AND key = $2 {{for update}}", [scope, key])
    guard let row = rows.first else { return .nothingToDo }
    let state: LayerState = try row.state("state")
    guard state != .building, state != .available else { return .nothingToDo }
    let (cells, builds) = try waiting(scope, key)
    guard !cells.isEmpty || !builds.isEmpty else { return .nothingToDo }
    // From now on its end is theirs, too.
    for cell in cells {
      try store.run(
        "INSERT INTO cell_layers (scope, cell_key, layer_key) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        [scope, .text(cell), key])
    }
    for build in builds {
      try store.run(
        """
        INSERT INTO build_layers (build_id, scope, layer_key, reused) VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING
        """, [.text(build), scope, key])
    }
    if state == .failed { return .blocked(try block(cells, scope, by: row.optionalText("job_id"))) }
    var start = GenerationStart(store: store, newID: newID, principal: "kiln", replaysFailed: false) {
      "the job before (\($0)) was cancelled"
    }
    _ = try start.startLayer(scope, key, onlyAfter: nil)
    return .started(start.started.map(\.job))
  }

  /// What of open builds waits for the layer, or for what waits for it: cells, and builds that want layers only.
  private func waiting(_ scope: SQLValue, _ key: SQLValue) throws -> (cells: [String], builds: [String]) {
    let rows = try store.run(
      """
      WITH RECURSIVE above(key) AS (
        SELECT CAST($2 AS text)
        UNION
        SELECT l.key FROM above a JOIN jobs j ON j.scope = $1 AND j.waits_on = a.key AND j.state = 'waiting'
          JOIN layers l ON l.scope = $1 AND l.key = j.layer_key AND l.job_id = j.id AND l.state = 'building')
      SELECT c.key AS cell, NULL AS build
        FROM above a JOIN jobs j ON j.scope = $1 AND j.waits_on = a.key AND j.state = 'waiting'
        JOIN cells c ON c.scope = $1 AND c.key = j.cell_key AND c.job_id = j.id AND c.state = 'waiting'
      WHERE EXISTS (SELECT 1 FROM build_cells bc JOIN builds b ON b.id = bc.build_id AND b.state = 'running'
        WHERE bc.scope = $1 AND bc.cell_key = c.key AND bc.state IS NULL)
      UNION
      SELECT NULL, b.id FROM above a JOIN build_layers bl ON bl.scope = $1 AND bl.layer_key = a.key
        JOIN builds b ON b.id = bl.build_id AND b.state = 'running'
      WHERE NOT EXISTS (SELECT 1 FROM build_cells n WHERE n.build_id = b.id)
      ORDER BY 1, 2
      """, [scope, key])
    return (rows.compactMap { $0.optionalText("cell") }, rows.compactMap { $0.optionalText("build") })
  }

  /// Whoever waits for a layer that failed cannot be had.
  private func block(_ cells: [String], _ scope: SQLValue, by job: String?) throws -> [CellKey] {
    var blocked: [CellKey] = []
    for cell in cells {
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
