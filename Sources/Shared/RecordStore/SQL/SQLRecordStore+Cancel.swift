package import Model

extension SQLRecordStore {
  package func cancel(_ build: BuildID, by principal: Principal) async throws -> BuildState? {
    let state = try await engine.transaction { store in
      try CancelTransaction(store: store).cancel(.id(build), problem: "cancelled by \(principal)")
    }
    if state == .cancelling || state == .cancelled { await engine.notify("work") }
    return state
  }

  package func cancel(_ job: JobID, by principal: Principal) async throws -> CancelledJob? {
    let outcome = try await engine.transaction { store in
      try CancelTransaction(store: store).cancel(job: .id(job), problem: "job \(job) was cancelled by \(principal)")
    }
    if outcome?.wasCancelled == true { await engine.notify("work") }
    return outcome
  }

  /// Builds of which nothing runs any more.
  static func settleCancelled(_ store: any SQLTransaction) throws -> [BuildID] {
    guard let next = BuildState.cancelling.after(.nothingRunning)?.state else { return [] }
    let rows = try store.run(
      """
      UPDATE builds SET state = $1, finished_at = kiln_now() WHERE state = 'cancelling' AND NOT EXISTS (
        SELECT 1 FROM jobs j WHERE j.state = 'running' AND j.cancel_requested = 1 AND j.id IN (
          SELECT l.job_id FROM build_layers bl JOIN layers l ON l.scope = bl.scope AND l.key = bl.layer_key
            WHERE bl.build_id = builds.id
          UNION SELECT c.job_id FROM build_cells bc JOIN cells c ON c.scope = bc.scope AND c.key = bc.cell_key
            WHERE bc.build_id = builds.id))
      RETURNING id AS id
      """, [.text(next.rawValue)])
    return try rows.map { BuildID(text: try $0.text("id")) }.sorted()
  }
}

/// What a cancellation writes. Locks in the order builds, layers by key, cells by key, jobs by id; only then
/// it looks who else wants them, for who attaches to a layer holds its row.
private struct CancelTransaction {
  let store: any SQLTransaction

  private static let open = Procedure.list(
    BuildState.allCases.filter { $0.after(.cancel) != nil }.map(\.rawValue))
  /// What nobody works on ends at once.
  private static let idle = Procedure.list(
    JobState.sources(of: .demandGone).filter { $0 != .running }.map(\.rawValue))
  private static let cancellable = Procedure.list(CellState.sources(of: .cancel).map(\.rawValue))

  func cancel(_ build: SQLValue, problem: String) throws -> BuildState? {
    let rows = try store.run("SELECT state FROM builds WHERE id = $1 {{for update}}", [build])
    guard let state: BuildState = try rows.first?.state("state") else { return nil }
    guard let next = try end(build, state, problem) else { return state }
    try withdraw(Candidates.of(build))
    return next
  }

  /// Every build that wants the job's layer goes without the cells above it. A build that wants nothing but
  /// layers is cancelled whole. Where no build wants it any more, the job ends by itself.
  func cancel(job: SQLValue, problem: String) throws -> CancelledJob? {
    let jobs = try store.run("SELECT state, scope, layer_key, cell_key FROM jobs WHERE id = $1", [job])
    guard let row = jobs.first else { return nil }
    guard !(try row.state("state") as JobState).isFinal else {
      return CancelledJob(state: try row.state("state"), wasCancelled: false, cells: 0)
    }
    let scope = SQLValue.text(try row.text("scope"))
    let layer = row.optionalText("layer_key")
    let key = SQLValue.optional(layer ?? row.optionalText("cell_key"))
    let cells = layer == nil ? "$2" : "SELECT p.cell_key FROM cell_layers p WHERE p.scope = $1 AND p.layer_key = $2"
    let builds = try store.run(
      """
      SELECT b.id AS id, b.state AS state, (SELECT count(*) FROM build_cells n WHERE n.build_id = b.id) AS cells
      FROM builds b WHERE b.state IN \(Self.open) AND (
        EXISTS (SELECT 1 FROM build_cells bc WHERE bc.build_id = b.id AND bc.scope = $1 AND bc.cell_key IN (\(cells)))
        OR EXISTS (SELECT 1 FROM build_layers bl WHERE bl.build_id = b.id AND bl.scope = $1 AND bl.layer_key = $2))
      ORDER BY b.id {{for update}}
      """, [scope, key])
    var count = 0
    for build in builds {
      let id = SQLValue.text(try build.text("id"))
      if try build.int("cells") == 0 {
        _ = try end(id, build.state("state"), problem)
      } else {
        count += try store.run(
          """
          UPDATE build_cells SET state = 'cancelled' WHERE build_id = $3 AND scope = $1 AND state IS NULL
            AND cell_key IN (\(cells)) RETURNING cell_key AS key
          """, [scope, key, id]
        ).count
      }
    }
    try withdraw(layer == nil ? .cell(scope, key) : .layer(scope, key))
    for build in builds { try withdraw(Candidates.of(.text(try build.text("id")))) }
    let after = try store.run("SELECT state, cancel_requested FROM jobs WHERE id = $1", [job])
    guard let now = after.first else { return nil }
    let state: JobState = try now.state("state")
    return CancelledJob(
      state: state, wasCancelled: try state == .cancelled || now.flag("cancel_requested"), cells: count)
  }

  /// Nil where it was over.
  private func end(_ build: SQLValue, _ state: BuildState, _ problem: String) throws -> BuildState? {
    guard let next = state.after(.cancel)?.state else { return nil }
    try store.run(
      """
      UPDATE builds SET state = $2, problem = $3, finished_at = CASE WHEN $4 = 1 THEN kiln_now() END WHERE id = $1
      """, [build, .text(next.rawValue), .text(problem), .flag(next.isSettled)])
    try store.run("UPDATE build_cells SET state = 'cancelled' WHERE build_id = $1 AND state IS NULL", [build])
    return next
  }

