internal import Model

/// What executors may do, statement by statement. Arguments 1 to 3 are always the fence: job,
/// attempt, nonce (but for `claim` and `announce`). States come from the state tables in Model.
///
/// Lock order everywhere: pool, build, layers by key, cells, jobs by id. A completion therefore locks
/// the layer's or the cell's row first; then it ends the job where the fence still holds; everything
/// later happens only if that was so. What waits is released in a later statement than the one that
/// updates the layer, so that it sees demand that was attached meanwhile.
extension Procedure {
  /// Every one, in the order in which a database gets to know them.
  package static let all: [Procedure] = [
    announce, claim, heartbeat, appendEvidence, completeLayer, completeCell, fail, giveBack, parentLost,
  ]

  static func states(_ event: JobEvent) -> String { list(JobState.sources(of: event).map(\.rawValue)) }
  static func state(_ from: JobState, _ event: JobEvent) -> String {
    "'\(from.after(event)?.state.rawValue ?? from.rawValue)'"
  }
  static func list(_ words: [String]) -> String { "(" + words.map { "'\($0)'" }.joined(separator: ", ") + ")" }

  private static let fenced: [ArgumentType] = [.text, .bigint, .text]
  private static let granted: [(name: String, type: ArgumentType)] = [("granted", .bigint)]

  /// The fence holds: this attempt is the job's, and open.
  private static let holds = "id = $1 AND attempt = $2 AND nonce = $3 AND state = 'running'"

  /// This very attempt ended so; also true when the same call is made again.
  private static func ended(_ outcomes: String...) -> String {
    """
    SELECT count(*) AS granted FROM attempts
    WHERE job_id = $1 AND attempt = $2 AND nonce = $3 AND outcome IN \(list(outcomes))
    """
  }

  private static func wasEnded(_ outcome: String) -> String {
    """
    EXISTS (SELECT 1 FROM attempts a WHERE a.job_id = $1 AND a.attempt = $2 AND a.nonce = $3
      AND a.outcome = '\(outcome)' AND a.ended_at IS NULL)
    """
  }

  /// Of a layer's image: a generation that is being built has none yet.
  private static func imageGeneration(_ layer: String) -> String {
    "CASE WHEN \(layer).state = 'building' THEN \(layer).generation - 1 ELSE \(layer).generation END"
  }

  private static let lockLayer = """
    SELECT l.key FROM layers l WHERE (l.scope, l.key) IN
      (SELECT j.scope, j.layer_key FROM jobs j WHERE j.id = $1) {{for update}}
    """
  /// Also what those who wait on it will graft: neither may end unseen by the other.
  private static let lockLayerAndGrafts = """
    SELECT l.key FROM layers l WHERE (l.scope, l.key) IN (
      SELECT j.scope, j.layer_key FROM jobs j WHERE j.id = $1
      UNION SELECT w.scope, w.grafts FROM jobs j JOIN jobs w ON w.scope = j.scope AND w.waits_on = j.layer_key
        WHERE j.id = $1 AND w.state = 'waiting' AND w.grafts IS NOT NULL) ORDER BY l.key {{for update}}
    """
  private static let lockCell = """
    SELECT c.key FROM cells c WHERE (c.scope, c.key) IN
      (SELECT j.scope, j.cell_key FROM jobs j WHERE j.id = $1) {{for update}}
    """

  /// Ends the attempt in two steps: `outcome` first, where the job allowed it; `ended_at` last, when
  /// everything that follows from it is written. A repeated call finds `ended_at` set and changes nothing.
  private static func openEnd(_ outcome: String, jobState: String) -> String {
    """
    UPDATE attempts SET outcome = '\(outcome)'
    WHERE job_id = $1 AND attempt = $2 AND nonce = $3 AND outcome IS NULL
      AND EXISTS (SELECT 1 FROM jobs WHERE id = $1 AND attempt = $2 AND nonce = $3 AND state = \(jobState))
    """
  }
  private static func closeEnd(_ outcome: String, result: String, failure: String) -> String {
    """
    UPDATE attempts SET ended_at = kiln_now(), result = \(result), failure = \(failure),
      chunks = (SELECT count(*) FROM evidence e WHERE e.job_id = $1 AND e.attempt = $2)
    WHERE job_id = $1 AND attempt = $2 AND nonce = $3 AND outcome = '\(outcome)' AND ended_at IS NULL
    """
  }

