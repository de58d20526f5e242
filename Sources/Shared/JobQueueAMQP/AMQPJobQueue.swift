package import JobQueue
package import Logging
package import Model
import Synchronization

/// The queue on RabbitMQ: one connection to publish, one to consume, each on a thread of its own.
///
/// Nothing connects before it is needed, and what is lost is made again. Calls to a broker that is
/// out of reach end with `unavailable`: `publish` by its deadline, the others when a try failed. A
/// call may take `answerSeconds` longer than its deadline while its connection is being made.
package final class AMQPJobQueue: JobQueue {
  let configuration: AMQPConfiguration
  let effects: Effects
  private let names: AMQPNames
  let publisher: PublisherConnection
  let consumer: ConsumerConnection
  /// Pools whose queues this object has made.
  private let prepared = Mutex<Set<PoolName>>([])

  /// How long storing a dead letter may take.
  private static let deadLetterSeconds = 10.0

  package init(configuration: AMQPConfiguration, effects: Effects, logger: Logger) {
    self.configuration = configuration
    self.effects = effects
    names = AMQPNames(prefix: configuration.namePrefix)
    publisher = PublisherConnection(configuration, effects: effects, logger: logger)
    consumer = ConsumerConnection(configuration, effects: effects, logger: logger)
  }

  package func prepare(_ pools: [PoolName]) async throws {
    try Task.checkCancellation()
    guard configuration.role == .coordinator else {
      throw QueueError(.refused, "an executor makes no queues", hint: "A coordinator does when it starts")
    }
    for pool in pools where prepared.withLock({ $0.contains(pool) }) {
      guard try await look(at: names.queue(pool)) == nil else { continue }
      // It was lost. Made again at once, it would leave consumers deaf.
      try await effects.time.sleep(seconds: ConsumerConnection.lossPauseSeconds)
      break
    }
    let topology = Topology(configuration: configuration)
    try await admin { link, channel throws(AMQPFault) in try topology.declare(pools, link, channel) }
    prepared.withLock { $0.formUnion(pools) }
  }

  package func publish(
    _ messages: [JobMessage], to pool: PoolName, deadlineSeconds: Double
  ) async throws -> [JobMessage: PublishOutcome] {
    try Task.checkCancellation()
    var seen: Set<JobMessage> = []
    let unique = messages.filter { seen.insert($0).inserted }
    let outgoing = try unique.map { message in
      OutgoingMessage(
        exchange: names.jobs, routingKey: pool.text, identifier: message.identifier, body: try message.body)
    }
    let outcomes = try await send(outgoing, deadlineSeconds: deadlineSeconds)
    return Dictionary(uniqueKeysWithValues: zip(unique, outcomes))
  }

  package func depth(of pool: PoolName) async throws -> QueueDepth {
    try Task.checkCancellation()
    return try await look(at: names.queue(pool)) ?? QueueDepth(ready: 0, consumers: 0)
  }

  package func openSlot(on pool: PoolName) async throws -> any JobSlot {
    try await open(names.queue(pool), isPatient: true)
  }

  package func openDeadLetters(of pool: PoolName) async throws -> any JobSlot {
    try await open(names.deadQueue(pool), isPatient: false)
  }

  package func publishDeadLetter(_ letter: DeadLetterMessage, to pool: PoolName) async throws {
    try Task.checkCancellation()
    let message = OutgoingMessage(
      exchange: names.dead, routingKey: pool.text, identifier: letter.identifier, body: try letter.body)
    switch try await send([message], deadlineSeconds: Self.deadLetterSeconds).first {
    case .confirmed: return
    case .returned(let reason):
      throw QueueError(.unavailable, "the dead letter was not taken: \(reason)", hint: "A coordinator makes the queue")
    case .unknown, nil:
      throw QueueError(.unavailable, "the broker did not confirm the dead letter within \(Self.deadLetterSeconds) s")
    }
  }

  package func close() async {
    await publisher.close()
    await consumer.close()
  }

  private func send(_ messages: [OutgoingMessage], deadlineSeconds: Double) async throws -> [PublishOutcome] {
    guard !messages.isEmpty else { return [] }
    let batch = PublishBatch(messages, deadlineSeconds: effects.time.monotonicSeconds() + deadlineSeconds)
    await publisher.submit(batch)
    return try await batch.outcomes()
  }

  private func open(_ queue: String, isPatient: Bool) async throws -> any JobSlot {
    try Task.checkCancellation()
    let (channel, mailbox) = try await consumer.openSlot(on: queue, isPatient: isPatient)
    return AMQPSlot(connection: consumer, channel: channel, mailbox: mailbox)
  }

  /// Nil where there is no such queue.
  private func look(at queue: String) async throws -> QueueDepth? {
    do {
      let (messages, consumers) = try await consumer.withAdminChannel { link, channel throws(AMQPFault) in
        try link.look(at: queue, on: channel)
      }
      return QueueDepth(ready: messages, consumers: consumers)
    } catch let fault as AMQPFault {
      if fault.isMissingQueue { return nil }
      throw fault.error(configuration)
    }
  }

  func admin(_ work: @Sendable (AMQPLink, UInt16) throws(AMQPFault) -> Void) async throws {
    do {
      try await consumer.withAdminChannel(work)
    } catch let fault as AMQPFault {
      throw fault.error(configuration)
    }
  }
}

/// A slot that is released without `close` gives its delivery back at the connection's next turn.
private final class AMQPSlot: JobSlot {
  private let connection: ConsumerConnection
  private let channel: UInt16
  private let mailbox: SlotMailbox

  init(connection: ConsumerConnection, channel: UInt16, mailbox: SlotMailbox) {
    self.connection = connection
    self.channel = channel
    self.mailbox = mailbox
  }

  deinit { mailbox.close() }

  func next() async throws -> Delivery? {
    if mailbox.isOrphaned { await connection.letGo(channel, mailbox) }
    return try await mailbox.next()
  }

  func acknowledge(_ delivery: Delivery) async throws { await connection.acknowledge(delivery, channel, mailbox) }
  func reject(_ delivery: Delivery) async throws { await connection.reject(delivery, channel, mailbox) }

  func close() async {
    mailbox.close()
    await connection.closeSlot(channel, mailbox)
  }
}
