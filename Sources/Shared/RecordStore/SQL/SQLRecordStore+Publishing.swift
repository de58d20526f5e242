package import Model

extension SQLRecordStore {
  package func settleBuilds() async throws -> [BuildID] {
    let settled = try await engine.transaction { store in
      var settled: [BuildID] = []
      for row in try Self.decided(store) {
        let id = try row.text("id")
        try store.run("SELECT id FROM builds WHERE id = $1 {{for update}}", [.text(id)])
        // Who tries a cell again waits for this, or this for them: none is missed between look and end.
        try store.run(
          """
          SELECT c.key FROM cells c WHERE (c.scope, c.key) IN
            (SELECT bc.scope, bc.cell_key FROM build_cells bc WHERE bc.build_id = $1) ORDER BY c.key {{for share}}
          """, [.text(id)])
        guard let row = try Self.decided(store, only: id).first, try Self.settle(row, store) else { continue }
        settled.append(BuildID(text: id))
        try Self.keepCellStates(of: id, store)
      }
      return settled + (try Self.settleLayerBuilds(store)) + (try Self.settleCancelled(store))
    }
    if !settled.isEmpty { await engine.notify("work") }
    return settled
  }

  /// Running builds of which no cell is open, and what their cells came to.
  private static func decided(_ store: any SQLTransaction, only build: String? = nil) throws -> [SQLRow] {
    let good = "coalesce(bc.state, '') IN ('passed', 'reused')"
    // Optional, and for a minute nobody has been seen in its pool: not waited for.
    let hopeless = """
      (bc.required = 0 AND b.created_at < kiln_now() - 60000 AND NOT EXISTS (SELECT 1 FROM jobs j JOIN executors e ON e.pool = j.pool
        WHERE j.id = c.job_id AND e.last_seen > kiln_now() - 60000))
      """
    func count(_ state: CellState) -> String {
      "sum(CASE WHEN \(Self.stateThere) = '\(state)' THEN 1 ELSE 0 END) AS \(state)"
    }
    return try store.run(
      """
      SELECT b.id AS id,
        sum(CASE WHEN bc.required = 1 AND NOT \(good) THEN 1 ELSE 0 END) AS required_open,
        sum(CASE WHEN \(good) THEN 1 ELSE 0 END) AS good, \(count(.failed)), \(count(.blocked)), \(count(.cancelled))
      FROM builds b JOIN build_cells bc ON bc.build_id = b.id
        JOIN cells c ON c.scope = bc.scope AND c.key = bc.cell_key
      WHERE b.state = 'running' AND ($1 = '' OR b.id = $1) GROUP BY b.id
      HAVING sum(CASE WHEN NOT \(good) AND \(Self.stateThere) NOT IN ('failed', 'blocked', 'cancelled')
        AND NOT \(hopeless) THEN 1 ELSE 0 END) = 0
      ORDER BY b.id
      """, [.text(build ?? "")])
  }

  /// What a build (`bc`) counts on, or how the cell (`c`) stands while that is open.
  private static var stateThere: String { "coalesce(bc.state, c.state)" }

  private static func settle(_ row: SQLRow, _ store: any SQLTransaction) throws -> Bool {
    let isGood = try row.int("required_open") == 0 && row.int("good") > 0
    let event: BuildEvent = isGood ? .requiredCellsGood : .settledWithFailure
    guard let next = BuildState.running.after(event)?.state else { return false }
    let cancelled = try row.int("cancelled")
    let problem =
      "\(try row.int("failed")) cells failed, \(try row.int("blocked")) are blocked"
      + (cancelled == 0 ? "" : ", \(cancelled) were cancelled")
    let changed = try store.run(
      """
      UPDATE builds SET state = $2, problem = $3, finished_at = CASE WHEN $4 = 1 THEN kiln_now() END
      WHERE id = $1 AND state = 'running' RETURNING id AS id
      """, [.text(try row.text("id")), .text(next.rawValue), .optional(isGood ? nil : problem), .flag(next.isSettled)])
    return !changed.isEmpty
  }