  /// Where nobody wants the job any more, whatever else its attempt came to: instead of what `otherwise`
  /// does to the job, it is cancelled. First statements of an end that is no success.
  private static func endUnlessCancelled(_ otherwise: String) -> [String] {
    [
      """
      UPDATE jobs SET state = \(state(.running, .demandGone)), lease_until = NULL, finished_at = kiln_now()
      WHERE \(holds) AND cancel_requested = 1
      """,
      openEnd("cancelled", jobState: "'cancelled'"),
      """
      UPDATE layers SET state = 'idle', updated_at = kiln_now()
      WHERE job_id = $1 AND state = 'building' AND \(wasEnded("cancelled"))
      """,
      """
      UPDATE cells SET state = 'cancelled', updated_at = kiln_now()
      WHERE job_id = $1 AND state IN \(list(CellState.sources(of: .cancel).map(\.rawValue))) AND \(wasEnded("cancelled"))
      """,
      closeEnd("cancelled", result: "NULL", failure: "NULL"),
      otherwise,
    ]
  }

  package static let announce = Procedure(
    name: "announce", arguments: [.text, .text, .bigint, .text], result: granted,
    statements: [
      """
      INSERT INTO executors (name, pool, slots, host, last_seen) VALUES ($1, $2, $3, $4, kiln_now())
      ON CONFLICT (name) DO UPDATE SET pool = excluded.pool, slots = excluded.slots, host = excluded.host,
        last_seen = excluded.last_seen
      """,
      "SELECT count(*) AS granted FROM executors WHERE name = $1",
    ])

  /// Of a job `j`.
  static func failures(_ failureClass: FailureClass) -> String {
    """
    (SELECT count(*) FROM attempts f WHERE f.job_id = j.id AND f.outcome = 'failed'
      AND coalesce(f.failure_class, '\(FailureClass.infrastructure.rawValue)') = '\(failureClass.rawValue)')
    """
  }

  /// Executor `$2` met a fault of its own at the job, and another of the pool is there.
  private static let isForOthers = """
    coalesce(avoid, '') = $2 AND EXISTS (SELECT 1 FROM executors e
      WHERE e.pool = jobs.pool AND e.name <> $2 AND e.last_seen > kiln_now() - 60000)
    """

  /// job, executor, nonce, lease in milliseconds. One row if the job exists.
  package static let claim = Procedure(
    name: "claim", arguments: [.text, .text, .text, .bigint],
    result: [
      ("state", .text), ("holder", .text), ("holder_nonce", .text), ("attempt", .bigint), ("generation", .bigint),
      ("failures", .bigint), ("infrastructure_failures", .bigint), ("build_failures", .bigint),
      ("test_failures", .bigint), ("scope", .text),
      ("spec", .text), ("parent_image", .text), ("parent_generation", .bigint),
      ("graft_image", .text), ("graft_generation", .bigint),
    ],
    statements: [
      """
      UPDATE jobs SET state = 'running', attempt = attempt + 1, nonce = $3, executor = $2,
        lease_until = kiln_now() + $4, publish_lease_until = NULL, due_at = NULL, avoid = NULL
      WHERE id = $1 AND state IN \(states(.claim)) AND NOT (\(isForOthers))
        AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.job_id = $1 AND a.nonce = $3)
      """,
      // It is published again; this once it was left to the others. Its message is gone: a mark that comes late
      // must not say that it is queued.
      """
      UPDATE jobs SET state = \(state(.queued, .ghost)), queued_at = NULL, avoid = NULL, dispatch = dispatch + 1,
        publish_lease_until = kiln_now() + 1000
      WHERE id = $1 AND state IN \(states(.claim)) AND \(isForOthers)
      """,
      """
      INSERT INTO attempts (job_id, attempt, nonce, executor, started_at)
      SELECT id, attempt, nonce, executor, kiln_now() FROM jobs WHERE id = $1 AND state = 'running' AND nonce = $3
      ON CONFLICT (job_id, attempt) DO NOTHING
      """,
      // Asked again, for the answer got lost.
      "UPDATE jobs SET lease_until = kiln_now() + $4 WHERE id = $1 AND state = 'running' AND nonce = $3",
      "UPDATE executors SET last_seen = kiln_now() WHERE name = $2",
      """
      SELECT j.state AS state, j.executor AS holder, j.nonce AS holder_nonce, j.attempt AS attempt,
        j.generation AS generation, j.failures AS failures, \(failures(.infrastructure)) AS infrastructure_failures,
        \(failures(.build)) AS build_failures, \(failures(.test)) AS test_failures, j.scope AS scope, s.spec AS spec,
        (SELECT l.image FROM layers l WHERE l.scope = j.scope AND l.key = j.stands_on) AS parent_image,
        (SELECT \(imageGeneration("l")) FROM layers l WHERE l.scope = j.scope AND l.key = j.stands_on)
          AS parent_generation,
        (SELECT g.image FROM layers g WHERE g.scope = j.scope AND g.key = j.grafts) AS graft_image,
        (SELECT \(imageGeneration("g")) FROM layers g WHERE g.scope = j.scope AND g.key = j.grafts) AS graft_generation
      FROM jobs j JOIN job_specs s ON s.job_id = j.id WHERE j.id = $1
      """,
    ])

