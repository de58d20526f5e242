import Synchronization

/// Hands announced topics to those who listen in this process.
///
/// Bounded and coalesced: a topic that a listener has not looked at yet is not kept twice, and one
/// that falls behind gets the empty topic, "look at everything".
package final class TopicFeed: Sendable {
  package static let maxPendingTopics = 256

  private let state = Mutex(State())

  private struct State {
    var listeners: [Weak] = []
    var isFinished = false
  }

  private struct Weak {
    weak var listener: Listener?
  }

  package init() {}

  /// Topics from now on; the first is the empty one. Ends when the feed does.
  package func listen() -> AsyncThrowingStream<String, any Error> {
    let listener = Listener()
    listener.add("")
    let isFinished = state.withLock { state in
      state.listeners.removeAll { $0.listener == nil }
      state.listeners.append(Weak(listener: listener))
      return state.isFinished
    }
    if isFinished { listener.finish() }
    return AsyncThrowingStream { await listener.next() }
  }

  package func announce(_ topic: String) {
    for listener in listeners() { listener.add(topic) }
  }

  package func finish() {
    state.withLock { $0.isFinished = true }
    for listener in listeners() { listener.finish() }
  }

  private func listeners() -> [Listener] { state.withLock { $0.listeners.compactMap(\.listener) } }
}

/// One listener's topics. It lives as long as its stream.
private final class Listener: Sendable {
  private struct State {
    var pending: [String] = []
    var isFinished = false
    var waiting: CheckedContinuation<String?, Never>?

    mutating func takeWaiting() -> CheckedContinuation<String?, Never>? {
      defer { waiting = nil }
      return waiting
    }
  }

  private let state = Mutex(State())

  func add(_ topic: String) {
    let waiting = state.withLock { state -> CheckedContinuation<String?, Never>? in
      if let waiting = state.takeWaiting() { return waiting }
      if state.pending.first == "" || state.pending.contains(topic) { return nil }
      if topic == "" || state.pending.count >= TopicFeed.maxPendingTopics {
        state.pending = [""]
      } else {
        state.pending.append(topic)
      }
      return nil
    }
    waiting?.resume(returning: topic)
  }

  func finish() {
    let waiting = state.withLock { state in
      state.isFinished = true
      return state.takeWaiting()
    }
    waiting?.resume(returning: nil)
  }

  /// The next topic; nil at the end or when the task is cancelled.
  func next() async -> String? {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let answer: String?? = state.withLock { state in
          if !state.pending.isEmpty { return .some(state.pending.removeFirst()) }
          if state.isFinished || Task.isCancelled { return .some(nil) }
          precondition(state.waiting == nil, "a stream of topics has one reader")
          state.waiting = continuation
          return nil
        }
        if let answer { continuation.resume(returning: answer) }
      }
    } onCancel: {
      state.withLock { $0.takeWaiting() }?.resume(returning: nil)
    }
  }
}
