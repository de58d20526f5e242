import Foundation
package import Model

extension SQLRecordStore {
  package func context(of id: JobID) async throws -> JobContext? {
    guard let job = try await job(id) else { return nil }
    return try await engine.transaction { store in
      let rows = try store.run(
        "SELECT j.scope AS scope, j.build_sequence AS sequence, s.spec AS spec FROM jobs j JOIN job_specs s ON s.job_id = j.id WHERE j.id = $1",
        [.id(id)])
      guard let row = rows.first else { throw StoreError(.statement, "job \(id) has no spec") }
      let scope = SQLValue.text(try row.text("scope"))
      var context = JobContext(
        job: job, below: try Self.below(job.waitsOn, scope, store), pool: try Self.load(job.summary, store),
        layer: nil, previous: nil, parentTitles: [:])
      if case .layer(let layer) = try StoredJSON.value(try row.text("spec"), as: JobSpec.self) {
        context.layer = layer
        context.previous = try Self.previous(layer, before: try row.integer("sequence"), scope, store)
        for key in [layer.parentKey, context.previous?.parentKey].compactMap(\.self) {
          let found = try store.run("SELECT title FROM layers WHERE scope = $1 AND key = $2", [scope, .id(key)])
          context.parentTitles[key] = found.first?.optionalText("title")
        }
        if let key = layer.parentKey {
          let varying = "SELECT key FROM layers WHERE scope = $1 AND key = $2 AND reproducible = 0"
          context.parentVaries = try !store.run(varying, [scope, .id(key)]).isEmpty
        }
        context.built = try Self.built(id, store)
        context.earlierBuilders = try store.run(
          """
          SELECT DISTINCT a.executor AS executor FROM jobs now
          JOIN jobs j ON j.scope = now.scope AND j.layer_key = now.layer_key AND j.generation < now.generation
          JOIN attempts a ON a.job_id = j.id AND a.outcome = 'succeeded'
          WHERE now.id = $1 ORDER BY a.executor
          """, [.id(id)]
        ).map { ExecutorName(text: try $0.text("executor")) }
      }
      return context
    }
  }

  private static func built(_ job: JobID, _ store: any SQLTransaction) throws -> JobContext.Built? {
    let rows = try store.run(
      """
      SELECT a.executor AS executor, e.bytes AS bytes FROM evidence e
      JOIN attempts a ON a.job_id = e.job_id AND a.attempt = e.attempt
      WHERE e.job_id = $1 AND e.stream = $2 AND e.attempt = (
        SELECT max(attempt) FROM evidence WHERE job_id = $1 AND stream = $2)
      ORDER BY e.sequence
      """, [.id(job), .text(EvidenceChunk.Stream.steps.rawValue)])
    guard let executor = try rows.first?.text("executor") else { return nil }
    let bytes = try rows.flatMap { try $0.bytes("bytes") }
    // The last piece of an executor that was killed may be missing.
    guard let steps = try? JSONDecoder().decode([StepTiming].self, from: Data(bytes)) else { return nil }
    return JobContext.Built(executor: ExecutorName(text: executor), steps: steps)
  }

  private static func below(_ first: LayerKey?, _ scope: SQLValue, _ store: any SQLTransaction) throws
    -> [JobContext.Below]
  {
    var below: [JobContext.Below] = []
    var next = first
    while let key = next, !below.contains(where: { $0.layer == key }) {
      let rows = try store.run(
        "SELECT title, state, job_id FROM layers WHERE scope = $1 AND key = $2", [scope, .id(key)])
      guard let row = rows.first else { break }
      let jobs = try store.run(
        "SELECT \(jobColumns), j.waits_on AS waits_on FROM jobs j WHERE j.id = $1",
        [.optional(row.optionalText("job_id"))])
      below.append(
        JobContext.Below(
          layer: key, title: try row.text("title"), state: try row.state("state"), job: try jobs.first.map(jobSummary)))
      next = jobs.first?.optionalText("waits_on").map(LayerKey.init(text:))
    }
    return below
  }

  private static func load(_ job: JobSummary, _ store: any SQLTransaction) throws -> JobContext.PoolLoad {
    let rows = try store.run(
      """
      SELECT
        (SELECT count(*) FROM executors WHERE pool = $1 AND last_seen > kiln_now() - 60000) AS executors,
        (SELECT coalesce(sum(slots), 0) FROM executors WHERE pool = $1 AND last_seen > kiln_now() - 60000) AS slots,
        (SELECT count(*) FROM jobs WHERE pool = $1 AND state = 'running') AS running,
        (SELECT count(*) FROM jobs WHERE pool = $1 AND state = 'queued') AS queued,
        (SELECT count(*) FROM jobs o JOIN jobs j ON j.id = $2 WHERE o.pool = $1 AND o.state = 'ready' AND (
          o.priority > j.priority OR (o.priority = j.priority AND (o.build_sequence < j.build_sequence
            OR (o.build_sequence = j.build_sequence AND (o.height > j.height
              OR (o.height = j.height AND o.id < j.id))))))) AS ahead,
        (SELECT problem FROM pools WHERE name = $1 AND retry_at > kiln_now()) AS problem
      """, [.id(job.pool), .id(job.id)])
    guard let row = rows.first else { throw StoreError(.statement, "pool \(job.pool) has no load") }
    return JobContext.PoolLoad(
      executors: try row.int("executors"), slots: try row.int("slots"), running: try row.int("running"),
      queued: try row.int("queued"), ahead: try row.int("ahead"), problem: row.optionalText("problem"))
  }

  /// The newest layer of the same section on the same platform that an earlier build asked for, whatever its
  /// version.
  private static func previous(
    _ layer: PlannedLayer, before sequence: Int64, _ scope: SQLValue, _ store: any SQLTransaction
  ) throws -> PlannedLayer? {
    let (name, rest) = (layer.title.prefix { $0 != "@" }, layer.title.drop { $0 != "@" }.drop { $0 != " " })
    let rows = try store.run(
      """
      SELECT l.title AS title, s.spec AS spec FROM layers l JOIN job_specs s ON s.job_id = l.job_id
      WHERE l.scope = $1 AND l.platform = $2 AND l.key <> $3 AND substr(l.title, 1, length($4)) = $4
        AND (SELECT j.build_sequence FROM jobs j WHERE j.id = l.job_id) < $5
      ORDER BY l.updated_at DESC, l.key LIMIT 20
      """, [scope, .text(layer.platform.description), .id(layer.key), .text("\(name)@"), .integer(sequence)])
    for row in rows where try row.text("title").drop(while: { $0 != "@" }).drop(while: { $0 != " " }) == rest {
      if case .layer(let other) = try StoredJSON.value(try row.text("spec"), as: JobSpec.self) { return other }
    }
    return nil
  }
}
