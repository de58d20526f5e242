import Foundation
import JobQueue
import Logging
import Model
import RecordStore
import ServiceLifecycle

/// The daemon on a build host: one task per slot, and one that keeps the executor known.
///
/// On graceful shutdown nothing new is taken; a job in hand is given back without burning an attempt.
package struct ExecutorService: Service {
  let executor: Executor

  package init(_ executor: Executor) { self.executor = executor }

  package func run() async throws { try await cancelWhenGracefulShutdown { try await work() } }

  /// Until it is cancelled.
  package func work() async throws {
    do {
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await announceForever() }
        for _ in 0..<executor.pool.slots { group.addTask { try await serve() } }
        // The first to end ends all: either everything was cancelled or something cannot go on.
        defer { group.cancelAll() }
        try await group.next()
      }
    } catch is CancellationError {
      // Told to stop: every job in hand was given back.
    }
  }

  private func announceForever() async throws {
    while !Task.isCancelled {
      do {
        try await executor.store.announce(
          executor.name, pool: executor.pool.name, slots: executor.pool.slots, host: executor.host)
      } catch let error as StoreError where error.code == .unavailable || error.code == .conflict {
        executor.logger.warning("store out of reach", metadata: ["error": "\(error)"])
      }
      try await executor.effects.time.sleep(seconds: executor.settings.announceSeconds)
    }
  }

  /// One slot: takes a delivery, sees the job through, acknowledges; never two at once. While the host
  /// is not fit for work, the slot is closed: what waits is for others.
  private func serve() async throws {
    var hasFailed = false
    while !Task.isCancelled {
      if let problem = await executor.watch.problem(afterFailure: hasFailed, executor.logger) {
        executor.logger.error("this host takes no work", metadata: ["problem": "\(problem)"])
        try await executor.effects.time.sleep(seconds: executor.settings.unfitSeconds)
        continue
      }
      hasFailed = false
      do {
        let slot = try await executor.queue.openSlot(on: executor.pool.name)
        hasFailed = try await serve(slot)
        await slot.close()
        if !hasFailed { return }
      } catch let error as QueueError where error.code != .refused {
        executor.logger.warning("queue out of reach", metadata: ["error": "\(error)"])
        try await executor.effects.time.sleep(seconds: executor.settings.retrySeconds)
      }
    }
  }

  /// Returns true when the host may be at fault for how a job ended, false when the queue is closed.
  private func serve(_ slot: any JobSlot) async throws -> Bool {
    while let delivery = try await slot.next() {
      guard let message = try? JSONDecoder().decode(JobMessage.self, from: Data(delivery.body)),
        message.v <= JobMessage.currentVersion
      else {
        executor.logger.error("a message that is no job", metadata: ["bytes": "\(delivery.body.count)"])
        try await slot.reject(delivery)
        continue
      }
      let failed = try await AttemptRunner(executor: executor).run(message.job)
      // Only now: the store knows how it ended.
      try await slot.acknowledge(delivery)
      try await executor.effects.failpoints.reach(.attemptAfterAcknowledge)
      if failed == .infrastructure { return true }
      if executor.watch.isShort { return true }
    }
    return false
  }
}
