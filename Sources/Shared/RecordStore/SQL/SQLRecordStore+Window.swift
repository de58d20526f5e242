package import Model

/// From ready to queued: a window per pool, not a flood.
extension SQLRecordStore {
  package func takeReady(pool: PoolName, extra: Int, publishLeaseSeconds: Double) async throws -> [JobMessage] {
    try await engine.transaction { store in
      // Most looks find nothing; they take no lock, which would cost a write.
      let ready = try store.run(
        """
        SELECT id FROM jobs WHERE pool = $1 AND state = 'ready' AND coalesce(publish_lease_until, 0) <= kiln_now() LIMIT 1
        """, [.id(pool)])
      if ready.isEmpty { return [] }
      try store.run(
        "INSERT INTO pools (name) VALUES ($1) ON CONFLICT (name) DO NOTHING", [.id(pool)])
      let locked = try store.run(
        "SELECT CASE WHEN coalesce(retry_at, 0) > kiln_now() THEN 1 ELSE 0 END AS backing_off FROM pools WHERE name = $1 {{for update}}",
        [.id(pool)])
      guard try locked.first?.flag("backing_off") == false else { return [] }
      let room = try self.room(in: pool, extra: extra, store)
      guard room > 0 else { return [] }
      let rows = try store.run(
        """
        UPDATE jobs SET dispatch = dispatch + 1, publish_lease_until = kiln_now() + $3
        WHERE id IN (SELECT r.id FROM jobs r
          WHERE r.pool = $1 AND r.state = 'ready' AND coalesce(r.publish_lease_until, 0) <= kiln_now()
          ORDER BY r.priority DESC, r.build_sequence, r.height DESC, r.id LIMIT $2 {{for update}} {{skip locked}})
        RETURNING id AS id, dispatch AS dispatch, priority AS priority, build_sequence AS build_sequence, height AS height
        """, [.id(pool), .int(room), .milliseconds(publishLeaseSeconds)])
      // RETURNING has no order of its own.
      let ordered = try rows.map { row in
        (
          try [-row.integer("priority"), row.integer("build_sequence"), -row.integer("height")],
          JobMessage(job: JobID(text: try row.text("id")), dispatch: try row.int("dispatch"))
        )
      }
      return ordered.sorted { left, right in
        left.0 == right.0 ? left.1.job < right.1.job : left.0.lexicographicallyPrecedes(right.0)
      }.map(\.1)
    }
  }

  /// Idle slots and a little more, less what is on its way already.
  private func room(in pool: PoolName, extra: Int, _ store: any SQLTransaction) throws -> Int {
    let rows = try store.run(
      """
      SELECT
        (SELECT coalesce(sum(slots), 0) FROM executors WHERE pool = $1 AND last_seen > kiln_now() - 60000) AS slots,
        (SELECT count(*) FROM jobs WHERE pool = $1 AND state = 'running') AS running,
        (SELECT count(*) FROM jobs WHERE pool = $1 AND (state = 'queued'
          OR (state = 'ready' AND coalesce(publish_lease_until, 0) > kiln_now()))) AS outstanding
      """, [.id(pool)])
    guard let row = rows.first else { return 0 }
    return max(0, try row.int("slots") - row.int("running")) + extra - (try row.int("outstanding"))
  }

  package func markQueued(_ messages: [JobMessage]) async throws {
    try await engine.transaction { store in
      for message in messages.sorted(by: { $0.job < $1.job }) {
        try store.run(
          """
          UPDATE jobs SET state = \(Procedure.state(.ready, .confirmed)), queued_at = kiln_now(), publish_lease_until = NULL
          WHERE id = $1 AND dispatch = $2 AND state IN \(Procedure.states(.confirmed))
          """, [.id(message.job), .int(message.dispatch)])
      }
    }
  }

  package func publishFailed(_ messages: [JobMessage], pool: PoolName, reason: String, retrySeconds: Double)
    async throws
  {
    try await engine.transaction { store in
      try store.run(
        "UPDATE pools SET problem = $2, retry_at = kiln_now() + $3 WHERE name = $1",
        [.id(pool), .text(reason), .milliseconds(retrySeconds)])
      for message in messages.sorted(by: { $0.job < $1.job }) {
        try store.run(
          "UPDATE jobs SET publish_lease_until = NULL WHERE id = $1 AND dispatch = $2 AND state IN \(Procedure.states(.publishFailed))",
          [.id(message.job), .int(message.dispatch)])
      }
    }
  }

  package func reviveGhosts(pool: PoolName, olderThanSeconds: Double) async throws -> Int {
    try await engine.transaction { store in
      try store.run(
        """
        UPDATE jobs SET state = \(Procedure.state(.queued, .ghost)), queued_at = NULL WHERE id IN (
          SELECT g.id FROM jobs g WHERE g.pool = $1 AND g.state IN \(Procedure.states(.ghost))
            AND g.queued_at < kiln_now() - $2 ORDER BY g.id {{for update}})
        RETURNING id AS id
        """, [.id(pool), .milliseconds(olderThanSeconds)]
      ).count
    }
  }

  package func reviveOverDelivered(_ message: JobMessage, afterSeconds: Double) async throws -> Bool {
    let revived = try await engine.transaction { store in
      try store.run(
        """
        UPDATE jobs SET state = \(Procedure.state(.queued, .ghost)), queued_at = NULL,
          publish_lease_until = kiln_now() + $3
        WHERE id = $1 AND dispatch = $2 AND state IN \(Procedure.states(.ghost)) RETURNING id AS id
        """, [.id(message.job), .int(message.dispatch), .milliseconds(afterSeconds)]
      ).count == 1
    }
    if revived { await engine.notify("work") }
    return revived
  }

