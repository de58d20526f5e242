import JobQueue
import Model
import TestSupport
import Testing

@Suite("In-process job queue", .timeLimit(.minutes(1)))
struct InProcessJobQueueTests {
  let pool = PoolName(text: "pool")

  @Test("conforms", arguments: JobQueueConformance.cases)
  func conforms(_ one: JobQueueCase) async throws {
    let queue = InProcessJobQueue()
    try await one.run(queue, pool)
    await queue.close()
  }

  @Test("returns what does not fit, and takes it when there is room")
  func bounded() async throws {
    let queue = InProcessJobQueue(maxMessages: 2)
    try await queue.prepare([pool])
    let sent = JobQueueConformance.messages(0..<3)
    let outcomes = try await queue.publish(sent, to: pool, deadlineSeconds: 1)
    #expect(outcomes[sent[1]] == .confirmed)
    #expect(outcomes[sent[2]] == .returned("the queue for pool 'pool' is full: it holds 2"))
    let slot = try await queue.openSlot(on: pool)
    let (_, delivery) = try await JobQueueConformance.take(slot)
    try await slot.acknowledge(delivery)
    try await JobQueueConformance.confirm([sent[2]], on: queue, pool)
  }

  @Test("a full dead-letter queue refuses, and the delivery stays with its slot")
  func boundedLetters() async throws {
    let queue = InProcessJobQueue(maxDeadLetters: 0)
    try await queue.prepare([pool])
    try await JobQueueConformance.confirm(JobQueueConformance.messages([1]), on: queue, pool)
    let slot = try await queue.openSlot(on: pool)
    let (_, delivery) = try await JobQueueConformance.take(slot)
    await #expect(throws: QueueError.self) { try await slot.reject(delivery) }
    await slot.close()
    #expect(try await queue.depth(of: pool).ready == 1)
  }

  @Test("a slot that is released gives its delivery back")
  func releasedSlot() async throws {
    let queue = InProcessJobQueue()
    try await queue.prepare([pool])
    try await JobQueueConformance.confirm(JobQueueConformance.messages([1]), on: queue, pool)
    do {
      let slot = try await queue.openSlot(on: pool)
      _ = try await slot.next()
    }
    #expect(try await queue.depth(of: pool) == QueueDepth(ready: 1, consumers: 0))
  }

  @Test("slots are served in the order in which they began to wait")
  func fair() async throws {
    let queue = InProcessJobQueue()
    try await queue.prepare([pool])
    let slots = [try await queue.openSlot(on: pool), try await queue.openSlot(on: pool)]
    try await JobQueueConformance.confirm(JobQueueConformance.messages(0..<2), on: queue, pool)
    for (number, slot) in slots.enumerated() {
      let (message, _) = try await JobQueueConformance.take(slot)
      #expect(message.job == JobID(text: "job-\(number)"))
    }
  }
}
