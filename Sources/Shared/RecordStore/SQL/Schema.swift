/// The tables. A cell's row says how it stands now, for every build; `build_cells` keeps what one build
/// counts on (`state` stays NULL while that is open), whatever happens to the cell later.
/// Times are milliseconds since 1970 by the store's clock; booleans are 0 and 1; what is
/// large (plans, specs, evidence) is kept out of the rows that scheduling reads.
package enum Schema {
  package enum Dialect: Sendable {
    case sqlite, postgres
  }

  package static func migrations(_ dialect: Dialect) -> [Migration] {
    let identity =
      dialect == .sqlite ? "integer PRIMARY KEY AUTOINCREMENT" : "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    let statements = first.map { statement in
      statement.replacing("{{identity}}", with: identity)
    }
    return [
      Migration(version: 1, minCompatible: 1, statements: statements),
      Migration(version: 2, minCompatible: 2, statements: ["ALTER TABLE jobs ADD COLUMN grafts text"]),
      Migration(version: 3, minCompatible: 2, statements: failures),
    ]
  }

  private static let failures = [
    "ALTER TABLE attempts ADD COLUMN failure_class text",
    // Who failed last for a reason of its own, and shall not be the next if another can.
    "ALTER TABLE jobs ADD COLUMN avoid text",
    "ALTER TABLE dead_letters ADD COLUMN fingerprint text",
    "ALTER TABLE dead_letters ADD COLUMN state text NOT NULL DEFAULT 'open'",
    "ALTER TABLE dead_letters ADD COLUMN settled_at bigint",
    "ALTER TABLE dead_letters ADD COLUMN settled_by text",
    "ALTER TABLE dead_letters ADD COLUMN reason text",
    "CREATE INDEX dead_letters_open ON dead_letters (created_at) WHERE state = 'open'",
    "CREATE INDEX dead_letters_by_job ON dead_letters (job_id)",
  ]

  private static let first: [String] = [
    """
    CREATE TABLE pools (
      name text PRIMARY KEY,
      problem text,
      retry_at bigint)
    """,
    """
    CREATE TABLE builds (
      sequence {{identity}},
      id text NOT NULL UNIQUE,
      scope text NOT NULL,
      principal text NOT NULL,
      idempotency_key text NOT NULL,
      state text NOT NULL,
      priority bigint NOT NULL,
      products text NOT NULL,
      catalog_revision text,
      catalog_digest text NOT NULL,
      release text,
      problem text,
      published text,
      publish_lease_until bigint,
      created_at bigint NOT NULL,
      finished_at bigint,
      UNIQUE (principal, idempotency_key))
    """,
    "CREATE INDEX builds_open ON builds (state) WHERE state IN ('accepted', 'running', 'publishing', 'cancelling')",
    "CREATE TABLE build_images (build_id text PRIMARY KEY, images text NOT NULL)",
    """
    CREATE TABLE layers (
      scope text NOT NULL,
      key text NOT NULL,
      state text NOT NULL,
      generation bigint NOT NULL,
      job_id text,
      image text,
      first_image text,
      reproducible bigint NOT NULL DEFAULT 1,
      title text NOT NULL,
      platform text NOT NULL,
      parent_key text,
      cause text NOT NULL,
      failed_at bigint,
      updated_at bigint NOT NULL,
      PRIMARY KEY (scope, key))
    """,
    """
    CREATE TABLE build_layers (
      build_id text NOT NULL,
      scope text NOT NULL,
      layer_key text NOT NULL,
      reused bigint NOT NULL,
      PRIMARY KEY (build_id, layer_key))
    """,
    """
    CREATE TABLE cells (
      scope text NOT NULL,
      key text NOT NULL,
      state text NOT NULL,
      generation bigint NOT NULL,
      job_id text,
      record_id text,
      image text,
      blocked_by text,
      updated_at bigint NOT NULL,
      PRIMARY KEY (scope, key))
    """,
    """
    CREATE TABLE cell_layers (
      scope text NOT NULL,
      cell_key text NOT NULL,
      layer_key text NOT NULL,
      PRIMARY KEY (scope, cell_key, layer_key))
    """,
    "CREATE INDEX cell_layers_by_layer ON cell_layers (scope, layer_key)",
    """
    CREATE TABLE build_cells (
      build_id text NOT NULL,
      scope text NOT NULL,
      cell_key text NOT NULL,
      product text NOT NULL,
      variant text NOT NULL,
      target text NOT NULL,
      required bigint NOT NULL,
      state text,
      record_id text,
      image text,
      PRIMARY KEY (build_id, product, variant, cell_key))
    """,
    "CREATE INDEX build_cells_by_cell ON build_cells (scope, cell_key)",
    """
    CREATE TABLE jobs (
      id text PRIMARY KEY,
      scope text NOT NULL,
      kind text NOT NULL,
      pool text NOT NULL,
      state text NOT NULL,
      title text NOT NULL,
      generation bigint NOT NULL,
      layer_key text,
      cell_key text,
      stands_on text,
      waits_on text,
      priority bigint NOT NULL,
      build_sequence bigint NOT NULL,
      height bigint NOT NULL,
      dispatch bigint NOT NULL DEFAULT 0,
      publish_lease_until bigint,
      queued_at bigint,
      attempt bigint NOT NULL,
      failures bigint NOT NULL DEFAULT 0,
      nonce text,
      executor text,
      lease_until bigint,
      due_at bigint,
      cancel_requested bigint NOT NULL DEFAULT 0,
      cause text NOT NULL,
      created_at bigint NOT NULL,
      finished_at bigint)
    """,
    "CREATE INDEX jobs_ready ON jobs (pool, priority, build_sequence) WHERE state IN ('ready', 'queued')",
    "CREATE INDEX jobs_waiting ON jobs (scope, waits_on) WHERE state = 'waiting'",
    "CREATE INDEX jobs_leased ON jobs (lease_until) WHERE state = 'running'",
    "CREATE INDEX jobs_delayed ON jobs (due_at) WHERE state = 'delayed'",
    "CREATE TABLE job_specs (job_id text PRIMARY KEY, spec text NOT NULL)",
    """
    CREATE TABLE attempts (
      job_id text NOT NULL,
      attempt bigint NOT NULL,
      nonce text NOT NULL,
      executor text NOT NULL,
      started_at bigint NOT NULL,
      ended_at bigint,
      outcome text,
      failure text,
      result text,
      chunks bigint,
      PRIMARY KEY (job_id, attempt))
    """,
    """
    CREATE TABLE evidence (
      job_id text NOT NULL,
      attempt bigint NOT NULL,
      sequence bigint NOT NULL,
      stream text NOT NULL,
      bytes bytea NOT NULL,
      created_at bigint NOT NULL,
      PRIMARY KEY (job_id, attempt, sequence))
    """,
    """
    CREATE TABLE records (
      id text PRIMARY KEY,
      scope text NOT NULL,
      cell_key text NOT NULL,
      generation bigint NOT NULL,
      job_id text NOT NULL,
      attempt bigint NOT NULL,
      product text NOT NULL,
      platform text NOT NULL,
      verdict text NOT NULL,
      image text NOT NULL,
      record text NOT NULL,
      created_at bigint NOT NULL)
    """,
    "CREATE INDEX records_by_product ON records (product, platform, id)",
    """
    CREATE TABLE tags (
      repository text NOT NULL,
      tag text NOT NULL,
      sequence bigint NOT NULL,
      digest text NOT NULL,
      PRIMARY KEY (repository, tag))
    """,
    """
    CREATE TABLE outbox (
      id {{identity}},
      kind text NOT NULL,
      identifier text NOT NULL UNIQUE,
      payload text NOT NULL,
      due_at bigint NOT NULL,
      failures bigint NOT NULL DEFAULT 0,
      problem text)
    """,
    "CREATE INDEX outbox_due ON outbox (due_at)",
    """
    CREATE TABLE dead_letters (
      identifier text PRIMARY KEY,
      pool text NOT NULL,
      job_id text,
      failure text,
      bytes bytea,
      created_at bigint NOT NULL)
    """,
    """
    CREATE TABLE executors (
      name text PRIMARY KEY,
      pool text NOT NULL,
      slots bigint NOT NULL,
      host text NOT NULL,
      last_seen bigint NOT NULL)
    """,
  ]
}
