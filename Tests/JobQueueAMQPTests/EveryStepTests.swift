import Foundation
import JobQueue
import Model
import TestSupport
import Testing

@testable import JobQueueAMQP

private typealias Conformance = JobQueueConformance

/// The connection ends at every step of what is spoken with the broker, and in the middle of each.
@Suite("Real broker: every step cut", .serialized, .timeLimit(.minutes(30)))
struct EveryStepTests {
  let broker: Broker
  private let proxy: TCPProxy

  init() throws {
    broker = try Broker()
    proxy = try broker.proxy()
  }

  @Test("wherever the connection is cut: what was confirmed comes, and what was acknowledged does not come again")
  func everywhere() async throws {
    try await broker.withQueue { direct in
      try await direct.prepare([broker.pool])
      proxy.count()
      try await converse(0, direct)
      let steps = proxy.steps
      try #require(steps.count > 20)
      let cuts = Services.cuts(steps)
      var missed = 0
      for (number, cut) in cuts.enumerated() {
        proxy.count(cuttingAfter: cut)
        try await converse(1 + number, direct)
        if proxy.isUncut { missed += 1 }
      }
      // Not every conversation is as long as the first.
      #expect(missed * 10 <= cuts.count, "\(missed) of \(cuts.count) cuts never came to pass")
    }
    proxy.close()
  }

  /// Two messages published, taken and acknowledged through the proxy; afterwards the queue is empty.
  private func converse(_ number: Int, _ direct: AMQPJobQueue) async throws {
    let queue = broker.open(try broker.configuration(through: proxy))
    var waiting = Set(Conformance.messages([2 * number, 2 * number + 1]))
    let messages = waiting
    while !waiting.isEmpty {
      do {
        try await queue.prepare([broker.pool])
        let outcomes = try await queue.publish(Array(waiting), to: broker.pool, deadlineSeconds: 5)
        // What nobody knows of is published again; the store tells the two apart by their dispatch.
        for (message, outcome) in outcomes where outcome == .confirmed { waiting.remove(message) }
      } catch let error as QueueError where error.code == .unavailable {}
    }
    let slot = try await queue.openSlot(on: broker.pool)
    var seen: Set<JobMessage> = []
    while seen != messages {
      let (message, delivery) = try await Conformance.take(slot)
      // Not to be waited for any longer, whatever else comes.
      try #require(messages.contains(message), "\(message) was acknowledged before")
      seen.insert(message)
      try await slot.acknowledge(delivery)
    }
    // What comes twice (an acknowledgement was lost, or a message published again) is acknowledged again.
    var empty = 0
    while empty < 2 {
      let depth = try await direct.depth(of: broker.pool)
      let isIdle = depth.ready == 0
      empty = isIdle ? empty + 1 : 0
      if !isIdle {
        let (message, delivery) = try await Conformance.take(slot)
        #expect(messages.contains(message), "\(message) was acknowledged before")
        try await slot.acknowledge(delivery)
      }
    }
    await slot.close()
    await queue.close()
    // Closed or cut, its consumer gives back what it held unseen, a copy at most; a little later, for the broker
    // forgets a consumer before what that held.
    let rest = broker.open(try broker.configuration())
    empty = 0
    while empty < 10 {
      // The broker tells nobody when it is done with a consumer; its depth is all that can be asked for.
      try await Task.sleep(for: .milliseconds(20))
      let isIdle = try await direct.depth(of: broker.pool).ready == 0
      empty = isIdle ? empty + 1 : 0
      if !isIdle {
        let slot = try await rest.openSlot(on: broker.pool)
        let (message, delivery) = try await Conformance.take(slot)
        #expect(messages.contains(message), "\(message) was acknowledged before")
        try await slot.acknowledge(delivery)
        await slot.close()
      }
    }
    await rest.close()
  }
}
