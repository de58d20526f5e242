import Model
import RecordStore

/// Renews an attempt's lease, and ends the attempt by itself when it could not: counted on a clock that
/// never steps, from when the last good heartbeat was *sent*, so that the store's clock is never asked
/// to agree with ours.
struct LeaseKeeper {
  let executor: Executor
  let fence: Fence
  /// When the claim was sent.
  let validFrom: Double

  /// Nil when cancelled, which is how it ends while all is well.
  func keep() async -> AttemptEnd? {
    let settings = executor.settings
    let time = executor.effects.time
    var validFrom = self.validFrom
    var pause = settings.heartbeatSeconds
    while true {
      do { try await time.sleep(seconds: pause) } catch { return nil }
      let sent = time.monotonicSeconds()
      let deadline = validFrom + settings.leaseSeconds - settings.leaseMarginSeconds
      guard sent < deadline else { return .leaseLost("its lease could not be renewed in time") }
      switch await heartbeat(withinSeconds: deadline - sent) {
      case .extended?:
        validFrom = sent
        pause = settings.heartbeatSeconds
      case .cancelled?: return .leaseLost("the job was cancelled")
      case .stale?: return .leaseLost("the job is no longer this attempt's")
      case nil:
        if Task.isCancelled { return nil }
        pause = min(settings.retrySeconds, settings.heartbeatSeconds)
      }
    }
  }

  /// Nil if the store did not answer in time.
  private func heartbeat(withinSeconds seconds: Double) async -> HeartbeatOutcome? {
    let executor = executor
    let fence = fence
    return await withTaskGroup(of: HeartbeatOutcome?.self) { group in
      group.addTask {
        try? await executor.store.heartbeat(fence, leaseSeconds: executor.settings.leaseSeconds)
      }
      group.addTask {
        try? await executor.effects.time.sleep(seconds: seconds)
        return nil
      }
      defer { group.cancelAll() }
      return await group.next() ?? nil
    }
  }
}