  /// …, lease in milliseconds. No row: stale.
  package static let heartbeat = Procedure(
    name: "heartbeat", arguments: fenced + [.bigint], result: [("cancel_requested", .bigint)],
    statements: [
      "UPDATE jobs SET lease_until = kiln_now() + $4 WHERE \(holds) RETURNING cancel_requested AS cancel_requested"
    ])

  /// …, sequence, stream, bytes.
  package static let appendEvidence = Procedure(
    name: "append_evidence", arguments: fenced + [.bigint, .text, .bytea], result: granted,
    statements: [
      """
      INSERT INTO evidence (job_id, attempt, sequence, stream, bytes, created_at)
      SELECT id, attempt, $4, $5, $6, kiln_now() FROM jobs WHERE \(holds)
      ON CONFLICT (job_id, attempt, sequence) DO NOTHING
      """,
      """
      SELECT count(*) AS granted FROM evidence e JOIN attempts a ON a.job_id = e.job_id AND a.attempt = e.attempt
      WHERE e.job_id = $1 AND e.attempt = $2 AND e.sequence = $4 AND a.nonce = $3
      """,
    ])

  /// …, image, result as JSON.
  package static let completeLayer = Procedure(
    name: "complete_layer", arguments: fenced + [.text, .text], result: granted,
    statements: [
      // Twice: the first may have waited for a submission that it cannot see yet, and what is attached to
      // its own layer can be no more after it.
      lockLayerAndGrafts, lockLayerAndGrafts,
      """
      UPDATE jobs SET state = \(state(.running, .commit)), lease_until = NULL, finished_at = kiln_now()
      WHERE \(holds) AND kind = 'layer'
      """,
      openEnd("succeeded", jobState: "'succeeded'"),
      """
      UPDATE layers SET state = 'available', image = $4, updated_at = kiln_now(),
        first_image = coalesce(first_image, $4),
        reproducible = CASE WHEN coalesce(first_image, $4) = $4 THEN reproducible ELSE 0 END
      WHERE job_id = $1 AND state = 'building' AND \(wasEnded("succeeded"))
      """,
      // What is neither there nor under way, the attempt will report as lost.
      """
      UPDATE jobs SET waits_on = grafts
      WHERE id IN (SELECT w.id FROM jobs w WHERE w.state = 'waiting' AND w.waits_on <> w.grafts
        AND (w.scope, w.waits_on) IN (SELECT j.scope, j.layer_key FROM jobs j WHERE j.id = $1)
        AND EXISTS (SELECT 1 FROM layers g WHERE g.scope = w.scope AND g.key = w.grafts AND g.state = 'building')
        AND \(wasEnded("succeeded")) ORDER BY w.id {{for update}})
      """,
      release(layer: "SELECT j.scope, j.layer_key FROM jobs j WHERE j.id = $1", onlyIf: wasEnded("succeeded")),
      finishCells(layer: "SELECT j.scope, j.layer_key FROM jobs j WHERE j.id = $1", onlyIf: wasEnded("succeeded")),
      """
      INSERT INTO outbox (kind, identifier, payload, due_at)
      SELECT 'tag-layer', 'tag:' || j.id, j.scope || ' layer-' || j.layer_key || '-g' || j.generation || ' ' || $4, kiln_now()
      FROM jobs j WHERE j.id = $1 AND \(wasEnded("succeeded"))
      ON CONFLICT (identifier) DO NOTHING
      """,
      closeEnd("succeeded", result: "$5", failure: "NULL"),
      ended("succeeded"),
    ])

