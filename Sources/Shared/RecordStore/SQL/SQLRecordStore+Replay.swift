package import Model

extension SQLRecordStore {
  package func replay(_ selection: DeadLetterSelection, by principal: Principal) async throws -> ReplayOutcome {
    var outcome = ReplayOutcome()
    let letters = try await letters(selection, limit: ReplayOutcome.maxLetters)
    outcome.hasMore = letters.count == ReplayOutcome.maxLetters
    let effects = self.effects
    for letter in letters {
      // Each by itself: a thousand of them hold no lock for long, and what a lost connection left is replayed
      // by the next call.
      guard let job = letter.job else {
        outcome.skipped.append(.init(letter: letter.identifier, reason: "it names no job: there is nothing to replay"))
        continue
      }
      let result = try await engine.transaction { store in
        var transaction = ReplayTransaction(store: store, newID: effects.identifier, principal: principal)
        return try transaction.replay(job)
      }
      switch result {
      case .started(let new, let builds):
        outcome.replayed.append(.init(letter: letter.identifier, job: job, newJob: new))
        outcome.builds = Array(Set(outcome.builds).union(builds)).sorted()
      case .nothingToDo(let reason): outcome.skipped.append(.init(letter: letter.identifier, reason: reason))
      }
    }
    if !outcome.replayed.isEmpty {
      await engine.notify("work")
      // What else the cells need that wait again: nobody works on what was cancelled with another build.
      _ = try await startWanted()
    }
    return outcome
  }
}

extension SQLRecordStore {
  package func hasten(_ job: JobID) async throws -> Bool {
    let isHastened = try await engine.transaction { store in
      try !store.run(
        "UPDATE jobs SET due_at = kiln_now() WHERE id = $1 AND state = 'delayed' RETURNING id AS id", [.id(job)]
      ).isEmpty
    }
    if isHastened { await engine.notify("work") }
    return isHastened
  }
}

/// What the replay of one dead job writes. Locks its layer first, or its cell; of two at once the second
/// finds the job replayed.
private struct ReplayTransaction {
  let store: any SQLTransaction
  let principal: Principal
  private var start: GenerationStart

  init(store: any SQLTransaction, newID: @escaping () -> String, principal: Principal) {
    (self.store, self.principal) = (store, principal)
    start = GenerationStart(store: store, newID: newID, principal: principal.text, replaysFailed: true) {
      "job \($0) was replayed by \(principal)"
    }
  }

  enum Outcome {
    case started(JobID, [BuildID])
    case nothingToDo(String)
  }

  mutating func replay(_ job: JobID) throws -> Outcome {
    let rows = try store.run("SELECT scope, layer_key, cell_key FROM jobs WHERE id = $1", [.id(job)])
    guard let row = rows.first else { return .nothingToDo("the store does not know its job") }
    let scope = SQLValue.text(try row.text("scope"))
    let new: String?
    if let layer = row.optionalText("layer_key") {
      new = try start.startLayer(scope, .text(layer), onlyAfter: job.text)
    } else {
      new = try startCell(scope, .optional(row.optionalText("cell_key")), after: job.text)
    }
    guard let new else {
      try store.settleLetters(of: job.text, by: principal.text, reason: "it was tried again already")
      return .nothingToDo("it was tried again already")
    }
    let key = SQLValue.optional(row.optionalText("layer_key") ?? row.optionalText("cell_key"))
    var builds = row.optionalText("layer_key") == nil ? try reviveBuilds(scope, key, isLayer: false) : []
    for (layer, _) in start.started { builds += try reviveBuilds(scope, layer, isLayer: true) }
    return .started(JobID(text: new), builds)
  }

  // MARK: Cells

  private mutating func startCell(_ scope: SQLValue, _ key: SQLValue, after dead: String) throws -> String? {
    let rows = try store.run(
      "SELECT state, job_id FROM cells WHERE scope = $1 AND key = $2 {{for update}}", [scope, key])
    guard let row = rows.first, row.optionalText("job_id") == dead,
      let next = (try row.state("state") as CellState).after(.replay)
    else { return nil }
    let new = try start.insertJob(after: dead, scope)
    let isReady = try !store.run("SELECT id FROM jobs WHERE id = $1 AND state = 'ready'", [.text(new)]).isEmpty
    let state = isReady ? next.state.after(.lastLayerAvailable)?.state ?? next.state : next.state
    try store.run(
      """
      UPDATE cells SET state = $3, generation = generation + 1, job_id = $4, image = NULL, record_id = NULL,
        updated_at = kiln_now()
      WHERE scope = $1 AND key = $2
      """, [scope, key, .text(state.rawValue), .text(new)])
    return new
  }

  // MARK: Builds

  /// Failed builds go on where a cell of theirs does, or a layer that they want for its own sake. One that
  /// another replay revived already counts on this cell again too. Returns those that were failed.
  private func reviveBuilds(_ scope: SQLValue, _ key: SQLValue, isLayer: Bool) throws -> [BuildID] {
    guard let running = BuildState.failed.after(.retry)?.state else { return [] }
    let cells =
      isLayer ? "SELECT p.cell_key FROM cell_layers p WHERE p.scope = $1 AND p.layer_key = $2" : "$2"
    let again = """
      bc.scope = $1 AND bc.state IN ('failed', 'blocked') AND bc.cell_key IN (\(cells)) AND EXISTS (
        SELECT 1 FROM cells c WHERE c.scope = bc.scope AND c.key = bc.cell_key AND c.state IN ('waiting', 'finishing'))
      """
    var builds = try store.run(
      """
      SELECT b.id AS id, b.state AS state FROM builds b WHERE b.state IN ('failed', '\(running.rawValue)')
        AND EXISTS (SELECT 1 FROM build_cells bc WHERE bc.build_id = b.id AND \(again)) ORDER BY b.id {{for update}}
      """, [scope, key])
    if isLayer {
      builds += try store.run(
        """
        SELECT b.id AS id, b.state AS state FROM builds b WHERE b.state = 'failed'
          AND EXISTS (SELECT 1 FROM build_layers bl WHERE bl.build_id = b.id AND bl.scope = $1 AND bl.layer_key = $2)
          AND NOT EXISTS (SELECT 1 FROM build_cells bc WHERE bc.build_id = b.id) ORDER BY b.id {{for update}}
        """, [scope, key])
    }
    for row in builds {
      let id = SQLValue.text(try row.text("id"))
      try store.run(
        """
        UPDATE build_cells AS bc SET state = NULL, record_id = NULL, image = NULL WHERE bc.build_id = $3 AND \(again)
        """, [scope, key, id])
      try store.run(
        "UPDATE builds SET state = $2, problem = NULL, finished_at = NULL WHERE id = $1 AND state = 'failed'",
        [id, .text(running.rawValue)])
    }
    return try builds.filter { try $0.text("state") == "failed" }.map { BuildID(text: try $0.text("id")) }
  }
}
