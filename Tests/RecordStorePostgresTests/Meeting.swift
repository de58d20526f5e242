import Foundation
import Synchronization

/// Blocks its visitors until all have come; later ones pass. For bodies of transactions, which run on
/// threads of their own.
// Unchecked: `missing` is only touched under `condition`.
final class Meeting: @unchecked Sendable {
  private let condition = NSCondition()
  private var missing: Int

  init(of count: Int) { missing = count }

  func arrive() {
    condition.withLock {
      missing -= 1
      condition.broadcast()
      while missing > 0, condition.wait(until: .now + 10) {}
    }
  }
}

final class Counter: Sendable {
  private let count = Atomic(0)
  var value: Int { count.load(ordering: .sequentiallyConsistent) }
  func add() { count.add(1, ordering: .sequentiallyConsistent) }
}
