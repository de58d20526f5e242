package import Model

extension SQLRecordStore {
  package func submit(_ submission: Submission) async throws -> AcceptedBuild {
    let effects = self.effects
    let accepted = try await engine.transaction { store in
      try SubmitTransaction(submission: submission, store: store, newID: effects.identifier).run()
    }
    await engine.notify("work")
    return accepted
  }

  package func known(layers: [LayerKey], cells: [CellKey], scope: Scope) async throws -> KnownResults {
    try await engine.transaction { store in
      var known = KnownResults()
      for key in layers {
        let rows = try store.run(
          "SELECT state, image, generation FROM layers WHERE scope = $1 AND key = $2", [.id(scope), .id(key)])
        if let row = rows.first {
          known.layers[key] = KnownLayer(
            state: try row.state("state"), image: row.digest("image"), generation: try row.int("generation"))
        }
      }
      for key in cells {
        let rows = try store.run(
          "SELECT state, image, record_id FROM cells WHERE scope = $1 AND key = $2", [.id(scope), .id(key)])
        if let row = rows.first {
          known.cells[key] = KnownCell(
            state: try row.state("state"), image: row.digest("image"), recordID: row.optionalText("record_id"))
        }
      }
      return known
    }
  }
}

/// What one `submit` writes. Locks in the order build, layers by key, cells by key, jobs.
private struct SubmitTransaction {
  let submission: Submission
  let store: any SQLTransaction
  let newID: () -> String
  private let parents: [LayerKey: LayerKey]
  private let grafts: [LayerKey: LayerKey]

  init(submission: Submission, store: any SQLTransaction, newID: @escaping () -> String) {
    self.submission = submission
    self.store = store
    self.newID = newID
    func pairs(_ other: (PlannedLayer) -> LayerKey?) -> [LayerKey: LayerKey] {
      let pairs = submission.plan.layers.compactMap { layer in other(layer).map { (layer.key, $0) } }
      return Dictionary(pairs, uniquingKeysWith: { first, _ in first })
    }
    parents = pairs(\.parentKey)
    grafts = pairs(\.graft?.layer)
  }

  private struct LayerRow {
    var state: LayerState
    var generation: Int
    var job: String?
    /// Why a new generation would be made.
    var cause = "new"
  }

  private var scope: SQLValue { .id(submission.scope) }

  func run() throws -> AcceptedBuild {
    guard let sequence = try insertBuild() else {
      let rows = try store.run(
        "SELECT id, sequence FROM builds WHERE principal = $1 AND idempotency_key = $2",
        [.id(submission.principal), .text(submission.idempotencyKey)])
      guard let row = rows.first else { throw StoreError(.conflict, "the build was there and is gone") }
      return AcceptedBuild(id: BuildID(text: try row.text("id")), sequence: try row.integer("sequence"), isNew: false)
    }
    let reused = try reusedCells()
    let wanted = submission.plan.cells.filter { reused[$0.key] == nil }
    let keys = submission.plan.cells.isEmpty ? submission.plan.wantedLayers : Set(wanted.flatMap(\.path))
    let layers = try demandLayers(keys, sequence: sequence, heights: heights(wanted))
    try demandCells(wanted, layers: layers, sequence: sequence)
    try linkCells(reused: reused)
    try raisePriorities()
    try wantAgain()
    return AcceptedBuild(id: submission.id, sequence: sequence, isNew: true)
  }

  private func insertBuild() throws -> Int64? {
    let plan = submission.plan
    let products = Set(plan.images.map(\.product)).sorted().joined(separator: ",")
    let rows = try store.run(
      """
      INSERT INTO builds (id, scope, principal, idempotency_key, state, priority, products, catalog_revision,
        catalog_digest, created_at)
      VALUES ($1, $2, $3, $4, '\(BuildState.accepted.after(.planned)?.state.rawValue ?? "running")', $5, $6, $7, $8,
        kiln_now())
      ON CONFLICT (principal, idempotency_key) DO NOTHING RETURNING sequence AS sequence
      """,
      [
        .id(submission.id), scope, .id(submission.principal), .text(submission.idempotencyKey),
        .int(submission.priority), .text(products), .optional(plan.catalogRevision),
        .text(plan.catalogDigest.description),
      ])
    guard let row = rows.first else { return nil }
    try store.run(
      "INSERT INTO build_images (build_id, images) VALUES ($1, $2)",
      [.id(submission.id), .text(try StoredJSON.text(plan.images))])
    return try row.integer("sequence")
  }