  // MARK: What nobody wants any more

  /// Layers and cells of which somebody has let go: pairs of scope and key, and the statements' arguments.
  private struct Candidates {
    var layers: String
    var cells: String
    var arguments: [SQLValue]

    /// Whatever a build passed through, also what came to it later: a lost image, and what is grafted for it.
    static func of(_ build: SQLValue) -> Candidates {
      Candidates(
        layers: """
          SELECT b.scope, b.layer_key FROM build_layers b WHERE b.build_id = $1
          UNION SELECT p.scope, p.layer_key FROM build_cells b JOIN cell_layers p
            ON p.scope = b.scope AND p.cell_key = b.cell_key WHERE b.build_id = $1
          """, cells: "SELECT b.scope, b.cell_key FROM build_cells b WHERE b.build_id = $1", arguments: [build])
    }

    static func layer(_ scope: SQLValue, _ key: SQLValue) -> Candidates {
      Candidates(
        layers: "SELECT l.scope, l.key FROM layers l WHERE l.scope = $1 AND l.key = $2",
        cells: "SELECT p.scope, p.cell_key FROM cell_layers p WHERE p.scope = $1 AND p.layer_key = $2",
        arguments: [scope, key])
    }

    static func cell(_ scope: SQLValue, _ key: SQLValue) -> Candidates {
      Candidates(
        layers: "SELECT p.scope, p.layer_key FROM cell_layers p WHERE p.scope = $1 AND p.cell_key = $2",
        cells: "SELECT c.scope, c.key FROM cells c WHERE c.scope = $1 AND c.key = $2", arguments: [scope, key])
    }
  }

  private func withdraw(_ candidates: Candidates) throws {
    // Whatever their state: what is failed now may be building by the time that its row is ours.
    try store.run(
      "SELECT l.key FROM layers l WHERE (l.scope, l.key) IN (\(candidates.layers)) ORDER BY l.key {{for update}}",
      candidates.arguments)
    // A build wants a layer for the cells that are open in it, or for its own sake.
    let unwanted = """
      l.state = 'building' AND (l.scope, l.key) IN (\(candidates.layers))
      AND NOT EXISTS (SELECT 1 FROM cell_layers p
        JOIN build_cells c ON c.scope = p.scope AND c.cell_key = p.cell_key AND c.state IS NULL
        JOIN builds w ON w.id = c.build_id
        WHERE p.scope = l.scope AND p.layer_key = l.key AND w.state IN \(Self.open))
      AND NOT EXISTS (SELECT 1 FROM build_layers o JOIN builds w ON w.id = o.build_id
        WHERE o.scope = l.scope AND o.layer_key = l.key AND w.state IN \(Self.open)
          AND NOT EXISTS (SELECT 1 FROM build_cells n WHERE n.build_id = o.build_id))
      """
    try withdraw(jobs: "SELECT l.job_id FROM layers l WHERE \(unwanted)", candidates.arguments)
    try store.run(
      """
      UPDATE layers SET state = '\(LayerState.building.after(.jobCancelled)?.state.rawValue ?? "idle")',
        updated_at = kiln_now()
      WHERE state = 'building' AND (scope, key) IN (\(candidates.layers))
        AND job_id IN (SELECT id FROM jobs WHERE state = 'cancelled')
      """, candidates.arguments)
    try withdrawCells(candidates)
  }

  /// A failed build still counts on what is blocked: a replay goes on with it.
  private func withdrawCells(_ candidates: Candidates) throws {
    try store.run(
      """
      SELECT c.key FROM cells c WHERE c.state IN \(Self.cancellable) AND (c.scope, c.key) IN (\(candidates.cells))
      ORDER BY c.key {{for update}}
      """, candidates.arguments)
    let unwanted = """
      c.state IN \(Self.cancellable) AND (c.scope, c.key) IN (\(candidates.cells)) AND NOT EXISTS (
        SELECT 1 FROM build_cells o JOIN builds w ON w.id = o.build_id WHERE o.scope = c.scope AND o.cell_key = c.key
          AND ((o.state IS NULL AND w.state IN \(Self.open))
            OR (o.state = 'blocked' AND w.state = 'failed' AND c.state = 'blocked')))
      """
    try withdraw(jobs: "SELECT c.job_id FROM cells c WHERE \(unwanted)", candidates.arguments)
    try store.run(
      """
      UPDATE cells SET state = '\(CellState.waiting.after(.cancel)?.state.rawValue ?? "cancelled")',
        updated_at = kiln_now()
      WHERE state IN \(Self.cancellable) AND (scope, key) IN (\(candidates.cells)) AND job_id IN
        (SELECT id FROM jobs WHERE state = 'cancelled')
      """, candidates.arguments)
  }

  /// Those that run are asked to end; all others have ended.
  private func withdraw(jobs: String, _ arguments: [SQLValue]) throws {
    try store.run(
      """
      UPDATE jobs SET state = '\(JobState.cancelled.rawValue)', finished_at = kiln_now(), publish_lease_until = NULL,
        due_at = NULL
      WHERE id IN (SELECT j.id FROM jobs j WHERE j.state IN \(Self.idle) AND j.id IN (\(jobs)) ORDER BY j.id {{for update}})
      """, arguments)
    try store.run(
      """
      UPDATE jobs SET cancel_requested = 1
      WHERE id IN (SELECT j.id FROM jobs j WHERE j.state = 'running' AND j.id IN (\(jobs)) ORDER BY j.id {{for update}})
      """, arguments)
  }
}