  /// What waits on a layer that became available is ready.
  static func release(layer: String, onlyIf condition: String) -> String {
    """
    UPDATE jobs SET state = \(state(.waiting, .parentAvailable)), waits_on = NULL
    WHERE id IN (SELECT w.id FROM jobs w WHERE w.state = 'waiting' AND (w.scope, w.waits_on) IN (\(layer))
      AND \(condition) ORDER BY w.id {{for update}})
    """
  }

  /// Cells whose finishing job may run are finishing, also where something failed that they need no more.
  static func finishCells(layer: String, onlyIf condition: String) -> String {
    """
    UPDATE cells SET state = 'finishing', blocked_by = NULL, updated_at = kiln_now()
    WHERE state IN ('waiting', 'blocked') AND \(condition)
      AND (scope, key) IN (SELECT p.scope, p.cell_key FROM cell_layers p WHERE (p.scope, p.layer_key) IN (\(layer)))
      AND job_id IN (SELECT f.id FROM jobs f WHERE f.id = cells.job_id AND f.state IN ('ready', 'queued', 'running'))
    """
  }

  /// …, image, record's identifier, record as JSON.
  package static let completeCell = Procedure(
    name: "complete_cell", arguments: fenced + [.text, .text, .text, .text, .text], result: granted,
    statements: [
      lockCell,
      """
      UPDATE jobs SET state = \(state(.running, .commit)), lease_until = NULL, finished_at = kiln_now()
      WHERE \(holds) AND kind = 'finish'
      """,
      openEnd("succeeded", jobState: "'succeeded'"),
      insertRecord(verdict: "passed", onlyIf: wasEnded("succeeded")),
      """
      UPDATE cells SET state = 'passed', record_id = $5, image = $4, updated_at = kiln_now()
      WHERE job_id = $1 AND state IN ('finishing', 'waiting') AND \(wasEnded("succeeded"))
      """,
      """
      UPDATE build_cells SET state = 'passed', record_id = $5, image = $4
      WHERE state IS NULL AND \(wasEnded("succeeded")) AND (scope, cell_key) IN
        (SELECT c.scope, c.key FROM cells c WHERE c.job_id = $1 AND c.state = 'passed')
      """,
      closeEnd("succeeded", result: "NULL", failure: "NULL"),
      ended("succeeded"),
    ])

  /// image $4, identifier $5, record $6, product $7, platform $8.
  private static func insertRecord(verdict: String, onlyIf condition: String) -> String {
    """
    INSERT INTO records (id, scope, cell_key, generation, job_id, attempt, product, platform, verdict, image, record,
      created_at)
    SELECT $5, j.scope, j.cell_key, j.generation, j.id, j.attempt, $7, $8, '\(verdict)', $4, $6, kiln_now()
    FROM jobs j WHERE j.id = $1 AND j.cell_key IS NOT NULL AND \(condition)
    ON CONFLICT (id) DO NOTHING
    """
  }