  private func reusedCells() throws -> [CellKey: SQLRow] {
    var reused: [CellKey: SQLRow] = [:]
    for key in submission.reusable.sorted() {
      reused[key] =
        try store.run(
          "SELECT image, record_id FROM cells WHERE scope = $1 AND key = $2 AND state = 'passed' {{for update}}",
          [scope, .id(key)]
        ).first
    }
    return reused
  }

  /// How many steps are above each layer: what has most above it goes first.
  private func heights(_ cells: [PlannedCell]) -> [LayerKey: Int] {
    var heights: [LayerKey: Int] = [:]
    for cell in cells {
      for (index, key) in cell.path.enumerated() { heights[key] = max(heights[key] ?? 0, cell.path.count - index) }
    }
    for layer in submission.plan.layers {
      guard let own = layer.graft?.layer, let height = heights[layer.key] else { continue }
      heights[own] = max(heights[own] ?? 0, height + 1)
    }
    return heights
  }

  // MARK: Layers

  private func demandLayers(_ keys: Set<LayerKey>, sequence: Int64, heights: [LayerKey: Int]) throws
    -> [LayerKey: LayerRow]
  {
    var planned = submission.plan.layers.filter { keys.contains($0.key) }
    let grafted = Set(planned.compactMap(\.graft?.layer))
    planned = submission.plan.layers.filter { keys.contains($0.key) || grafted.contains($0.key) }
    var rows: [LayerKey: LayerRow] = [:]
    for layer in planned.sorted(by: { $0.key < $1.key }) { rows[layer.key] = try lock(layer) }
    let event: LayerEvent = submission.retryFailed ? .demandAfterQuarantine : .demand
    // What is grafted is wanted only where something is to be grafted.
    let wanted = keys.union(planned.filter { rows[$0.key]?.state != .available }.compactMap(\.graft?.layer))
    // The plan lists parents before children.
    for layer in planned where wanted.contains(layer.key) {
      guard var row = rows[layer.key] else { continue }
      let reused = row.state == .available
      if let transition = row.state.after(event), transition.actions.contains(.startGeneration) {
        row.state = transition.state
        row.generation += 1
        rows[layer.key] = row
        let grafted = layer.graft.flatMap { rows[$0.layer]?.state == .available ? nil : $0.layer }
        let job = try insertJob(
          .layer(layer), pool: submission.layerPools[layer.key], generation: row.generation,
          waitsOn: topmostUnavailable(from: layer.parentKey, rows) ?? grafted, height: heights[layer.key] ?? 1,
          sequence: sequence, previous: row.job, cause: row.cause)
        try startGeneration(layer.key, row, job: job)
      }
      rows[layer.key] = row
      try store.run(
        "INSERT INTO build_layers (build_id, scope, layer_key, reused) VALUES ($1, $2, $3, $4)",
        [.id(submission.id), scope, .id(layer.key), .flag(reused)])
    }
    return rows
  }

  private func lock(_ layer: PlannedLayer) throws -> LayerRow {
    let rows = try store.run(
      """
      INSERT INTO layers (scope, key, state, generation, title, platform, parent_key, cause, updated_at)
      VALUES ($1, $2, 'absent', 0, $3, $4, $5, 'new', kiln_now())
      ON CONFLICT (scope, key) DO UPDATE SET updated_at = kiln_now()
      RETURNING state AS state, generation AS generation, job_id AS job_id,
        CASE WHEN failed_at < kiln_now() - \(Int(LayerState.quarantineSeconds * 1000)) THEN 1 ELSE 0 END AS rested
      """,
      [
        scope, .id(layer.key), .text(layer.title), .text(layer.platform.description),
        .optional(layer.parentKey?.text),
      ])
    guard let row = rows.first else { throw StoreError(.statement, "layer \(layer.key) was not written") }
    var state: LayerState = try row.state("state")
    let job = row.optionalText("job_id")
    let generation = try row.int("generation")
    var cause = "new"
    if let missing = submission.missing[layer.key], generation == missing.generation,
      let gone = state.after(.imageMissing)
    {
      (state, cause) = (gone.state, missing.reason)
    } else if state == .failed {
      cause = "the job before (\(job ?? "?")) failed, and it was asked for again"
      // One that has rested is as good as one that nobody wanted meanwhile.
      if try row.flag("rested") { state = .idle }
    } else if state == .idle {
      cause = "the job before (\(job ?? "?")) was cancelled"
    }
    return LayerRow(state: state, generation: generation, job: job, cause: cause)
  }

