import Foundation
import Model

/// A clock that stands still until the test moves it; who sleeps on it sleeps until then.
// Unchecked: all state is under `lock`.
final class HeldTime: TimeSource, @unchecked Sendable {
  private struct Sleeper {
    var length: Int64
    var until: Int64
    var continuation: CheckedContinuation<Void, any Error>
  }

  private let lock = NSLock()
  private var milliseconds: Int64 = 1_700_000_000_000
  private var sleepers: [Int: Sleeper] = [:]
  private var lastID = 0
  private var watchers: [(milliseconds: Int64, continuation: CheckedContinuation<Void, Never>)] = []

  func now() -> Timestamp { lock.withLock { Timestamp(milliseconds: milliseconds) } }
  func monotonicSeconds() -> Double { Double(now().milliseconds) / 1000 }

  func sleep(seconds: Double) async throws {
    let id = lock.withLock {
      lastID += 1
      return lastID
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let length = Int64(seconds * 1000)
        let (end, seen) = lock.withLock { () -> (Result<Void, any Error>?, [CheckedContinuation<Void, Never>]) in
          // The handler has run already, or will find the sleeper: both look under the lock.
          if Task.isCancelled { return (.failure(CancellationError()), []) }
          if length <= 0 { return (.success(()), []) }
          sleepers[id] = Sleeper(
            length: length, until: milliseconds + length, continuation: continuation)
          let seen = watchers.filter { $0.milliseconds == length }.map(\.continuation)
          watchers.removeAll { $0.milliseconds == length }
          return (nil, seen)
        }
        for watcher in seen { watcher.resume() }
        if let end { continuation.resume(with: end) }
      }
    } onCancel: {
      lock.withLock { sleepers.removeValue(forKey: id) }?.continuation.resume(throwing: CancellationError())
    }
  }

  func advance(seconds: Double) {
    let due = lock.withLock {
      milliseconds += Int64(seconds * 1000)
      let due = sleepers.filter { $0.value.until <= milliseconds }
      for id in due.keys { sleepers[id] = nil }
      return due
    }
    for (_, sleeper) in due.sorted(by: { $0.key < $1.key }) { sleeper.continuation.resume() }
  }

  /// Returns when somebody sleeps for that long.
  func untilSleep(seconds: Double) async {
    let length = Int64(seconds * 1000)
    await withCheckedContinuation { continuation in
      let isAsleep = lock.withLock {
        if sleepers.values.contains(where: { $0.length == length }) { return true }
        watchers.append((length, continuation))
        return false
      }
      if isAsleep { continuation.resume() }
    }
  }
}