  package func expiredLeases(limit: Int) async throws -> [ExpiredLease] {
    try await engine.transaction { store in
      try store.run(
        """
        SELECT j.id AS id, j.attempt AS attempt, j.nonce AS nonce, j.pool AS pool, j.executor AS executor,
          \(Procedure.failures(.infrastructure)) AS failures FROM jobs j
        WHERE state = 'running' AND lease_until < kiln_now() ORDER BY id LIMIT $1
        """, [.int(limit)]
      ).map { row in
        ExpiredLease(
          fence: Fence(
            job: JobID(text: try row.text("id")), attempt: try row.int("attempt"), nonce: try row.text("nonce")),
          pool: PoolName(text: try row.text("pool")), failures: try row.int("failures"),
          executor: ExecutorName(text: try row.text("executor")))
      }
    }
  }

  package func releaseDue() async throws -> Int {
    try await engine.transaction { store in
      try store.run(
        """
        UPDATE jobs SET state = \(Procedure.state(.delayed, .due)), due_at = NULL WHERE id IN (
          SELECT d.id FROM jobs d WHERE d.state IN \(Procedure.states(.due)) AND d.due_at <= kiln_now()
          ORDER BY d.id {{for update}})
        RETURNING id AS id
        """, []
      ).count
    }
  }

  package func outlook(of pools: [PoolName]) async throws -> Outlook {
    // A row per pool, and one for what belongs to none.
    let served = pools.indices.map { index in
      """
      UNION ALL SELECT CAST($\(index + 1) AS text),
        CASE WHEN EXISTS (SELECT 1 FROM jobs WHERE pool = $\(index + 1) AND state = 'ready'
          AND coalesce(publish_lease_until, 0) <= kiln_now()) THEN 1 ELSE 0 END,
        (SELECT count(*) FROM jobs WHERE pool = $\(index + 1) AND state = 'queued'), NULL, NULL, NULL
      """
    }
    let rows = try await engine.transaction { store in
      try store.run(
        """
        SELECT NULL AS pool,
          CASE WHEN EXISTS (SELECT 1 FROM builds WHERE state IN ('running', 'cancelling')) THEN 1 ELSE 0 END AS flag,
          CASE WHEN EXISTS (SELECT 1 FROM outbox WHERE due_at <= kiln_now())
            OR EXISTS (SELECT 1 FROM builds WHERE state = 'publishing'
              AND coalesce(publish_lease_until, 0) <= kiln_now()) THEN 1 ELSE 0 END AS number,
          (SELECT min(due_at) FROM jobs WHERE state = 'delayed') - kiln_now() AS due,
          (SELECT min(lease_until) FROM jobs WHERE state = 'running') - kiln_now() AS lease,
          (SELECT min(at) FROM (SELECT min(publish_lease_until) AS at FROM jobs
              WHERE state = 'ready' AND publish_lease_until > kiln_now()
            UNION ALL SELECT min(retry_at) FROM pools WHERE retry_at > kiln_now()) later) - kiln_now() AS other
        \(served.joined(separator: "\n"))
        """, pools.map { .id($0) })
    }
    var outlook = Outlook()
    for row in rows {
      if let pool = row.optionalText("pool") {
        outlook.pools[PoolName(text: pool)] = Outlook.PoolWork(
          hasReady: try row.flag("flag"), queued: try row.int("number"))
      } else {
        outlook.hasOpenBuilds = try row.flag("flag")
        outlook.hasEndings = try row.int("number") > 0
        let (due, lease) = (row.optionalInteger("due"), row.optionalInteger("lease"))
        outlook.isDue = due.map { $0 <= 0 } ?? false
        outlook.hasExpired = lease.map { $0 < 0 } ?? false
        outlook.secondsToNextDeadline = [due, lease, row.optionalInteger("other")].compactMap { $0 }.min()
          .map { max(0, Double($0) / 1000) }
      }
    }
    return outlook
  }

  package func cancelOwnerless() async throws -> [BuildID] {
    let open = "('waiting', 'ready', 'queued', 'running', 'delayed')"
    return try await engine.transaction { store in
      try store.run("UPDATE builds SET publish_lease_until = NULL WHERE state = 'publishing'")
      let builds = try store.run(
        """
        UPDATE builds SET state = 'cancelled', problem = 'interrupted', finished_at = kiln_now()
        WHERE state IN ('accepted', 'running', 'cancelling') RETURNING id AS id
        """
      ).map { BuildID(text: try $0.text("id")) }
      for build in builds {
        try store.run(
          "UPDATE build_cells SET state = 'cancelled' WHERE build_id = $1 AND state IS NULL", [.id(build)])
      }
      try store.run(
        """
        UPDATE layers SET state = 'idle', updated_at = kiln_now()
        WHERE state = 'building' AND job_id IN (SELECT id FROM jobs WHERE state IN \(open))
        """)
      try store.run(
        """
        UPDATE cells SET state = 'cancelled', updated_at = kiln_now()
        WHERE state IN \(Procedure.list(CellState.sources(of: .cancel).map(\.rawValue)))
          AND job_id IN (SELECT id FROM jobs WHERE state IN \(open))
        """)
      try store.run(
        """
        UPDATE attempts SET outcome = 'cancelled', ended_at = kiln_now(), result = 'the process that ran it ended'
        WHERE outcome IS NULL
        """)
      try store.run(
        """
        UPDATE jobs SET state = 'cancelled', lease_until = NULL, publish_lease_until = NULL, finished_at = kiln_now()
        WHERE state IN \(open)
        """)
      return builds
    }
  }
}
