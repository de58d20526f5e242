package import Model

extension SQLRecordStore {
  private static var summaryColumns: String {
    "id, sequence, principal, scope, state, products, catalog_revision, created_at, finished_at, problem"
  }

  private static func summary(_ row: SQLRow) throws -> BuildSummary {
    BuildSummary(
      id: BuildID(text: try row.text("id")), sequence: try row.integer("sequence"),
      principal: Principal(text: try row.text("principal")), scope: Scope(text: try row.text("scope")),
      state: try row.state("state"), products: try row.text("products").split(separator: ",").map(String.init),
      catalogRevision: row.optionalText("catalog_revision"), createdAt: try row.time("created_at"),
      finishedAt: row.optionalTime("finished_at"), problem: row.optionalText("problem"))
  }

  package func builds(limit: Int, before: Int64?) async throws -> [BuildSummary] {
    try await engine.transaction { store in
      try store.run(
        "SELECT \(Self.summaryColumns) FROM builds WHERE sequence < $1 ORDER BY sequence DESC LIMIT $2",
        [.integer(before ?? .max), .int(limit)]
      ).map(Self.summary)
    }
  }

  package func build(_ id: BuildID) async throws -> BuildDetail? {
    try await engine.transaction { store in
      let rows = try store.run(
        """
        SELECT \(Self.summaryColumns), published, (SELECT images FROM build_images WHERE build_id = builds.id) AS images
        FROM builds WHERE id = $1
        """, [.id(id)])
      guard let row = rows.first else { return nil }
      return BuildDetail(
        summary: try Self.summary(row), images: try StoredJSON.value(row.optionalText("images") ?? "[]"),
        cells: try Self.cells(of: id, store), layers: try Self.layers(of: id, store),
        jobs: try Self.jobs(of: id, store), published: try StoredJSON.value(row.optionalText("published") ?? "[]"))
    }
  }

  private static func cells(of build: BuildID, _ store: any SQLTransaction) throws -> [CellStatus] {
    try store.run(
      """
      SELECT bc.cell_key AS key, bc.product AS product, bc.variant AS variant, bc.target AS target,
        bc.required AS required, coalesce(bc.state, c.state) AS state, c.job_id AS job_id, bc.image AS image,
        bc.record_id AS record_id, c.blocked_by AS blocked_by,
        (SELECT j.waits_on FROM jobs j WHERE j.id = c.job_id) AS waits_on
      FROM build_cells bc JOIN cells c ON c.scope = bc.scope AND c.key = bc.cell_key
      WHERE bc.build_id = $1 ORDER BY bc.product, bc.variant, bc.target
      """, [.id(build)]
    ).map { row in
      let state: CellState = try row.state("state")
      let reason: String? =
        switch state {
        case .reused: "record \(row.optionalText("record_id") ?? "?") passed and its image is still there"
        case .waiting: row.optionalText("waits_on").map { "waits for layer \($0.prefix(12))" }
        case .blocked: row.optionalText("blocked_by").map { "blocked by dead job \($0)" }
        default: nil
        }
      return CellStatus(
        key: CellKey(text: try row.text("key")), product: try row.text("product"), variant: try row.text("variant"),
        target: try StoredJSON.value(try row.text("target")), required: try row.flag("required"), state: state,
        reason: reason, job: state == .reused ? nil : row.optionalText("job_id").map(JobID.init(text:)),
        image: row.digest("image"))
    }
  }

  private static func layers(of build: BuildID, _ store: any SQLTransaction) throws -> [LayerStatus] {
    try store.run(
      """
      SELECT l.key AS key, l.title AS title, l.platform AS platform, l.state AS state, l.generation AS generation,
        l.image AS image, l.job_id AS job_id, l.cause AS cause, l.reproducible AS reproducible, bl.reused AS reused
      FROM build_layers bl JOIN layers l ON l.scope = bl.scope AND l.key = bl.layer_key
      WHERE bl.build_id = $1 ORDER BY l.platform, l.title, l.key
      """, [.id(build)]
    ).map { row in
      guard let platform = Platform(try row.text("platform")) else {
        throw StoreError(.statement, "layer \(try row.text("key")) has no platform")
      }
      return LayerStatus(
        key: LayerKey(text: try row.text("key")), title: try row.text("title"), platform: platform,
        state: try row.state("state"), generation: try row.int("generation"), image: row.digest("image"),
        job: row.optionalText("job_id").map(JobID.init(text:)), cause: try row.text("cause"),
        reused: try row.flag("reused"), reproducible: try row.flag("reproducible"))
    }
  }

  static var jobColumns: String {
    """
    j.id AS id, j.kind AS kind, j.title AS title, j.pool AS pool, j.state AS state, j.attempt AS attempt,
    j.failures AS failures, j.executor AS executor, j.cause AS cause, j.created_at AS created_at, j.due_at AS due_at,
    CASE WHEN j.state IN ('ready', 'queued') AND NOT EXISTS (SELECT 1 FROM executors e
      WHERE e.pool = j.pool AND e.last_seen > kiln_now() - 60000) THEN 1 ELSE 0 END AS lacks_executor,
    (SELECT a.failure FROM attempts a WHERE a.job_id = j.id AND a.failure IS NOT NULL ORDER BY a.attempt DESC LIMIT 1)
      AS failure
    """
  }

