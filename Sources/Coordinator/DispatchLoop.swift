import JobQueue
import Logging
import Model
import RecordStore

/// From ready to queued: takes ready jobs into each pool's window, publishes them with confirms, and
/// watches leases, delays and ghosts. Sleeps until the store says that there is work, or until the
/// next deadline.
struct DispatchLoop: CoordinatorLoop {
  let coordinator: Coordinator
  let bell: Bell

  private var store: any RecordStore { coordinator.store }

  /// Throws where the broker refuses its queues for good.
  func loop() async throws {
    do { try await prepareQueues() } catch is CancellationError { return }
    var emptyLooks: [PoolName: Int] = [:]
    while !Task.isCancelled {
      let pause = await pass(&emptyLooks)
      await bell.wait(seconds: pause, time: coordinator.effects.time)
    }
  }

  private func prepareQueues() async throws {
    while !Task.isCancelled {
      do {
        return try await coordinator.queue.prepare(coordinator.pools.map(\.name))
      } catch let error as QueueError where error.code == .unavailable {
        coordinator.logger.warning("broker out of reach", metadata: ["error": "\(error)"])
        try await coordinator.effects.time.sleep(seconds: coordinator.settings.publishRetrySeconds)
      }
    }
  }

  /// One round. Returns how long nothing is to be done unless somebody rings. What goes wrong is
  /// logged and tried again in the next round: the store still has everything.
  func pass(_ emptyLooks: inout [PoolName: Int]) async -> Double {
    do {
      let names = coordinator.pools.map(\.name)
      var outlook = try await store.outlook(of: names)
      if outlook.isDue || outlook.hasExpired {
        if outlook.isDue { _ = try await store.releaseDue() }
        if outlook.hasExpired { try await reap() }
        outlook = try await store.outlook(of: names)
      }
      var pause = coordinator.settings.idleSeconds
      let looked = coordinator.effects.time.monotonicSeconds()
      for (pool, work) in outlook.pools.sorted(by: { $0.key < $1.key }) {
        if try await !serve(pool, work, &emptyLooks) { pause = min(pause, coordinator.settings.publishRetrySeconds) }
      }
      let served = coordinator.effects.time.monotonicSeconds() - looked
      return min(max((outlook.secondsToNextDeadline ?? pause) - served, 0.01), pause)
    } catch is CancellationError {
      return 0
    } catch {
      coordinator.logger.warning("dispatch interrupted", metadata: ["error": "\(error)"])
      return 1
    }
  }

  /// A queue that cannot be had is no reason to keep the other pools waiting: false, and soon again.
  private func serve(_ pool: PoolName, _ work: Outlook.PoolWork, _ emptyLooks: inout [PoolName: Int]) async throws
    -> Bool
  {
    do {
      let isPublished = work.hasReady ? try await dispatch(pool) : true
      try await lookForGhosts(pool, queued: work.queued, &emptyLooks)
      return isPublished
    } catch let error as QueueError {
      coordinator.logger.warning("queue not ready", metadata: ["pool": "\(pool)", "error": "\(error)"])
      return false
    }
  }

  /// False where the broker did not take all, and may soon.
  private func dispatch(_ pool: PoolName) async throws -> Bool {
    let settings = coordinator.settings
    while true {
      let messages = try await store.takeReady(
        pool: pool, extra: settings.windowExtra, publishLeaseSeconds: settings.publishLeaseSeconds)
      guard !messages.isEmpty else { return true }
      try await coordinator.effects.failpoints.reach(.publishAfterTake)
      let outcomes: [JobMessage: PublishOutcome]
      do {
        outcomes = try await coordinator.queue.publish(
          messages, to: pool, deadlineSeconds: settings.publishLeaseSeconds)
      } catch let error as QueueError {
        try await store.publishFailed(
          messages, pool: pool, reason: error.message, retrySeconds: settings.publishRetrySeconds)
        coordinator.logger.warning("not published", metadata: ["pool": "\(pool)", "error": "\(error)"])
        return false
      }
      try await coordinator.effects.failpoints.reach(.publishAfterConfirm)
      let confirmed = messages.filter { outcomes[$0] == .confirmed }
      if !confirmed.isEmpty { try await store.markQueued(confirmed) }
      try await coordinator.effects.failpoints.reach(.publishAfterMark)
      let returned = messages.compactMap { message -> (JobMessage, String)? in
        if case .returned(let reason)? = outcomes[message] { (message, reason) } else { nil }
      }
      // Unknown fates wait for their publish lease to end.
      if let reason = returned.first?.1 {
        try await store.publishFailed(
          returned.map(\.0), pool: pool, reason: reason, retrySeconds: settings.publishRetrySeconds)
        coordinator.logger.warning("no queue", metadata: ["pool": "\(pool)", "reason": "\(reason)"])
        try await coordinator.queue.prepare([pool])
      }
      if confirmed.count < messages.count { return returned.isEmpty }
    }
  }

  /// A queue that was purged or deleted heals by itself: what it should hold is published again.
  private func lookForGhosts(_ pool: PoolName, queued: Int, _ emptyLooks: inout [PoolName: Int]) async throws {
    guard queued > 0 else {
      emptyLooks[pool] = 0
      return
    }
    do {
      let depth = try await coordinator.queue.depth(of: pool)
      emptyLooks[pool] = depth.ready == 0 ? (emptyLooks[pool] ?? 0) + 1 : 0
    } catch let error as QueueError {
      coordinator.logger.warning("queue not readable", metadata: ["pool": "\(pool)", "error": "\(error)"])
      // A broker that is away still has what it was given.
      if error.code == .unavailable { return }
      emptyLooks[pool] = (emptyLooks[pool] ?? 0) + 1
      try await coordinator.queue.prepare([pool])
    }
    guard emptyLooks[pool] ?? 0 >= 2 else { return }
    let revived = try await store.reviveGhosts(pool: pool, olderThanSeconds: coordinator.settings.ghostSeconds)
    if revived > 0 {
      coordinator.logger.notice("queued jobs made ready again", metadata: ["pool": "\(pool)", "count": "\(revived)"])
    }
    emptyLooks[pool] = 0
  }

  private func reap() async throws {
    for lease in try await store.expiredLeases(limit: 100) {
      let policy = coordinator.pools.first { $0.name == lease.pool }?.retries ?? RetryPolicy()
      let failure = Failure(
        .infrastructure, code: "lease-out",
        "executor \(lease.executor) did not renew its lease on attempt \(lease.fence.attempt)",
        hint: "the executor or its way to the store is gone; GET /api/v1/executors tells when it was last seen")
      let decision = policy.decide(
        .infrastructure, attempt: lease.failures + 1, fraction: coordinator.effects.random.fraction())
      try await coordinator.effects.failpoints.reach(.reapBeforeApply)
      if try await store.expire(lease, failure: failure, decision: decision) {
        coordinator.logger.warning(
          "lease out", metadata: ["job": "\(lease.fence.job)", "executor": "\(lease.executor)"])
      }
    }
  }
}
