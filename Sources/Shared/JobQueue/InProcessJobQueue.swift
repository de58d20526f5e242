package import Model
import Synchronization

/// The queue inside a process: what `kiln build` and deterministic tests run on.
///
/// First in, first out; a delivery that its slot did not acknowledge comes again, before the others,
/// when the slot closes or is released. It starts no task and reads no clock: everything happens
/// within the calls. The queue itself does not survive the process; the store does, and refills it.
package final class InProcessJobQueue: JobQueue {
  private let state: Mutex<InProcessQueueState>

  /// - Parameters:
  ///   - maxMessages: per pool; further ones are returned.
  ///   - maxDeadLetters: per pool; further ones are an error, so that none is lost unseen.
  package init(maxMessages: Int = 100_000, maxDeadLetters: Int = 100_000) {
    state = Mutex(InProcessQueueState(maxMessages: maxMessages, maxDeadLetters: maxDeadLetters))
  }

  package func prepare(_ pools: [PoolName]) async throws {
    try Task.checkCancellation()
    try update { state in
      try state.checkOpen()
      return pools.flatMap { state.create($0) }
    }
  }

  package func publish(
    _ messages: [JobMessage], to pool: PoolName, deadlineSeconds: Double
  ) async throws -> [JobMessage: PublishOutcome] {
    try Task.checkCancellation()
    var outcomes: [JobMessage: PublishOutcome] = [:]
    for message in messages where outcomes[message] == nil {
      let body = try message.body
      try update { state in
        try state.checkOpen()
        let (outcome, handovers) = state.add(body, to: InProcessQueueState.Address(pool: pool, dead: false))
        outcomes[message] = outcome
        return handovers
      }
    }
    return outcomes
  }

  package func depth(of pool: PoolName) async throws -> QueueDepth {
    try Task.checkCancellation()
    return try state.withLock { state in
      try state.checkOpen()
      return state.depth(of: InProcessQueueState.Address(pool: pool, dead: false))
    }
  }

  package func openSlot(on pool: PoolName) async throws -> any JobSlot { try open(pool, dead: false) }

  package func openDeadLetters(of pool: PoolName) async throws -> any JobSlot { try open(pool, dead: true) }

  package func publishDeadLetter(_ letter: DeadLetterMessage, to pool: PoolName) async throws {
    try Task.checkCancellation()
    let body = try letter.body
    try update { state in
      try state.checkOpen()
      let (outcome, handovers) = state.add(body, to: InProcessQueueState.Address(pool: pool, dead: true))
      if case .returned(let reason) = outcome { throw QueueError(.unavailable, reason) }
      return handovers
    }
  }

  package func close() async { update { $0.closeAll() } }

  private func open(_ pool: PoolName, dead: Bool) throws -> any JobSlot {
    try Task.checkCancellation()
    let slot = try state.withLock { state in
      try state.checkOpen()
      return state.openSlot(on: InProcessQueueState.Address(pool: pool, dead: dead))
    }
    return InProcessSlot(queue: self, slot: slot)
  }

  /// Changes the state, and only then, outside the lock, resumes whom the change serves.
  fileprivate func update<E: Error>(
    _ change: (inout InProcessQueueState) throws(E) -> [InProcessQueueState.Handover]
  ) throws(E) {
    let handovers = try state.withLock { (state) throws(E) in try change(&state) }
    for handover in handovers { handover.waiter.resume(with: handover.result) }
  }

  fileprivate func next(_ slot: Int) async throws -> Delivery? {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { waiter in
        update { state in
          // The handler has run already, or will find the waiter: both look under the lock.
          if Task.isCancelled { return [.init(waiter: waiter, result: .failure(CancellationError()))] }
          return state.wait(slot, waiter)
        }
      }
    } onCancel: {
      update { $0.cancel(slot) }
    }
  }
}

/// Returns its delivery when it is released, too.
private final class InProcessSlot: JobSlot {
  private let queue: InProcessJobQueue
  private let slot: Int

  init(queue: InProcessJobQueue, slot: Int) {
    self.queue = queue
    self.slot = slot
  }

  deinit { queue.update { [slot] in $0.close(slot) } }

  func next() async throws -> Delivery? { try await queue.next(slot) }
  func acknowledge(_ delivery: Delivery) async throws { queue.update { [slot] in $0.acknowledge(slot, delivery) } }
  func reject(_ delivery: Delivery) async throws {
    try queue.update { [slot] in try $0.reject(slot, delivery) }
  }
  func close() async { queue.update { [slot] in $0.close(slot) } }
}
