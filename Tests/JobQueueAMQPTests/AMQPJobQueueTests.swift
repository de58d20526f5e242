import JobQueue
import Model
import TestSupport
import Testing

@testable import JobQueueAMQP

private typealias Conformance = JobQueueConformance

@Suite("AMQP job queue", .timeLimit(.minutes(2)))
struct AMQPJobQueueTests {
  let broker: Broker
  var pool: PoolName { broker.pool }

  init() throws { broker = try Broker() }

  @Test("conforms", arguments: JobQueueConformance.cases)
  func conforms(_ one: JobQueueCase) async throws {
    try await broker.withQueue { queue in try await one.run(queue, pool) }
  }

  @Test("a message that cannot be read is rejected and kept, byte for byte", arguments: [0, 1, 100, 300_000])
  func undecodable(_ bytes: Int) async throws {
    try await broker.withQueue { queue in
      try await queue.prepare([pool])
      let body = (0..<bytes).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      #expect(try await broker.publish(body, on: queue) == [.confirmed])
      let slot = try await queue.openSlot(on: pool)
      let delivery = try #require(try await slot.next())
      #expect(delivery.body == body)
      #expect(throws: Failure.self) { try JobMessage(body: delivery.body) }
      try await slot.reject(delivery)
      let letters = try await queue.openDeadLetters(of: pool)
      let letter = try #require(try await letters.next())
      #expect(letter.body == body)
      try await letters.acknowledge(letter)
    }
  }

  @Test("a body beyond the bound is cut, not buffered")
  func oversized() async throws {
    try await broker.withQueue { queue in
      try await queue.prepare([pool])
      let body = [UInt8](repeating: 7, count: ConsumerSlot.maxBodyBytes + 100_000)
      #expect(try await broker.publish(body, on: queue) == [.confirmed])
      let slot = try await queue.openSlot(on: pool)
      let delivery = try #require(try await slot.next())
      #expect(delivery.body.count == ConsumerSlot.maxBodyBytes)
      try await slot.acknowledge(delivery)
    }
  }

  @Test("a purged queue goes on")
  func purged() async throws {
    try await broker.withQueue { queue in
      try await queue.prepare([pool])
      try await Conformance.confirm(Conformance.messages(0..<3), on: queue, pool)
      let slot = try await queue.openSlot(on: pool)
      let first = try await Conformance.take(slot)
      try await queue.purge(pool)
      #expect(try await queue.depth(of: pool).ready == 0)
      try await slot.acknowledge(first.delivery)
      try await Conformance.confirm(Conformance.messages([9]), on: queue, pool)
      let (message, delivery) = try await Conformance.take(slot)
      #expect(message == Conformance.messages([9])[0])
      try await slot.acknowledge(delivery)
    }
  }

  @Test("a queue deleted under its consumers is shown, made again, and served by the same slots")
  func deleted() async throws {
    try await broker.withQueue { queue in
      try await queue.prepare([pool])
      try await Conformance.confirm(Conformance.messages([0]), on: queue, pool)
      let busy = try await queue.openSlot(on: pool)
      let (_, held) = try await Conformance.take(busy)
      let idle = try await queue.openSlot(on: pool)
      try await queue.remove([pool])
      #expect(try await queue.depth(of: pool) == QueueDepth(ready: 0, consumers: 0))
      let lost = Conformance.messages([1])
      guard case .returned = try await queue.publish(lost, to: pool, deadlineSeconds: 10)[lost[0]] else {
        Issue.record("published to a deleted queue")
        return
      }
      try await queue.prepare([pool])
      try await busy.acknowledge(held)
      try await Conformance.eventually("both consume again") { try await queue.depth(of: pool).consumers == 2 }
      try await Conformance.confirm(Conformance.messages(2..<4), on: queue, pool)
      for slot in [busy, idle] {
        let (_, delivery) = try await Conformance.take(slot)
        try await slot.acknowledge(delivery)
      }
    }
  }

  @Test("an idle consumer subscribes again by itself, and none is doubled")
  func resubscribes() async throws {
    var configuration = try broker.configuration()
    configuration.idleResubscribeSeconds = 0.05
    try await broker.withQueue(configuration) { queue in
      try await queue.prepare([pool])
      let slot = try await queue.openSlot(on: pool)
      for number in 0..<200 {
        if number.isMultiple(of: 50) { try await Task.sleep(for: .milliseconds(120)) }
        try await Conformance.confirm(Conformance.messages([number]), on: queue, pool)
        let (message, delivery) = try await Conformance.take(slot)
        #expect(message == Conformance.messages([number])[0])
        #expect(!delivery.redelivered)
        try await slot.acknowledge(delivery)
      }
      #expect(try await queue.depth(of: pool).consumers <= 1)
    }
  }

