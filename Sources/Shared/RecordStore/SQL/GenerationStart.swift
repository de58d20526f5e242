import Model

/// Makes new generations of layers that are failed or that nobody builds any more, each with a job like its last
/// one's.
struct GenerationStart {
  let store: any SQLTransaction
  let newID: () -> String
  /// Who tries again.
  let principal: String
  /// Whether somebody asked for what is dead.
  let replaysFailed: Bool
  /// Why, by the job before.
  let cause: (_ job: String) -> String
  /// Layers that have a new generation by it, also those that the first one needed, and their jobs.
  private(set) var started: [(layer: SQLValue, job: JobID)] = []

  init(
    store: any SQLTransaction, newID: @escaping () -> String, principal: String, replaysFailed: Bool,
    cause: @escaping (_ job: String) -> String
  ) {
    (self.store, self.newID) = (store, newID)
    (self.principal, self.replaysFailed, self.cause) = (principal, replaysFailed, cause)
  }

  /// The job of the layer's new generation, made from its last one's; nil where there is nothing to start.
  /// What it stands on is started too where nobody is at work on it: the layer would wait for ever.
  mutating func startLayer(_ scope: SQLValue, _ key: SQLValue, onlyAfter dead: String?) throws -> String? {
    let rows = try store.run(
      "SELECT state, generation, job_id FROM layers WHERE scope = $1 AND key = $2 {{for update}}", [scope, key])
    guard let row = rows.first, let job = row.optionalText("job_id") else { return nil }
    let state: LayerState = try row.state("state")
    if let dead, dead != job || state != .failed { return nil }
    guard let next = state.after(state == .failed && replaysFailed ? .replay : .demand),
      next.actions.contains(.startGeneration)
    else {
      return nil
    }
    let new = try insertJob(after: job, scope)
    try store.run(
      """
      UPDATE layers SET state = $3, generation = generation + 1, job_id = $4, cause = $5, failed_at = NULL,
        updated_at = kiln_now()
      WHERE scope = $1 AND key = $2
      """, [scope, key, .text(next.state.rawValue), .text(new), .text(cause(job))])
    try store.unblockCells(scope, key)
    started.append((key, JobID(text: new)))
    return new
  }

  /// A job like `job`, which is final. It waits where what it is made of is not there.
  mutating func insertJob(after job: String, _ scope: SQLValue) throws -> String {
    let rows = try store.run("SELECT stands_on, grafts FROM jobs WHERE id = $1", [.text(job)])
    var waitsOn: String?
    for below in [rows.first?.optionalText("stands_on"), rows.first?.optionalText("grafts")].compactMap(\.self) {
      _ = try startLayer(scope, .text(below), onlyAfter: nil)
      let isThere = try store.run(
        "SELECT key FROM layers WHERE scope = $1 AND key = $2 AND state = 'available'", [scope, .text(below)])
      if isThere.isEmpty, waitsOn == nil { waitsOn = below }
    }
    let new = newID()
    try store.run(
      "INSERT INTO job_specs (job_id, spec) SELECT $1, spec FROM job_specs WHERE job_id = $2", [.text(new), .text(job)])
    try store.run(
      """
      INSERT INTO jobs (id, scope, kind, pool, state, title, generation, layer_key, cell_key, stands_on, grafts,
        waits_on, priority, build_sequence, height, attempt, cause, created_at)
      SELECT $1, scope, kind, pool, $3, title, generation + 1, layer_key, cell_key, stands_on, grafts,
        $4, priority, build_sequence, height, attempt, $5, kiln_now() FROM jobs WHERE id = $2
      """,
      [
        .text(new), .text(job), .text(waitsOn == nil ? JobState.ready.rawValue : JobState.waiting.rawValue),
        .optional(waitsOn), .text(cause(job)),
      ])
    try store.settleLetters(of: job, by: principal, reason: "job \(new)")
    return new
  }
}