  /// What this build attaches to is as urgent as the build.
  private func raisePriorities() throws {
    try store.run(
      """
      UPDATE jobs SET priority = $2 WHERE id IN (
        SELECT j.id FROM jobs j WHERE j.priority < $2 AND j.state IN ('waiting', 'ready', 'delayed') AND j.id IN (
          SELECT l.job_id FROM build_layers bl JOIN layers l ON l.scope = bl.scope AND l.key = bl.layer_key
            WHERE bl.build_id = $1
          UNION SELECT c.job_id FROM build_cells bc JOIN cells c ON c.scope = bc.scope AND c.key = bc.cell_key
            WHERE bc.build_id = $1)
        ORDER BY j.id {{for update}})
      """, [.id(submission.id), .int(submission.priority)])
  }

  /// What runs although its build was cancelled, and has not ended yet, goes on where this one wants it.
  private func wantAgain() throws {
    try store.run(
      """
      UPDATE jobs SET cancel_requested = 0 WHERE id IN (
        SELECT j.id FROM jobs j WHERE j.cancel_requested = 1 AND j.state = 'running' AND j.id IN (
          SELECT l.job_id FROM build_layers bl JOIN layers l ON l.scope = bl.scope AND l.key = bl.layer_key
            WHERE bl.build_id = $1
          UNION SELECT c.job_id FROM build_cells bc JOIN cells c ON c.scope = bc.scope AND c.key = bc.cell_key
            WHERE bc.build_id = $1)
        ORDER BY j.id {{for update}})
      """, [.id(submission.id)])
  }

  private func startGeneration(_ key: LayerKey, _ row: LayerRow, job: String) throws {
    try store.run(
      """
      UPDATE layers SET state = $3, generation = $4, job_id = $5, cause = $6, failed_at = NULL
      WHERE scope = $1 AND key = $2
      """, [scope, .id(key), .text(row.state.rawValue), .int(row.generation), .text(job), .text(row.cause)])
    try store.unblockCells(scope, .id(key))
  }

  /// The nearest layer at or below `key` that is not available: whatever stands on it waits for that
  /// one, which itself waits for those below.
  private func topmostUnavailable(from key: LayerKey?, _ rows: [LayerKey: LayerRow]) -> LayerKey? {
    var next = key
    while let key = next {
      if rows[key]?.state != .available { return key }
      next = parents[key]
    }
    return nil
  }

  // MARK: Cells