  /// …, image, record's identifier, record, product, platform (empty without a record), outcome
  /// ('delayed' or 'dead'), delay in milliseconds, failure as JSON, 1 to act only if the lease is out,
  /// dead letter as JSON, the failure's fingerprint and class.
  package static let fail = Procedure(
    name: "fail",
    arguments: fenced + [.text, .text, .text, .text, .text, .text, .bigint, .text, .bigint, .text, .text, .text],
    result: granted,
    statements: [lockLayer, lockCell]
      + endUnlessCancelled(
        """
        UPDATE jobs SET state = $9, failures = failures + 1, lease_until = NULL,
          avoid = CASE WHEN $15 = '\(FailureClass.infrastructure.rawValue)' THEN executor END,
          due_at = CASE WHEN $9 = 'delayed' THEN kiln_now() + $10 END,
          finished_at = CASE WHEN $9 = 'dead' THEN kiln_now() END
        WHERE \(holds) AND $9 IN ('delayed', 'dead') AND ($12 = 0 OR lease_until < kiln_now())
        """) + [
        openEnd("failed", jobState: "$9"),
        """
        UPDATE layers SET state = 'failed', failed_at = kiln_now(), updated_at = kiln_now()
        WHERE $9 = 'dead' AND job_id = $1 AND state = 'building' AND \(wasEnded("failed"))
        """,
        """
        UPDATE cells SET state = 'blocked', updated_at = kiln_now(), blocked_by = $1
        WHERE $9 = 'dead' AND state = 'waiting' AND \(wasEnded("failed"))
          AND (scope, key) IN (SELECT p.scope, p.cell_key FROM cell_layers p JOIN jobs j
            ON j.scope = p.scope AND j.layer_key = p.layer_key WHERE j.id = $1)
        """,
        insertFailedRecord,
        """
        UPDATE cells SET state = 'failed', updated_at = kiln_now(), record_id = CASE WHEN $5 = '' THEN NULL ELSE $5 END
        WHERE $9 = 'dead' AND job_id = $1 AND state = 'finishing' AND \(wasEnded("failed"))
        """,
        """
        INSERT INTO dead_letters (identifier, pool, job_id, failure, fingerprint, created_at)
        SELECT 'dead:' || j.id || ':' || j.attempt, j.pool, j.id, $11, $14, kiln_now() FROM jobs j
        WHERE j.id = $1 AND $9 = 'dead' AND \(wasEnded("failed"))
        ON CONFLICT (identifier) DO NOTHING
        """,
        """
        INSERT INTO outbox (kind, identifier, payload, due_at)
        SELECT 'dead-letter', 'dead:' || j.id || ':' || j.attempt, j.pool || ' ' || $13, kiln_now() FROM jobs j
        WHERE j.id = $1 AND $9 = 'dead' AND \(wasEnded("failed"))
        ON CONFLICT (identifier) DO NOTHING
        """,
        """
        UPDATE attempts SET failure_class = $15
        WHERE job_id = $1 AND attempt = $2 AND nonce = $3 AND outcome = 'failed' AND ended_at IS NULL
        """,
        closeEnd("failed", result: "NULL", failure: "$11"),
        ended("failed", "cancelled"),
      ])

  private static let insertFailedRecord =
    insertRecord(verdict: "failed", onlyIf: "$9 = 'dead' AND $5 <> '' AND " + wasEnded("failed"))

  /// …, reason.
  package static let giveBack = Procedure(
    name: "give_back", arguments: fenced + [.text], result: granted,
    statements: [lockLayer, lockCell]
      + endUnlessCancelled(
        "UPDATE jobs SET state = \(state(.running, .givenBack)), lease_until = NULL, dispatch = dispatch + 1 WHERE \(holds)"
      )
      + [
        openEnd("given-back", jobState: "'ready'"),
        closeEnd("given-back", result: "$4", failure: "NULL"),
        ended("given-back", "cancelled"),
      ])

  /// Layer `l`, of which generation `$5` is lost: nobody has seen to it yet, or nobody does any more.
  private static let isToBeBuilt = """
    (l.state IN \(layers(that: .startGeneration)) OR l.state = 'available' AND l.generation = $5)
    """

  /// The states in which demand makes a layer do that.
  private static func layers(that action: LayerAction) -> String {
    list(LayerState.allCases.filter { $0.after(.demand)?.actions.contains(action) ?? false }.map(\.rawValue))
  }

