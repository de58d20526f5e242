import Foundation
import Model

/// Ends whoever reaches a place for the `hit`th time, as a kill would: of a cancelled task nothing
/// later runs, least of all what it does about errors.
// Unchecked: `hits` is only touched under `lock`.
final class KillAt: Failpoints, @unchecked Sendable {
  private let point: Failpoint
  private let hit: Int
  private let lock = NSLock()
  private var hits = 0

  init(_ point: Failpoint, hit: Int = 1) {
    self.point = point
    self.hit = hit
  }

  var wasReached: Bool { lock.withLock { hits >= hit } }

  func reach(_ point: Failpoint) async throws {
    guard point == self.point else { return }
    let count = lock.withLock {
      hits += 1
      return hits
    }
    if count == hit { throw CancellationError() }
  }
}
