import Model
import RecordStore
import Synchronization

/// Renews an attempt's lease, and ends the attempt by itself when it could not: counted on a clock that
/// never steps, from when the last good heartbeat was *sent*, so that the store's clock is never asked
/// to agree with ours.
final class LeaseKeeper: Sendable {
  private let executor: Executor
  private let fence: Fence
  private let validFrom: Mutex<Double>

  /// - Parameter validFrom: when the claim was sent.
  init(executor: Executor, fence: Fence, validFrom: Double) {
    self.executor = executor
    self.fence = fence
    self.validFrom = Mutex(validFrom)
  }

  /// Sends heartbeats. Nil when cancelled, which is how it ends while all is well.
  func renew() async -> AttemptEnd? {
    let settings = executor.settings
    let time = executor.effects.time
    var pause = settings.heartbeatSeconds
    while true {
      do { try await time.sleep(seconds: pause) } catch { return nil }
      let sent = time.monotonicSeconds()
      switch try? await executor.store.heartbeat(fence, leaseSeconds: settings.leaseSeconds) {
      case .extended?:
        validFrom.withLock { $0 = max($0, sent) }
        pause = settings.heartbeatSeconds
      case .cancelled?: return .withdrawn
      case .stale?: return .leaseLost("the job is no longer this attempt's")
      case nil:
        if Task.isCancelled { return nil }
        pause = min(settings.retrySeconds, settings.heartbeatSeconds)
      }
    }
  }

  /// Returns when the lease is about to end, also while a heartbeat hangs. Nil when cancelled.
  func expire() async -> AttemptEnd? {
    let settings = executor.settings
    let time = executor.effects.time
    while true {
      let end = validFrom.withLock { $0 } + settings.leaseSeconds - settings.leaseMarginSeconds
      let left = end - time.monotonicSeconds()
      guard left > 0 else { return .leaseLost("its lease could not be renewed in time") }
      do { try await time.sleep(seconds: left) } catch { return nil }
    }
  }
}
