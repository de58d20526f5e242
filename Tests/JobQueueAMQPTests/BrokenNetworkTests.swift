import JobQueue
import Model
import TestSupport
import Testing

@testable import JobQueueAMQP

private typealias Conformance = JobQueueConformance

@Suite("AMQP job queue on a bad network", .timeLimit(.minutes(2)))
struct BrokenNetworkTests {
  let broker: Broker
  let proxy: TCPProxy
  var pool: PoolName { broker.pool }

  init() throws {
    broker = try Broker()
    proxy = try broker.proxy()
  }

  private func withQueue(
    heartbeatSeconds: Int = 10, _ body: (AMQPJobQueue) async throws -> Void
  ) async throws {
    var configuration = try broker.configuration(through: proxy)
    configuration.heartbeatSeconds = heartbeatSeconds
    configuration.answerSeconds = 2
    try await broker.withQueue(configuration, body)
    proxy.close()
  }

  @Test("a delivery whose connection breaks comes again to the same slot, once the first is done with")
  func cutWhileHeld() async throws {
    try await withQueue { queue in
      try await queue.prepare([pool])
      try await Conformance.confirm(Conformance.messages(0..<2), on: queue, pool)
      let slot = try await queue.openSlot(on: pool)
      let (first, lost) = try await Conformance.take(slot)
      proxy.cut()
      // The broker has it back, and the slot, connected again, does not take another while its task
      // works on this one. The first answer comes over the new connection; after it, slots had their turn.
      let waiting = QueueDepth(ready: 2, consumers: 0)
      try await Conformance.eventually("both wait") { (try? await queue.depth(of: pool)) == waiting }
      #expect(try await queue.depth(of: pool) == waiting)
      try await slot.acknowledge(lost)
      let (again, delivery) = try await Conformance.take(slot)
      #expect(again == first)
      #expect(delivery.redelivered)
      #expect(delivery.epoch != lost.epoch)
      try await slot.acknowledge(delivery)
      let (second, last) = try await Conformance.take(slot)
      #expect(second == Conformance.messages([1])[0])
      try await slot.acknowledge(last)
      try await Conformance.eventually("empty") { try await queue.depth(of: pool).ready == 0 }
    }
  }

  @Test("a slot that waits outlives any number of broken connections")
  func cutWhileIdle() async throws {
    try await withQueue { queue in
      try await queue.prepare([pool])
      let slot = try await queue.openSlot(on: pool)
      let publisher = broker.open(try broker.configuration())
      for number in 0..<5 {
        proxy.cut()
        try await Conformance.confirm(Conformance.messages([number]), on: publisher, pool)
        let (message, delivery) = try await Conformance.take(slot)
        #expect(message == Conformance.messages([number])[0])
        try await slot.acknowledge(delivery)
        // The acknowledgement is not answered; what follows it on the same connection is.
        _ = try await queue.depth(of: pool)
      }
      await publisher.close()
    }
  }

  @Test("whatever is confirmed is there, however often the connection breaks")
  func cutWhilePublishing() async throws {
    try await withQueue { queue in
      try await queue.prepare([pool])
      var confirmed: Set<JobMessage> = []
      var unknown = 0
      for round in 0..<8 {
        let sent = Conformance.messages(round * 500..<(round + 1) * 500)
        async let outcomes = queue.publish(sent, to: pool, deadlineSeconds: 20)
        if !round.isMultiple(of: 2) {
          for _ in 0..<(round * 40) { await Task.yield() }
          proxy.cut()
        }
        for (message, outcome) in try await outcomes {
          switch outcome {
          case .confirmed: confirmed.insert(message)
          case .unknown: unknown += 1
          case .returned(let reason): Issue.record("returned: \(reason)")
          }
        }
      }
      #expect(confirmed.count + unknown == 4000)
      #expect(confirmed.count >= 2000)
      let reader = broker.open(try broker.configuration())
      var missing = confirmed
      let slot = try await reader.openSlot(on: pool)
      while !missing.isEmpty {
        let (message, delivery) = try await Conformance.take(slot)
        missing.remove(message)
        try await slot.acknowledge(delivery)
      }
      await reader.close()
    }
  }

