import JobQueue
import Model

extension JobQueueConformance {
  static let endCases: [JobQueueCase] = [
    JobQueueCase("closing a slot wakes its next with nil") { queue, pool in
      try await queue.prepare([pool])
      let slot = try await queue.openSlot(on: pool)
      async let waiting = slot.next()
      for _ in 0..<10 { await Task.yield() }
      await slot.close()
      let delivery = try await waiting
      try expect(delivery == nil, "a delivery came from a closed slot")
      let later = try await slot.next()
      try expect(later == nil, "a delivery came from a closed slot")
      await slot.close()
    },

    JobQueueCase("closing the queue wakes every slot with nil, and ends all calls") { queue, pool in
      try await queue.prepare([pool])
      let slots = [try await queue.openSlot(on: pool), try await queue.openDeadLetters(of: pool)]
      try await withThrowingTaskGroup(of: Delivery?.self) { group in
        for slot in slots { group.addTask { try await slot.next() } }
        for _ in 0..<10 { await Task.yield() }
        await queue.close()
        for try await delivery in group { try expect(delivery == nil, "a delivery came from a closed queue") }
      }
      await queue.close()
      let letter = DeadLetterMessage(
        job: JobID(text: "j"), attempt: 1, failure: Failure(.build, code: "c", "m"))
      let calls: [@Sendable () async throws -> Void] = [
        { try await queue.prepare([pool]) },
        { _ = try await queue.publish(messages([1]), to: pool, deadlineSeconds: 5) },
        { _ = try await queue.depth(of: pool) },
        { _ = try await queue.openSlot(on: pool) },
        { try await queue.publishDeadLetter(letter, to: pool) },
      ]
      for (index, call) in calls.enumerated() {
        let code = try await code(of: call)
        try expect(code == .closed, "call \(index) on a closed queue: \(String(describing: code))")
      }
    },

    JobQueueCase("a cancelled next throws, and the slot goes on") { queue, pool in
      try await queue.prepare([pool])
      let slot = try await queue.openSlot(on: pool)
      for round in 0..<20 {
        let waiting = Task { try await slot.next() }
        for _ in 0..<round { await Task.yield() }
        waiting.cancel()
        let cancelled = try await isCancelled { _ = try await waiting.value }
        try expect(cancelled, "a cancelled next returned")
      }
      try await confirm(messages([1]), on: queue, pool)
      let (message, delivery) = try await take(slot)
      try expect(message == messages([1])[0], "\(message) came")
      try await slot.acknowledge(delivery)
      await slot.close()
    },

    JobQueueCase("a cancelled task's calls throw") { queue, pool in
      try await queue.prepare([pool])
      let calls: [@Sendable () async throws -> Void] = [
        { try await queue.prepare([pool]) },
        { _ = try await queue.publish(messages([1]), to: pool, deadlineSeconds: 5) },
        { _ = try await queue.depth(of: pool) },
        { _ = try await queue.openSlot(on: pool) },
      ]
      for (index, call) in calls.enumerated() {
        let task = Task {
          withUnsafeCurrentTask { $0?.cancel() }
          try await call()
        }
        let cancelled = try await isCancelled { try await task.value }
        try expect(cancelled, "call \(index) of a cancelled task returned")
      }
    },
  ]

  static let deadLetterCases: [JobQueueCase] = [
    JobQueueCase("a rejected delivery becomes a dead letter with the same bytes") { queue, pool in
      try await queue.prepare([pool])
      try await confirm(messages(0..<2), on: queue, pool)
      let slot = try await queue.openSlot(on: pool)
      let (_, delivery) = try await take(slot)
      try await slot.reject(delivery)
      let (second, following) = try await take(slot)
      try expect(second == messages([1])[0], "\(second) came after the rejected one")
      try await slot.acknowledge(following)
      await slot.close()
      let letters = try await queue.openDeadLetters(of: pool)
      guard let letter = try await letters.next() else { throw Violation(description: "closed") }
      try expect(letter.body == delivery.body, "the bytes were changed")
      try await letters.acknowledge(letter)
      await letters.close()
    },

    JobQueueCase("a dead letter arrives as it was published, and stays until it is acknowledged") { queue, pool in
      try await queue.prepare([pool])
      let letter = DeadLetterMessage(
        job: JobID(text: "j"), attempt: 3,
        failure: Failure(.build, code: "step-failed", "no \"luck\"", hint: "hope", step: "RUN a\\b", exitCode: 2))
      try await queue.publishDeadLetter(letter, to: pool)
      let letters = try await queue.openDeadLetters(of: pool)
      let first = try await letters.next()
      await letters.close()
      let again = try await queue.openDeadLetters(of: pool)
      guard let second = try await again.next() else { throw Violation(description: "closed") }
      try expect(second.body == first?.body, "it came again with other bytes")
      let read = try DeadLetterMessage(body: second.body)
      try expect(read == letter, "\(read) was read")
      try await again.acknowledge(second)
      await again.close()
      let depth = try await queue.depth(of: pool)
      try expect(depth.ready == 0, "a dead letter went to the source queue")
    },

    JobQueueCase("a dead letter without a queue is an error") { queue, pool in
      let letter = DeadLetterMessage(job: JobID(text: "j"), attempt: 1, failure: Failure(.build, code: "c", "m"))
      let code = try await code { try await queue.publishDeadLetter(letter, to: pool) }
      try expect(code == .unavailable, "\(String(describing: code))")
    },
  ]
}