  private static func jobs(of build: BuildID, _ store: any SQLTransaction) throws -> [JobSummary] {
    try store.run(
      """
      SELECT \(jobColumns) FROM jobs j WHERE j.id IN (
        SELECT l.job_id FROM build_layers bl JOIN layers l ON l.scope = bl.scope AND l.key = bl.layer_key
          WHERE bl.build_id = $1 AND bl.reused = 0
        UNION SELECT c.job_id FROM build_cells bc JOIN cells c ON c.scope = bc.scope AND c.key = bc.cell_key
          WHERE bc.build_id = $1 AND coalesce(bc.state, '') <> 'reused')
      ORDER BY j.id
      """, [.id(build)]
    ).map(jobSummary)
  }

  static func jobSummary(_ row: SQLRow) throws -> JobSummary {
    JobSummary(
      id: JobID(text: try row.text("id")), kind: try row.state("kind", JobKind.self), title: try row.text("title"),
      pool: PoolName(text: try row.text("pool")), state: try row.state("state"), attempt: try row.int("attempt"),
      failures: try row.int("failures"), executor: row.optionalText("executor").map(ExecutorName.init(text:)),
      cause: try row.text("cause"), createdAt: try row.time("created_at"), dueAt: row.optionalTime("due_at"),
      lacksExecutor: try row.flag("lacks_executor"),
      failure: try row.optionalText("failure").map { try StoredJSON.value($0) })
  }

  package func job(_ id: JobID) async throws -> JobDetail? {
    try await engine.transaction { store in
      let rows = try store.run(
        "SELECT \(Self.jobColumns), j.layer_key AS layer_key, j.cell_key AS cell_key, j.waits_on AS waits_on FROM jobs j WHERE j.id = $1",
        [.id(id)])
      guard let row = rows.first else { return nil }
      let attempts = try store.run(
        "SELECT attempt, executor, started_at, ended_at, outcome, failure FROM attempts WHERE job_id = $1 ORDER BY attempt",
        [.id(id)]
      ).map { row in
        AttemptSummary(
          attempt: try row.int("attempt"), executor: ExecutorName(text: try row.text("executor")),
          startedAt: try row.time("started_at"), endedAt: row.optionalTime("ended_at"),
          outcome: row.optionalText("outcome"),
          failure: try row.optionalText("failure").map { try StoredJSON.value($0) })
      }
      return JobDetail(
        summary: try Self.jobSummary(row), attempts: attempts,
        layer: row.optionalText("layer_key").map(LayerKey.init(text:)),
        cell: row.optionalText("cell_key").map(CellKey.init(text:)),
        waitsOn: row.optionalText("waits_on").map(LayerKey.init(text:)))
    }
  }

  package func records(_ filter: RecordFilter, limit: Int, after: String?) async throws -> [StoredRecord] {
    try await engine.transaction { store in
      let rows = try store.run(
        """
        SELECT id, job_id, attempt, generation, record FROM records
        WHERE ($1 = '' OR product = $1) AND ($2 = '' OR platform = $2) AND ($3 = '' OR id < $3)
        ORDER BY id DESC LIMIT $4
        """,
        [
          .text(filter.product ?? ""), .text(filter.platform?.description ?? ""), .text(after ?? ""),
          .int(filter.fragments.isEmpty ? limit : 10_000),
        ])
      return try rows.map { row in
        StoredRecord(
          id: try row.text("id"), job: JobID(text: try row.text("job_id")), attempt: try row.int("attempt"),
          generation: try row.int("generation"), record: try StoredJSON.value(try row.text("record")))
      }.filter { stored in filter.fragments.allSatisfy(stored.record.fragments.contains) }.prefix(limit).map { $0 }
    }
  }

  package func evidence(_ job: JobID, attempt: Int?, afterSequence: Int, limit: Int) async throws -> EvidencePage {
    try await engine.transaction { store in
      let rows = try store.run(
        """
        SELECT j.state AS state, a.attempt AS attempt, a.outcome AS outcome FROM jobs j
        LEFT JOIN attempts a ON a.job_id = j.id WHERE j.id = $1 ORDER BY a.attempt DESC
        """, [.id(job)])
      guard let first = rows.first else { throw StoreError(.refused, "there is no job \(job)") }
      let state: JobState = try first.state("state")
      let wanted = attempt.map(Int64.init) ?? first.optionalInteger("attempt") ?? 0
      let closed = rows.first { $0.optionalInteger("attempt") == wanted }?.optionalText("outcome") != nil
      let chunks = try store.run(
        """
        SELECT sequence, stream, bytes FROM evidence WHERE job_id = $1 AND attempt = $2 AND sequence > $3
        ORDER BY sequence LIMIT $4
        """, [.id(job), .integer(wanted), .int(afterSequence), .int(limit)]
      ).map { row in
        EvidenceChunk(
          stream: try row.state("stream"), sequence: try row.int("sequence"), bytes: try row.bytes("bytes"))
      }
      return EvidencePage(attempt: Int(wanted), chunks: chunks, isClosed: closed, isFinal: state.isFinal)
    }
  }

  package func executors() async throws -> [ExecutorStatus] {
    try await engine.transaction { store in
      try store.run(
        """
        SELECT e.name AS name, e.pool AS pool, e.slots AS slots, e.host AS host, kiln_now() - e.last_seen AS age,
          (SELECT count(*) FROM jobs j WHERE j.executor = e.name AND j.state = 'running') AS running
        FROM executors e ORDER BY e.pool, e.name
        """
      ).map { row in
        ExecutorStatus(
          name: ExecutorName(text: try row.text("name")), pool: PoolName(text: try row.text("pool")),
          slots: try row.int("slots"), running: try row.int("running"),
          host: try StoredJSON.value(try row.text("host")),
          lastSeenSecondsAgo: Double(try row.integer("age")) / 1000)
      }
    }
  }
}
