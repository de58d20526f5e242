import Synchronization

/// Joins announcements that come while one is being sent: NOTIFY takes a lock on the whole database
/// at commit, so a burst of equal topics must not become a burst of commits.
final class Announcer: Sendable {
  private struct State {
    var isSending = false
    var pending: [String] = []
    var waiting: [CheckedContinuation<[String], Never>] = []
  }

  private let state = Mutex(State())

  /// Sends `topic`, with what gathers meanwhile, or leaves it to another caller who does.
  func announce(_ topic: String, send: ([String]) async -> Void) async {
    let batch = await withCheckedContinuation { continuation in
      let leads = state.withLock { state in
        guard state.isSending else {
          state.isSending = true
          return true
        }
        if !state.pending.contains(topic) { state.pending.append(topic) }
        state.waiting.append(continuation)
        return false
      }
      if leads { continuation.resume(returning: [topic]) }
    }
    guard !batch.isEmpty else { return }
    await send(batch)
    passOn()
  }

  /// The first who waits sends for all who wait.
  private func passOn() {
    let (waiting, batch) = state.withLock { state in
      defer { (state.pending, state.waiting) = ([], []) }
      state.isSending = !state.waiting.isEmpty
      return (state.waiting, state.pending)
    }
    for (index, continuation) in waiting.enumerated() { continuation.resume(returning: index == 0 ? batch : []) }
  }
}