  @Test("while the broker is away every call says so in time, and all goes on when it is back")
  func away() async throws {
    try await withQueue { queue in
      try await queue.prepare([pool])
      try await Conformance.confirm(Conformance.messages([0]), on: queue, pool)
      proxy.goAway()
      let clock = ContinuousClock()
      let start = clock.now
      let error = await #expect(throws: QueueError.self) {
        try await queue.publish(Conformance.messages([1]), to: pool, deadlineSeconds: 1)
      }
      #expect(error?.code == .unavailable)
      #expect(clock.now - start < .seconds(5))
      let asked = await #expect(throws: QueueError.self) { try await queue.depth(of: pool) }
      #expect(asked?.code == .unavailable)
      // A slot opens all the same, and waits.
      let slot = try await queue.openSlot(on: pool)
      proxy.comeBack()
      try await Conformance.confirm(Conformance.messages([2]), on: queue, pool)
      for number in [0, 2] {
        let (message, delivery) = try await Conformance.take(slot)
        #expect(message == Conformance.messages([number])[0])
        try await slot.acknowledge(delivery)
      }
    }
  }

  @Test("a silent network: published is unknown at the deadline; heartbeats find out, and slots come back")
  func silence() async throws {
    try await withQueue(heartbeatSeconds: 1) { queue in
      try await queue.prepare([pool])
      try await Conformance.confirm(Conformance.messages([0]), on: queue, pool)
      let slot = try await queue.openSlot(on: pool)
      let (_, delivery) = try await Conformance.take(slot)
      try await slot.acknowledge(delivery)
      proxy.stall()
      let silent = Conformance.messages([1])
      #expect(try await queue.publish(silent, to: pool, deadlineSeconds: 0.5) == [silent[0]: .unknown])
      let before = proxy.connections
      // Both connections are given up by their heartbeats and tried anew.
      try await Conformance.eventually("given up") { proxy.connections > before }
      proxy.resume()
      try await Conformance.confirm(Conformance.messages([2]), on: queue, pool)
      var message: JobMessage?
      while message != Conformance.messages([2])[0] {
        let (next, delivery) = try await Conformance.take(slot)
        try await slot.acknowledge(delivery)
        message = next
      }
    }
  }

  @Test("cancelling a publish does not wait for the broker")
  func cancelPublish() async throws {
    try await withQueue { queue in
      try await queue.prepare([pool])
      try await Conformance.confirm(Conformance.messages([0]), on: queue, pool)
      proxy.stall()
      let publishing = Task { try await queue.publish(Conformance.messages([1]), to: pool, deadlineSeconds: 60) }
      for _ in 0..<10 { await Task.yield() }
      publishing.cancel()
      await #expect(throws: CancellationError.self) { try await publishing.value }
      proxy.resume()
    }
  }

  @Test("a broker that is short of memory is not sent anything, and the error says so")
  func blocked() async throws {
    try await withQueue { queue in
      try await queue.prepare([pool])
      try await Conformance.confirm(Conformance.messages([0]), on: queue, pool)
      // connection.blocked and connection.unblocked need no answer, so they can be put between.
      proxy.inject(frame(method: [0, 10, 0, 60], [10] + Array("low on mem".utf8)))
      let message = Conformance.messages([1])
      let error = await #expect(throws: QueueError.self) {
        // The frame may arrive after the first ones.
        for _ in 0..<100 { _ = try await queue.publish(message, to: pool, deadlineSeconds: 0.5) }
      }
      #expect(error?.code == .unavailable)
      #expect(error?.message == "the broker takes no messages now: low on mem")
      #expect(try await queue.depth(of: pool).ready >= 1, "questions go on")
      proxy.inject(frame(method: [0, 10, 0, 61], []))
      try await Conformance.confirm(Conformance.messages([2]), on: queue, pool)
    }
  }
}

/// A method frame on channel 0.
private func frame(method: [UInt8], _ arguments: [UInt8]) -> [UInt8] {
  [1, 0, 0, 0, 0, 0, UInt8(method.count + arguments.count)] + method + arguments + [0xCE]
}