  private func demandCells(_ cells: [PlannedCell], layers: [LayerKey: LayerRow], sequence: Int64) throws {
    for cell in cells.sorted(by: { $0.key < $1.key }) {
      let rows = try store.run(
        """
        INSERT INTO cells (scope, key, state, generation, updated_at) VALUES ($1, $2, 'planned', 0, kiln_now())
        ON CONFLICT (scope, key) DO UPDATE SET updated_at = kiln_now()
        RETURNING state AS state, generation AS generation, job_id AS job_id
        """, [scope, .id(cell.key)])
      guard let row = rows.first else { throw StoreError(.statement, "cell \(cell.key) was not written") }
      let state: CellState = try row.state("state")
      let needed = cell.path + cell.path.compactMap { layers[$0]?.state == .available ? nil : grafts[$0] }
      let places = needed.indices.map { "($1, $2, $\($0 + 3))" }.joined(separator: ", ")
      try store.run(
        "INSERT INTO cell_layers (scope, cell_key, layer_key) VALUES \(places) ON CONFLICT DO NOTHING",
        [scope, .id(cell.key)] + needed.map { .id($0) })
      let failed = needed.first { layers[$0]?.state == .failed }
      if [.waiting, .finishing, .blocked].contains(state) {
        // What it waits for may have been lost, and with it something that has failed.
        if state == .waiting, let failed { try block(cell, by: layers[failed]?.job) }
        // What failed is needed no more: the layer above it is there.
        if state == .blocked, failed == nil { try unblock(cell) }
        continue
      }
      let wait = topmostUnavailable(from: cell.path.last, layers)
      let job = try insertJob(
        .finish(cell), pool: submission.cellPools[cell.key], generation: try row.int("generation") + 1, waitsOn: wait,
        height: 0, sequence: sequence,
        previous: row.optionalText("job_id"),
        cause: state == .planned ? "new" : "the cell was \(state), and is wanted again")
      let next: CellState = failed != nil ? .blocked : wait == nil ? .finishing : .waiting
      try store.run(
        """
        UPDATE cells SET state = $3, generation = generation + 1, job_id = $4, blocked_by = $5, image = NULL,
          record_id = NULL WHERE scope = $1 AND key = $2
        """,
        [
          scope, .id(cell.key), .text(next.rawValue), .text(job), .optional(failed.flatMap { layers[$0]?.job }),
        ])
    }
  }

  private func block(_ cell: PlannedCell, by job: String?) throws {
    try store.run(
      "UPDATE cells SET state = 'blocked', blocked_by = $3 WHERE scope = $1 AND key = $2",
      [scope, .id(cell.key), .optional(job)])
  }

  private func unblock(_ cell: PlannedCell) throws {
    try store.run(
      "UPDATE cells SET state = 'waiting', blocked_by = NULL WHERE scope = $1 AND key = $2", [scope, .id(cell.key)])
  }

  private func linkCells(reused: [CellKey: SQLRow]) throws {
    for image in submission.plan.images {
      for cell in image.cells {
        try store.run(
          """
          INSERT INTO build_cells (build_id, scope, cell_key, product, variant, target, required, state, record_id, image)
          VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING
          """,
          [
            .id(submission.id), scope, .id(cell.key), .text(image.product), .text(image.variant),
            .text(try StoredJSON.text(cell.target)),
            .flag(cell.required), .optional(reused[cell.key].map { _ in CellState.reused.rawValue }),
            .optional(reused[cell.key]?.optionalText("record_id")), .optional(reused[cell.key]?.optionalText("image")),
          ])
      }
    }
  }

  // MARK: Jobs

  private func insertJob(
    _ spec: JobSpec, pool: PoolName?, generation: Int, waitsOn: LayerKey?, height: Int, sequence: Int64,
    previous: String?, cause: String
  ) throws -> String {
    guard let pool else { throw StoreError(.refused, "\(spec.title) has no pool") }
    let id = newID()
    let (layer, graft, cell): (String?, String?, String?) =
      switch spec {
      case .layer(let layer): (layer.key.text, layer.graft?.layer.text, nil)
      case .finish(let cell): (nil, nil, cell.key.text)
      }
    try store.settleLetters(of: previous, by: submission.principal.text, reason: "job \(id)")
    // Fences only rise, also across generations.
    let attempt =
      try store.run("SELECT attempt FROM jobs WHERE id = $1", [.optional(previous)]).first?.int("attempt") ?? 0
    try store.run(
      "INSERT INTO job_specs (job_id, spec) VALUES ($1, $2)", [.text(id), .text(try StoredJSON.text(spec))])
    try store.run(
      """
      INSERT INTO jobs (id, scope, kind, pool, state, title, generation, layer_key, cell_key, stands_on, grafts,
        waits_on, priority, build_sequence, height, attempt, cause, created_at)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, kiln_now())
      """,
      [
        .text(id), scope, .text(spec.kind.rawValue), .id(pool), .text(waitsOn == nil ? "ready" : "waiting"),
        .text(spec.title), .int(generation), .optional(layer), .optional(cell),
        .optional(spec.standsOn?.text), .optional(graft), .optional(waitsOn?.text), .int(submission.priority),
        .integer(sequence), .int(height), .int(attempt),
        .text(cause),
      ])
    return id
  }
}