  /// …, identifier for the layer's new job, generation whose image is gone, the layer: what the job
  /// stands on, or what it grafts. The layer is built again from its last job's spec. Where somebody else
  /// saw to that already, the job only waits, or is ready where that is over; where somebody else's try was
  /// cancelled, it is made again.
  package static let parentLost = Procedure(
    name: "parent_lost", arguments: fenced + [.text, .bigint, .text], result: granted,
    statements: [
      """
      SELECT l.key FROM layers l WHERE (l.scope, l.key) IN (
        SELECT j.scope, $6 FROM jobs j WHERE j.id = $1
        UNION SELECT j.scope, j.layer_key FROM jobs j WHERE j.id = $1) ORDER BY l.key {{for update}}
      """,
      lockCell,
    ]
      + endUnlessCancelled(
        """
        UPDATE jobs SET state = \(state(.running, .parentLost)), waits_on = $6, lease_until = NULL
        WHERE \(holds) AND $6 IN (stands_on, grafts)
        """) + [
        openEnd("parent-lost", jobState: "'waiting'"),
        // Should what is grafted fail, these cells are blocked by it.
        """
        INSERT INTO cell_layers (scope, cell_key, layer_key)
        SELECT p.scope, p.cell_key, j.grafts FROM cell_layers p JOIN jobs j
          ON j.scope = p.scope AND j.layer_key = p.layer_key
        WHERE j.id = $1 AND j.grafts IS NOT NULL AND \(wasEnded("parent-lost"))
        ON CONFLICT DO NOTHING
        """,
        """
        INSERT INTO job_specs (job_id, spec)
        SELECT $4, s.spec FROM layers l JOIN job_specs s ON s.job_id = l.job_id
        WHERE \(isToBeBuilt)
          AND (l.scope, l.key) IN (SELECT j.scope, j.waits_on FROM jobs j WHERE j.id = $1) AND \(wasEnded("parent-lost"))
        ON CONFLICT (job_id) DO NOTHING
        """,
        """
        INSERT INTO jobs (id, scope, kind, pool, state, title, generation, layer_key, stands_on, grafts, priority,
          build_sequence, height, attempt, cause, created_at)
        SELECT $4, p.scope, p.kind, p.pool, 'ready', p.title, l.generation + 1, p.layer_key, p.stands_on, p.grafts,
          c.priority, c.build_sequence, p.height, p.attempt,
          CASE l.state WHEN 'available' THEN 'its image is gone from the registry (found by job ' || c.id || ')'
            ELSE 'the job before (' || p.id || ') was cancelled' END,
          kiln_now()
        FROM jobs c JOIN layers l ON l.scope = c.scope AND l.key = c.waits_on JOIN jobs p ON p.id = l.job_id
        WHERE c.id = $1 AND \(isToBeBuilt) AND \(wasEnded("parent-lost"))
        ON CONFLICT (id) DO NOTHING
        """,
        """
        UPDATE layers SET state = 'building', generation = generation + 1, job_id = $4, updated_at = kiln_now(),
          cause = (SELECT n.cause FROM jobs n WHERE n.id = $4)
        WHERE state <> 'building' AND (scope, key) IN (SELECT j.scope, j.waits_on FROM jobs j WHERE j.id = $1)
          AND EXISTS (SELECT 1 FROM jobs n WHERE n.id = $4) AND \(wasEnded("parent-lost"))
        """,
        """
        UPDATE jobs SET state = \(state(.waiting, .parentAvailable)), waits_on = NULL
        WHERE id = $1 AND state = 'waiting' AND \(wasEnded("parent-lost")) AND (scope, waits_on) IN
          (SELECT l.scope, l.key FROM layers l WHERE l.state = 'available')
        """,
        """
        UPDATE cells SET state = 'waiting', updated_at = kiln_now()
        WHERE job_id = $1 AND state = 'finishing' AND \(wasEnded("parent-lost"))
          AND EXISTS (SELECT 1 FROM jobs w WHERE w.id = $1 AND w.state = 'waiting')
        """,
        // Somebody found out before, and building it again has failed since.
        """
        UPDATE cells SET state = 'blocked', updated_at = kiln_now(),
          blocked_by = (SELECT f.job_id FROM jobs j JOIN layers f ON f.scope = j.scope AND f.key = j.waits_on WHERE j.id = $1)
        WHERE state = 'waiting' AND \(wasEnded("parent-lost"))
          AND (scope, key) IN (SELECT p.scope, p.cell_key FROM cell_layers p JOIN jobs j
            ON j.scope = p.scope AND j.waits_on = p.layer_key WHERE j.id = $1)
          AND EXISTS (SELECT 1 FROM jobs j JOIN layers f ON f.scope = j.scope AND f.key = j.waits_on
            WHERE j.id = $1 AND f.state = 'failed')
        """,
        closeEnd("parent-lost", result: "NULL", failure: "NULL"),
        ended("parent-lost", "cancelled"),
      ])
}
