import Model
import RecordStore
import Synchronization

/// Keeps a process from hammering a store that is away: after a failure nobody tries before a random
/// moment, later and later. One for all connections of an engine.
final class ReconnectGate: Sendable {
  static let maxDelaySeconds = 30.0
  /// How long a caller waits for its turn before it is told that the store is away.
  static let maxWaitSeconds = 2.0

  private let effects: Effects
  private let state = Mutex(State())

  private struct State {
    var failures = 0
    var notBefore = -Double.infinity
  }

  init(_ effects: Effects) { self.effects = effects }

  /// Full jitter: uniform between nothing and a bound that doubles.
  static func delaySeconds(failures: Int, fraction: Double) -> Double {
    fraction * min(maxDelaySeconds, 0.1 * Double(1 << min(failures, 20)))
  }

  func pass() async throws {
    let left = state.withLock { $0.notBefore } - effects.time.monotonicSeconds()
    guard left > 0 else { return }
    try await effects.time.sleep(seconds: min(left, Self.maxWaitSeconds))
    guard left <= Self.maxWaitSeconds else {
      throw StoreError(.unavailable, "the store is out of reach; the next try is in \(Int(left.rounded(.up))) s")
    }
  }

  func failed() {
    let now = effects.time.monotonicSeconds()
    let fraction = effects.random.fraction()
    state.withLock { state in
      // Connections that fail together count once.
      guard now >= state.notBefore else { return }
      state.failures += 1
      state.notBefore = now + Self.delaySeconds(failures: state.failures, fraction: fraction)
    }
  }

  func succeeded() { state.withLock { $0 = State() } }
}
