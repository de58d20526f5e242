import JobQueue
import Model

extension JobQueueConformance {
  static let deliveryCases: [JobQueueCase] = [
    JobQueueCase("delivers in the order of publication, as it was published") { queue, pool in
      try await queue.prepare([pool])
      let sent = messages(0..<20)
      try await confirm(sent, on: queue, pool)
      let slot = try await queue.openSlot(on: pool)
      for expected in sent {
        let (message, delivery) = try await take(slot)
        try expect(message == expected, "\(message) came where \(expected) was due")
        try expect(!delivery.redelivered, "\(message) says that it came before")
        try await slot.acknowledge(delivery)
      }
      await slot.close()
    },

    JobQueueCase("an acknowledged delivery never comes again") { queue, pool in
      try await queue.prepare([pool])
      try await confirm(messages(0..<2), on: queue, pool)
      let slot = try await queue.openSlot(on: pool)
      let first = try await take(slot)
      try await slot.acknowledge(first.delivery)
      await slot.close()
      let later = try await queue.openSlot(on: pool)
      let second = try await take(later)
      try expect(second.message == messages([1])[0], "\(second.message) came")
      try await later.acknowledge(second.delivery)
      await later.close()
      try await eventually("empty") { try await queue.depth(of: pool) == QueueDepth(ready: 0, consumers: 0) }
    },

    JobQueueCase("what a slot did not acknowledge comes again when it closes, before the others") { queue, pool in
      try await queue.prepare([pool])
      try await confirm(messages(0..<3), on: queue, pool)
      let slot = try await queue.openSlot(on: pool)
      let lost = try await take(slot)
      await slot.close()
      let other = try await queue.openSlot(on: pool)
      for number in 0..<3 {
        let (message, delivery) = try await take(other)
        try expect(message == messages([number])[0], "\(message) came where job-\(number) was due")
        if number == 0 {
          try expect(delivery.redelivered, "it does not say that it came before")
          try expect(delivery.body == lost.delivery.body, "it came with other bytes")
        }
        try await other.acknowledge(delivery)
      }
      await other.close()
    },

    JobQueueCase("a late acknowledgement of a lost delivery does nothing") { queue, pool in
      try await queue.prepare([pool])
      try await confirm(messages(0..<2), on: queue, pool)
      let slot = try await queue.openSlot(on: pool)
      let lost = try await take(slot)
      await slot.close()
      try await slot.acknowledge(lost.delivery)
      let other = try await queue.openSlot(on: pool)
      try await other.acknowledge(lost.delivery)
      try await other.reject(lost.delivery)
      let again = try await take(other)
      try expect(again.message == lost.message, "\(again.message) came")
      try await other.acknowledge(again.delivery)
      let second = try await take(other)
      try await other.acknowledge(lost.delivery)
      await other.close()
      let last = try await queue.openSlot(on: pool)
      let third = try await take(last)
      try expect(third.message == second.message, "acknowledging another delivery took \(second.message) away")
      try await last.acknowledge(third.delivery)
      await last.close()
    },

    JobQueueCase("a slot holds one delivery; the next stays for another slot") { queue, pool in
      try await queue.prepare([pool])
      try await confirm(messages(0..<2), on: queue, pool)
      let slot = try await queue.openSlot(on: pool)
      let first = try await take(slot)
      try await eventually("one left") { try await queue.depth(of: pool).ready == 1 }
      let other = try await queue.openSlot(on: pool)
      let second = try await take(other)
      try expect(first.message != second.message, "\(first.message) was delivered to two slots")
      try await other.acknowledge(second.delivery)
      try await slot.acknowledge(first.delivery)
      await slot.close()
      await other.close()
    },

    JobQueueCase("a message published twice is delivered twice") { queue, pool in
      try await queue.prepare([pool])
      try await confirm(messages([7]), on: queue, pool)
      try await confirm(messages([7]), on: queue, pool)
      let slot = try await queue.openSlot(on: pool)
      for _ in 0..<2 {
        let (message, delivery) = try await take(slot)
        try expect(message == messages([7])[0], "\(message) came")
        try expect(!delivery.redelivered, "it says that it came before")
        try await slot.acknowledge(delivery)
      }
      await slot.close()
    },

    JobQueueCase("a message given twice at once has one outcome") { queue, pool in
      try await queue.prepare([pool])
      try await confirm(messages([7, 8, 7]), on: queue, pool)
    },

    JobQueueCase("without a queue, a message is returned") { queue, pool in
      let sent = messages(0..<3)
      let outcomes = try await queue.publish(sent, to: pool, deadlineSeconds: 20)
      for message in sent {
        guard case .returned(let reason) = outcomes[message] else {
          throw Violation(description: "\(message) is \(String(describing: outcomes[message]))")
        }
        try expect(!reason.isEmpty, "no reason")
      }
      try await queue.prepare([pool])
      try await confirm(sent, on: queue, pool)
    },

    JobQueueCase("preparing again keeps what is there") { queue, pool in
      try await queue.prepare([pool])
      try await confirm(messages(0..<3), on: queue, pool)
      try await queue.prepare([pool])
      try await eventually("three") { try await queue.depth(of: pool).ready == 3 }
    },

    JobQueueCase("pools are apart") { queue, pool in
      let other = PoolName(text: "\(pool)-other")
      try await queue.prepare([pool, other])
      try await confirm(messages([1]), on: queue, pool)
      try await confirm(messages([2]), on: queue, other)
      let slot = try await queue.openSlot(on: other)
      let (message, delivery) = try await take(slot)
      try expect(message == messages([2])[0], "\(message) came")
      try await slot.acknowledge(delivery)
      await slot.close()
      try await eventually("one") { try await queue.depth(of: pool).ready == 1 }
    },
  ]
}
