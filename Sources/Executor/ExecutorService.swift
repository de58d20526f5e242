import Foundation
import JobQueue
import Logging
import Model
import RecordStore
import ServiceLifecycle

/// The daemon on a build host: one task per slot, and one that keeps the executor known.
///
/// On graceful shutdown nothing new is taken; a job in hand has its drain time to end, then it is given back
/// without burning an attempt.
package struct ExecutorService: Service {
  let executor: Executor
  private let stop = StopSignal()

  package init(_ executor: Executor) { self.executor = executor }

  package func run() async throws {
    try await withGracefulShutdownHandler {
      try await workUntilStopped()
    } onGracefulShutdown: {
      stop.give()
    }
  }

  private func workUntilStopped() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await work() }
      group.addTask {
        try await stop.wait()
        let seconds = executor.settings.drainSeconds
        executor.logger.notice("stopping: what runs has its drain time", metadata: ["seconds": "\(seconds)"])
        try await executor.effects.time.sleep(seconds: seconds)
      }
      // Whichever comes first: all slots are done, or their time is over.
      defer { group.cancelAll() }
      try await group.next()
    }
  }

  /// Until it is cancelled, or shut down and done.
  package func work() async throws {
    do {
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await announceForever() }
        for _ in 0..<executor.pool.slots { group.addTask { try await serve() } }
        // The first to end ends all: either everything was cancelled or something cannot go on. On shutdown
        // each ends when its job does.
        defer { group.cancelAll() }
        var busy = executor.pool.slots
        repeat {
          try await group.next()
          busy -= 1
        } while stop.isGiven && busy > 0
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
    while !Task.isCancelled, !stop.isGiven {
      let asksEngine = hasFailed
      let look = try await unlessStopped { await executor.watch.problem(afterFailure: asksEngine, executor.logger) }
      guard let look else { return }
      if let problem = look {
        executor.logger.error("this host takes no work", metadata: ["problem": "\(problem)"])
        try await pause(executor.settings.unfitSeconds)
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
        try await pause(executor.settings.retrySeconds)
      }
    }
  }

  /// Shorter where the executor is told to stop.
  private func pause(_ seconds: Double) async throws {
    _ = try await unlessStopped { try await executor.effects.time.sleep(seconds: seconds) }
  }

  /// Nil when the queue is closed, or on shutdown; a delivery that comes at that moment goes back with the slot.
  private func next(_ slot: any JobSlot) async throws -> Delivery? {
    try await unlessStopped { try await slot.next() } ?? nil
  }

  /// What `body` comes to; nil where the executor is told to stop before, which cancels `body`.
  private func unlessStopped<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws
    -> Value?
  {
    if stop.isGiven { return nil }
    return try await withThrowingTaskGroup(of: Value?.self) { group in
      group.addTask { try await body() }
      group.addTask {
        try await stop.wait()
        return nil
      }
      defer { group.cancelAll() }
      return try await group.next() ?? nil
    }
  }

  /// Returns true when the host may be at fault for how a job ended, false when the queue is closed.
  private func serve(_ slot: any JobSlot) async throws -> Bool {
    while let delivery = try await next(slot) {
      guard let message = try? JSONDecoder().decode(JobMessage.self, from: Data(delivery.body)),
        message.v <= JobMessage.currentVersion
      else {
        executor.logger.error("a message that is no job", metadata: ["bytes": "\(delivery.body.count)"])
        try await slot.reject(delivery)
        continue
      }
      let failed: FailureClass?
      do {
        failed = try await AttemptRunner(executor: executor, isStopping: { stop.isGiven }).run(message.job)
      } catch is AttemptRunner.NotClaimed {
        return false  // The delivery goes back with the slot.
      }
      // Only now: the store knows how it ended.
      try await slot.acknowledge(delivery)
      try await executor.effects.failpoints.reach(.attemptAfterAcknowledge)
      if failed == .infrastructure { return true }
      if executor.watch.isShort { return true }
    }
    return false
  }
}

/// Told once, to all who wait; their tasks stay where they run.
// Unchecked: all state is under `lock`.
private final class StopSignal: @unchecked Sendable {
  private let lock = NSLock()
  private var given = false
  private var numbers = 0
  private var waiters: [Int: CheckedContinuation<Void, any Error>] = [:]

  var isGiven: Bool { lock.withLock { given } }

  func give() {
    let waiting = lock.withLock {
      given = true
      defer { waiters = [:] }
      return waiters.values
    }
    for waiter in waiting { waiter.resume() }
  }

  func wait() async throws {
    let number = lock.withLock {
      numbers += 1
      return numbers
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (waiter: CheckedContinuation<Void, any Error>) in
        let answer: Result<Void, any Error>? = lock.withLock {
          if Task.isCancelled { return .failure(CancellationError()) }
          if given { return .success(()) }
          waiters[number] = waiter
          return nil
        }
        if let answer { waiter.resume(with: answer) }
      }
    } onCancel: {
      lock.withLock { waiters.removeValue(forKey: number) }?.resume(throwing: CancellationError())
    }
  }
}