  @Test("a full queue returns what it does not take")
  func full() async throws {
    var configuration = try broker.configuration()
    configuration.maxQueueMessages = 5
    try await broker.withQueue(configuration) { queue in
      try await queue.prepare([pool])
      var refusal: String?
      // The broker enforces the limit a little late.
      for number in 0..<100 where refusal == nil {
        let message = Conformance.messages([number])
        if case .returned(let reason) = try await queue.publish(message, to: pool, deadlineSeconds: 10)[message[0]] {
          refusal = reason
        }
      }
      #expect(refusal == "the queue refused it: it is full, or has no leader now")
    }
  }

  @Test("ten thousand messages in one batch are each confirmed")
  func largeBatch() async throws {
    try await broker.withQueue { queue in
      try await queue.prepare([pool])
      try await Conformance.confirm(Conformance.messages(0..<10_000), on: queue, pool)
      #expect(try await queue.depth(of: pool).ready == 10_000)
    }
  }

  @Test("a message that is delivered too often is kept, byte for byte")
  func overDelivered() async throws {
    var configuration = try broker.configuration()
    configuration.deliveryLimit = 2
    try await broker.withQueue(configuration) { queue in
      try await queue.prepare([pool])
      let message = Conformance.messages([0])
      try await Conformance.confirm(message, on: queue, pool)
      // Taken, and never acknowledged: once, and twice more.
      for _ in 0...configuration.deliveryLimit {
        let slot = try await queue.openSlot(on: pool)
        let (taken, _) = try await Conformance.take(slot)
        #expect(taken == message[0])
        await slot.close()
      }
      let letters = try await queue.openDeadLetters(of: pool)
      let letter = try #require(try await letters.next())
      #expect(letter.body == (try message[0].body))
      try await letters.acknowledge(letter)
      #expect(try await queue.depth(of: pool).ready == 0)
    }
  }

  @Test("an executor makes no queues")
  func executor() async throws {
    let queue = broker.open(try broker.configuration(role: .executor))
    let error = await #expect(throws: QueueError.self) { try await queue.prepare([pool]) }
    #expect(error?.code == .refused)
    await queue.close()
  }

  @Test("a queue with other arguments is refused, and says what to do")
  func otherArguments() async throws {
    try await broker.withQueue { queue in
      try await queue.prepare([pool])
      var configuration = try broker.configuration()
      configuration.deliveryLimit = 7
      let other = broker.open(configuration)
      let error = await #expect(throws: QueueError.self) { try await other.prepare([pool]) }
      #expect(error?.code == .refused)
      #expect(error?.hint?.contains("other arguments") == true)
      await other.close()
    }
  }

  @Test("a wrong password is refused by every call, naming user and vhost and not the password")
  func wrongPassword() async throws {
    let url = "amqp://kiln-nobody@127.0.0.1:\(try broker.configuration().port)/%2f"
    let configuration = try AMQPConfiguration(url: url, password: "se-cr-et", role: .coordinator)
    let calls: [@Sendable (AMQPJobQueue) async throws -> Void] = [
      { try await $0.prepare([PoolName(text: "p")]) },
      { _ = try await $0.publish(Conformance.messages([1]), to: PoolName(text: "p"), deadlineSeconds: 5) },
      { _ = try await $0.openSlot(on: PoolName(text: "p")) },
    ]
    for call in calls {
      let queue = broker.open(configuration)
      let error = await #expect(throws: QueueError.self) { try await call(queue) }
      #expect(error?.code == .refused)
      let text = "\(String(describing: error)) \(configuration)"
      #expect(text.contains("user 'kiln-nobody' on vhost '/'"))
      #expect(text.contains("Check the user and its password"))
      #expect(!text.contains("se-cr-et"))
      await queue.close()
    }
  }

  @Test("a vhost that does not exist is refused")
  func wrongVhost() async throws {
    let parts = try broker.configuration()
    let configuration = try AMQPConfiguration(
      url: "amqp://\(parts.user)@\(parts.host):\(parts.port)/nowhere", password: parts.password, role: .coordinator)
    let queue = broker.open(configuration)
    let error = await #expect(throws: QueueError.self) { try await queue.openSlot(on: pool) }
    #expect(error?.code == .refused)
    #expect(error?.message.contains("vhost 'nowhere'") == true)
    await queue.close()
  }
}
