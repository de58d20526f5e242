import JobQueue
import Model
import Synchronization

extension JobQueueConformance {
  static let loadCases: [JobQueueCase] = [
    JobQueueCase("depth counts what waits and who consumes") { queue, pool in
      try await eventually("nothing") { try await queue.depth(of: pool) == QueueDepth(ready: 0, consumers: 0) }
      try await queue.prepare([pool])
      try await confirm(messages(0..<3), on: queue, pool)
      try await eventually("three, no consumer") {
        try await queue.depth(of: pool) == QueueDepth(ready: 3, consumers: 0)
      }
      let slot = try await queue.openSlot(on: pool)
      let (_, delivery) = try await take(slot)
      try await eventually("two, one consumer") {
        try await queue.depth(of: pool) == QueueDepth(ready: 2, consumers: 1)
      }
      try await slot.acknowledge(delivery)
      await slot.close()
      try await eventually("two, no consumer") {
        try await queue.depth(of: pool) == QueueDepth(ready: 2, consumers: 0)
      }
    },

    JobQueueCase("a slot opened before its queue exists is served when it does") { queue, pool in
      let slot = try await queue.openSlot(on: pool)
      try await queue.prepare([pool])
      try await confirm(messages([1]), on: queue, pool)
      let (message, delivery) = try await take(slot)
      try expect(message == messages([1])[0], "\(message) came")
      try await slot.acknowledge(delivery)
      await slot.close()
    },

    JobQueueCase("1,000 messages over 4 slots arrive once each") { queue, pool in
      try await queue.prepare([pool])
      let sent = messages(0..<1000)
      let seen = Tally()
      try await withThrowingTaskGroup(of: Void.self) { group in
        var slots: [any JobSlot] = []
        for _ in 0..<4 {
          let slot = try await queue.openSlot(on: pool)
          slots.append(slot)
          group.addTask {
            while let delivery = try await slot.next() {
              let message = try JobMessage(body: delivery.body)
              try await slot.acknowledge(delivery)
              seen.add(message)
            }
          }
        }
        try await confirm(sent, on: queue, pool)
        try await eventually("all seen", seconds: 60) { seen.counts.count == sent.count }
        for slot in slots { await slot.close() }
        try await group.waitForAll()
      }
      try await eventually("empty") { try await queue.depth(of: pool) == QueueDepth(ready: 0, consumers: 0) }
      let counts = seen.counts
      try expect(counts.count == sent.count, "\(counts.count) of \(sent.count) arrived")
      try expect(counts.values.allSatisfy { $0 == 1 }, "delivered more than once: \(counts.filter { $0.value > 1 })")
    },

    JobQueueCase("batches published side by side are all confirmed") { queue, pool in
      try await queue.prepare([pool])
      try await withThrowingTaskGroup(of: Void.self) { group in
        for batch in 0..<8 {
          group.addTask { try await confirm(messages(batch * 100..<(batch + 1) * 100), on: queue, pool) }
        }
        try await group.waitForAll()
      }
      try await eventually("all there") { try await queue.depth(of: pool).ready == 800 }
    },
  ]
}

/// How often each message was seen.
final class Tally: Sendable {
  private let seen = Mutex<[JobMessage: Int]>([:])

  var counts: [JobMessage: Int] { seen.withLock { $0 } }
  func add(_ message: JobMessage) { seen.withLock { $0[message, default: 0] += 1 } }
}
