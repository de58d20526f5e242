import Foundation
import Model
import RecordStore

/// Wakes the requests that wait for news: one subscription to the store serves them all.
// Unchecked: `waiting` and `nextTicket` are only touched under `lock`.
final class EvidenceBells: CoordinatorLoop, @unchecked Sendable {
  private let coordinator: Coordinator
  private let lock = NSLock()
  private var waiting: [Int: (topic: String, bell: Bell)] = [:]
  private var nextTicket = 0

  init(coordinator: Coordinator) { self.coordinator = coordinator }

  func add(_ bell: Bell, topic: String) -> Int {
    lock.withLock {
      nextTicket += 1
      waiting[nextTicket] = (topic, bell)
      return nextTicket
    }
  }

  func remove(_ ticket: Int) { _ = lock.withLock { waiting.removeValue(forKey: ticket) } }

  func loop() async {
    await coordinator.listen { topic in
      let bells = lock.withLock { waiting.values.filter { topic.isEmpty || $0.topic == topic }.map(\.bell) }
      for bell in bells { bell.ring() }
    }
  }
}
