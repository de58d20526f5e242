import JobQueue
import Synchronization

/// Where the connection's thread leaves a slot's delivery and the slot's task finds it, so that
/// neither waiting nor cancelling goes through the thread.
final class SlotMailbox: Sendable {
  private let state = Mutex(State())

  private struct State {
    var delivery: Delivery?
    var error: QueueError?
    var waiter: CheckedContinuation<Delivery?, any Error>?
    var isClosed = false
    /// The task still works on a delivery whose channel is gone.
    var isOrphaned = false
  }

  var isClosed: Bool { state.withLock { $0.isClosed } }
  var isOrphaned: Bool { state.withLock { $0.isOrphaned } }

  func next() async throws -> Delivery? {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { waiter in
        let result = state.withLock { state -> Result<Delivery?, any Error>? in
          // The handler has run already, or will find the waiter: both look under the lock.
          if Task.isCancelled { return .failure(CancellationError()) }
          if state.isClosed { return .success(nil) }
          if let delivery = state.delivery {
            state.delivery = nil
            return .success(delivery)
          }
          if let error = state.error {
            state.error = nil
            return .failure(error)
          }
          precondition(state.waiter == nil, "a slot is one task's: next() was called while it waits")
          state.waiter = waiter
          return nil
        }
        if let result { waiter.resume(with: result) }
      }
    } onCancel: {
      takeWaiter()?.resume(throwing: CancellationError())
    }
  }

  func put(_ delivery: Delivery) {
    let waiter = state.withLock { state in
      defer { state.waiter = nil }
      if state.waiter == nil { state.delivery = delivery }
      state.error = nil
      return state.waiter
    }
    waiter?.resume(returning: delivery)
  }

  /// The slot cannot be served, and waiting may not help; told once.
  func fail(_ error: QueueError) {
    let waiter = state.withLock { state in
      defer { state.waiter = nil }
      if state.waiter == nil { state.error = error }
      return state.waiter
    }
    waiter?.resume(throwing: error)
  }

  func takeError() -> QueueError? {
    state.withLock { state in
      defer { state.error = nil }
      return state.error
    }
  }

  /// The channel of the present delivery is gone: takes it back, or marks it orphaned if the task has
  /// it. A task that waits for the next one is done with it.
  func loseDelivery() {
    state.withLock { state in
      state.isOrphaned = state.delivery == nil && state.waiter == nil
      state.delivery = nil
    }
  }

  func endOrphan() { state.withLock { $0.isOrphaned = false } }

  func close() {
    let waiter = state.withLock { state in
      defer { state.waiter = nil }
      state.isClosed = true
      state.delivery = nil
      return state.waiter
    }
    waiter?.resume(returning: nil)
  }

  private func takeWaiter() -> CheckedContinuation<Delivery?, any Error>? {
    state.withLock { state in
      defer { state.waiter = nil }
      return state.waiter
    }
  }
}