  /// Builds that want layers and no cell: done when all are there, failed when one is dead and nothing of
  /// the others goes on.
  static func settleLayerBuilds(_ store: any SQLTransaction) throws -> [BuildID] {
    var settled: [BuildID] = []
    for build in try layerBuilds(store).filter(\.isDecided) {
      try store.run("SELECT id FROM builds WHERE id = $1 {{for update}}", [.text(build.id)])
      // Who tries a layer again waits for this, or this for them.
      try store.run(
        """
        SELECT l.key FROM layers l WHERE (l.scope, l.key) IN
          (SELECT bl.scope, bl.layer_key FROM build_layers bl WHERE bl.build_id = $1) ORDER BY l.key {{for share}}
        """, [.text(build.id)])
      guard let build = try layerBuilds(store, only: build.id).first, build.isDecided else { continue }
      let event: BuildEvent = build.missing == 0 ? .requiredCellsGood : .settledWithFailure
      guard let next = BuildState.running.after(event)?.state else { continue }
      try store.run(
        """
        UPDATE builds SET state = $2, problem = $3, finished_at = CASE WHEN $4 = 1 THEN kiln_now() END WHERE id = $1
        """,
        [
          .text(build.id), .text(next.rawValue),
          .optional(build.missing == 0 ? nil : "\(build.failed) layers failed"), .flag(next.isSettled),
        ])
      settled.append(BuildID(text: build.id))
    }
    return settled
  }

  private struct LayerBuild {
    var id: String
    var missing: Int
    var failed: Int
    /// Layers that somebody works on.
    var open: Int
    var isDecided: Bool { missing == 0 || (failed > 0 && open == 0) }
  }

  private static func layerBuilds(_ store: any SQLTransaction, only build: String = "") throws -> [LayerBuild] {
    try store.run(
      """
      SELECT b.id AS id, sum(CASE WHEN l.state = 'available' THEN 0 ELSE 1 END) AS missing,
        sum(CASE WHEN l.state = 'failed' THEN 1 ELSE 0 END) AS failed,
        sum(CASE WHEN l.state = 'building' AND j.state NOT IN ('waiting', 'dead', 'cancelled') THEN 1 ELSE 0 END) AS open
      FROM builds b JOIN build_layers bl ON bl.build_id = b.id
        JOIN layers l ON l.scope = bl.scope AND l.key = bl.layer_key LEFT JOIN jobs j ON j.id = l.job_id
      WHERE b.state = 'running' AND ($1 = '' OR b.id = $1)
        AND NOT EXISTS (SELECT 1 FROM build_cells bc WHERE bc.build_id = b.id)
      GROUP BY b.id ORDER BY b.id
      """, [.text(build)]
    ).map {
      LayerBuild(
        id: try $0.text("id"), missing: try $0.int("missing"), failed: try $0.int("failed"), open: try $0.int("open"))
    }
  }

  /// What a build's cells came to stays with it, whoever tries them again. One that it did not wait for
  /// is still open.
  private static func keepCellStates(of build: String, _ store: any SQLTransaction) throws {
    let settled = CellState.allCases.filter(\.isSettled).map { "'\($0.rawValue)'" }.joined(separator: ", ")
    try store.run(
      """
      UPDATE build_cells SET state = (SELECT c.state FROM cells c
          WHERE c.scope = build_cells.scope AND c.key = build_cells.cell_key),
        record_id = (SELECT c.record_id FROM cells c
          WHERE c.scope = build_cells.scope AND c.key = build_cells.cell_key)
      WHERE build_id = $1 AND state IS NULL AND EXISTS (SELECT 1 FROM cells c
        WHERE c.scope = build_cells.scope AND c.key = build_cells.cell_key AND c.state IN (\(settled)))
      """, [.text(build)])
  }

  package func takePublishing(leaseSeconds: Double) async throws -> BuildToPublish? {
    try await engine.transaction { store in
      let rows = try store.run(
        """
        UPDATE builds SET publish_lease_until = kiln_now() + $1 WHERE id = (
          SELECT p.id FROM builds p WHERE p.state = 'publishing' AND coalesce(p.publish_lease_until, 0) <= kiln_now()
          ORDER BY p.sequence LIMIT 1 {{for update}} {{skip locked}})
        RETURNING id AS id, sequence AS sequence, scope AS scope
        """, [.milliseconds(leaseSeconds)])
      guard let row = rows.first else { return nil }
      let id = try row.text("id")
      let images = try store.run("SELECT images FROM build_images WHERE build_id = $1", [.text(id)])
      var finished: [CellKey: Digest] = [:]
      for cell in try store.run(
        """
        SELECT cell_key AS key, image AS image FROM build_cells
        WHERE build_id = $1 AND state IN ('passed', 'reused')
        """, [.text(id)])
      {
        finished[CellKey(text: try cell.text("key"))] = cell.digest("image")
      }
      return BuildToPublish(
        id: BuildID(text: id), sequence: try row.integer("sequence"), scope: Scope(text: try row.text("scope")),
        images: try StoredJSON.value(try images.first?.text("images") ?? "[]"), cellImages: finished)
    }
  }

