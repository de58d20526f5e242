import Foundation
package import Model

/// Lets a loop sleep until it is told, or until a time has passed. A ring that comes while nobody
/// waits is kept: the next wait returns at once. At most one task waits at a time.
// Unchecked: all state is under `lock`.
package final class Bell: @unchecked Sendable {
  private let lock = NSLock()
  private var isRung = false
  private var waiter: CheckedContinuation<Void, Never>?

  package init() {}

  package func ring() {
    let waiting = lock.withLock {
      defer { waiter = nil }
      isRung = waiter == nil
      return waiter
    }
    waiting?.resume()
  }

  /// Returns when the bell rings, when `seconds` have passed, or when the task is cancelled.
  package func wait(seconds: Double, time: any TimeSource) async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.waitForRing() }
      group.addTask { try? await time.sleep(seconds: seconds) }
      await group.next()
      group.cancelAll()
    }
  }

  private func waitForRing() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let resumeNow = lock.withLock {
          if isRung || Task.isCancelled {
            isRung = false
            return true
          }
          waiter = continuation
          return false
        }
        if resumeNow { continuation.resume() }
      }
    } onCancel: {
      let waiting = lock.withLock {
        defer { waiter = nil }
        return waiter
      }
      waiting?.resume()
    }
  }
}
