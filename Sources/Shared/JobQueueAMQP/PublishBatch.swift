import JobQueue
import Synchronization

struct OutgoingMessage: Sendable {
  let exchange: String
  let routingKey: String
  /// The message-id.
  let identifier: String
  let body: [UInt8]
}

/// Messages that are published together, and who waits for their fate. The connection's thread
/// settles them; the caller waits without it, so that cancelling never waits for the thread.
final class PublishBatch: Sendable {
  let messages: [OutgoingMessage]
  /// On the monotonic clock.
  let deadlineSeconds: Double
  private let state: Mutex<State>

  private struct State {
    /// Written messages' fates; nil while unknown.
    var outcomes: [PublishOutcome?]
    var written = 0
    var unsettled: Int
    var result: Result<[PublishOutcome], any Error>?
    var waiter: CheckedContinuation<[PublishOutcome], any Error>?
  }

  init(_ messages: [OutgoingMessage], deadlineSeconds: Double) {
    self.messages = messages
    self.deadlineSeconds = deadlineSeconds
    state = Mutex(State(outcomes: Array(repeating: nil, count: messages.count), unsettled: messages.count))
  }

  var isOver: Bool { state.withLock { $0.result != nil } }

  /// One outcome per message, in their order.
  func outcomes() async throws -> [PublishOutcome] {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { waiter in
        let result = state.withLock { state -> Result<[PublishOutcome], any Error>? in
          if state.result == nil { state.waiter = waiter }
          return state.result
        }
        if let result { waiter.resume(with: result) }
      }
    } onCancel: {
      finish { _ in .failure(CancellationError()) }
    }
  }

  /// Message `index` is on its way.
  func wrote(_ index: Int) { state.withLock { $0.written = index + 1 } }

  func settle(_ index: Int, _ outcome: PublishOutcome) {
    let over = state.withLock { state in
      guard state.result == nil, state.outcomes[index] == nil else { return false }
      state.outcomes[index] = outcome
      state.unsettled -= 1
      return state.unsettled == 0
    }
    if over { finish { .success($0.outcomes.map { $0 ?? .unknown }) } }
  }

  /// Ends the batch: what was written and not answered is unknown; what was not written was not
  /// taken, because of `error`, which is thrown if nothing was written at all.
  func giveUp(_ error: QueueError) {
    finish { state in
      if state.written == 0 { return .failure(error) }
      let written = state.written
      return .success(
        state.outcomes.enumerated().map { $1 ?? ($0 < written ? .unknown : .returned("not sent: \(error.message)")) })
    }
  }

  private func finish(_ result: (State) -> Result<[PublishOutcome], any Error>) {
    let (waiter, outcome) = state.withLock { state in
      guard state.result == nil else { return (nil as CheckedContinuation<[PublishOutcome], any Error>?, state.result) }
      state.result = result(state)
      defer { state.waiter = nil }
      return (state.waiter, state.result)
    }
    if let waiter, let outcome { waiter.resume(with: outcome) }
  }
}