  package func claimTag(repository: String, tag: String, sequence: Int64, digest: Digest) async throws -> TagRow {
    try await engine.transaction { store in
      try store.run(
        """
        INSERT INTO tags (repository, tag, sequence, digest) VALUES ($1, $2, $3, $4)
        ON CONFLICT (repository, tag) DO UPDATE SET sequence = excluded.sequence, digest = excluded.digest
          WHERE tags.sequence <= excluded.sequence
        """, [.text(repository), .text(tag), .integer(sequence), .text(digest.description)])
      guard let row = try Self.readTag(repository, tag, store) else {
        throw StoreError(.statement, "tag \(repository):\(tag) was not written")
      }
      return row
    }
  }

  package func tag(repository: String, tag: String) async throws -> TagRow? {
    try await engine.transaction { store in try Self.readTag(repository, tag, store) }
  }

  private static func readTag(_ repository: String, _ tag: String, _ store: any SQLTransaction) throws -> TagRow? {
    let rows = try store.run(
      "SELECT sequence, digest FROM tags WHERE repository = $1 AND tag = $2", [.text(repository), .text(tag)])
    guard let row = rows.first, let digest = row.digest("digest") else { return nil }
    return TagRow(sequence: try row.integer("sequence"), digest: digest)
  }

  package func finishPublishing(
    _ build: BuildID, _ event: BuildEvent, indexes: [PublishedIndex], problem: String?
  ) async throws {
    guard let next = BuildState.publishing.after(event)?.state else { return }
    try await engine.transaction { store in
      _ = try store.run(
        """
        UPDATE builds SET state = $2, published = $3, problem = $4, publish_lease_until = NULL, finished_at = kiln_now()
        WHERE id = $1 AND state = 'publishing'
        """, [.id(build), .text(next.rawValue), .text(try StoredJSON.text(indexes)), .optional(problem)])
    }
    await engine.notify("work")
  }

  // MARK: Effects outside

  package func takeEffects(limit: Int, leaseSeconds: Double) async throws -> [OutboxEffect] {
    try await engine.transaction { store in
      try store.run(
        """
        UPDATE outbox SET due_at = kiln_now() + $2 WHERE id IN (
          SELECT o.id FROM outbox o WHERE o.due_at <= kiln_now() ORDER BY o.id LIMIT $1 {{for update}} {{skip locked}})
        RETURNING id AS id, kind AS kind, payload AS payload
        """, [.int(limit), .milliseconds(leaseSeconds)]
      ).compactMap { row in
        let id = try row.integer("id")
        do {
          return OutboxEffect(id: id, kind: try Self.effect(try row.text("kind"), try row.text("payload")))
        } catch let error as StoreError {
          // It stays, for a Kiln that knows it; those behind it go on.
          try store.run(
            "UPDATE outbox SET failures = failures + 1, problem = $2 WHERE id = $1",
            [.integer(id), .text(error.message)])
          return nil
        }
      }.sorted { $0.id < $1.id }
    }
  }

  private static func effect(_ kind: String, _ payload: String) throws -> OutboxEffect.Kind {
    let parts = payload.split(separator: " ", maxSplits: kind == "tag-layer" ? 2 : 1).map(String.init)
    switch kind {
    case "tag-layer" where parts.count == 3:
      if let image = Digest(parts[2]) { return .tagLayer(Scope(text: parts[0]), tag: parts[1], image: image) }
    case "dead-letter" where parts.count == 2:
      return .deadLetter(pool: PoolName(text: parts[0]), try StoredJSON.value(parts[1]))
    default: break
    }
    throw StoreError(.schema, "effect '\(kind)' is unknown to this Kiln: it may be of a newer one")
  }

  package func effectDone(_ id: Int64) async throws {
    try await engine.transaction { store in _ = try store.run("DELETE FROM outbox WHERE id = $1", [.integer(id)]) }
  }

  package func effectFailed(_ id: Int64, retrySeconds: Double, reason: String) async throws {
    try await engine.transaction { store in
      _ = try store.run(
        "UPDATE outbox SET due_at = kiln_now() + $2, failures = failures + 1, problem = $3 WHERE id = $1",
        [.integer(id), .milliseconds(retrySeconds), .text(reason)])
    }
  }
}
