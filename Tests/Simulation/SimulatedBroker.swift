import JobQueue
import Model

/// The in-process queue as a broker behind a network: connections are cut, confirms get lost, messages
/// come twice, and all of it may be wiped.
// Unchecked: used by the one thread that runs the scheduler.
final class SimulatedBroker: @unchecked Sendable {
  fileprivate unowned let world: SimulatedWorld
  fileprivate var queue = InProcessJobQueue()
  fileprivate var slots: [SimulatedSlot] = []
  /// When the broker first held a message.
  private(set) var accepted: [JobMessage: Int64] = [:]
  private(set) var deadLetters: Set<String> = []
  private var deliveries: [JobMessage: Int] = [:]

  /// Far above what cut connections explain: as a broker's delivery limit.
  static let maxDeliveries = 30

  init(world: SimulatedWorld) { self.world = world }

  /// A new broker on an empty disk.
  func wipe() async {
    let old = queue
    queue = InProcessJobQueue()
    for slot in slots { await slot.cut() }
    await old.close()
  }

  /// What was delivered and not acknowledged comes again, to whoever asks first.
  func cutAll() async { for slot in slots { await slot.cut() } }

  /// A message of a version that nobody knows.
  func putPoison(into pool: PoolName) async {
    var message = JobMessage(job: JobID(text: "poison"), dispatch: 1)
    message.v = 99
    _ = try? await queue.publish([message], to: pool, deadlineSeconds: 1)
  }

  fileprivate func noteDelivery(_ delivery: Delivery) {
    guard let message = try? JobMessage(body: delivery.body) else { return }
    deliveries[message, default: 0] += 1
    if deliveries[message] == Self.maxDeliveries {
      world.violate("message \(message) was delivered \(Self.maxDeliveries) times")
    }
  }

  fileprivate func add(_ message: JobMessage, to pool: PoolName) async throws -> PublishOutcome {
    let outcome = try await queue.publish([message], to: pool, deadlineSeconds: 1)[message] ?? .unknown
    if outcome == .confirmed, accepted[message] == nil { accepted[message] = world.now }
    return outcome
  }

  fileprivate func noteLetter(_ letter: DeadLetterMessage) { deadLetters.insert(letter.identifier) }
}

/// A process's connections to the broker.
struct SimulatedQueue: JobQueue {
  let world: SimulatedWorld
  let process: SimulatedProcess

  private var broker: SimulatedBroker { world.broker }

  fileprivate func checkConnection() async throws {
    await process.pause(milliseconds: world.latency())
    try Task.checkCancellation()
    if world.now < world.brokerAwayUntil || world.isUnlucky() {
      throw QueueError(.unavailable, "the broker does not answer")
    }
  }

  func prepare(_ pools: [PoolName]) async throws {
    try await checkConnection()
    try await broker.queue.prepare(pools)
  }

  func publish(_ messages: [JobMessage], to pool: PoolName, deadlineSeconds: Double) async throws
    -> [JobMessage: PublishOutcome]
  {
    try await checkConnection()
    var outcomes: [JobMessage: PublishOutcome] = [:]
    for message in messages {
      if world.isUnlucky() {
        outcomes[message] = world.random.happens(0.5) ? .returned("there is no queue") : .unknown
        continue
      }
      outcomes[message] = try await broker.add(message, to: pool)
      if world.isUnlucky() { _ = try await broker.add(message, to: pool) }
      if world.isUnlucky() { outcomes[message] = .unknown }
    }
    await process.pause(milliseconds: world.latency())
    return outcomes
  }

  func depth(of pool: PoolName) async throws -> QueueDepth {
    try await checkConnection()
    return try await broker.queue.depth(of: pool)
  }

  func openSlot(on pool: PoolName) async throws -> any JobSlot { slot(pool, isForLetters: false) }
  func openDeadLetters(of pool: PoolName) async throws -> any JobSlot { slot(pool, isForLetters: true) }

  private func slot(_ pool: PoolName, isForLetters: Bool) -> any JobSlot {
    let slot = SimulatedSlot(queue: self, pool: pool, isForLetters: isForLetters)
    broker.slots.append(slot)
    let (world, process) = (self.world, self.process)
    process.onKill {
      // The broker sees the connection end.
      Task(executorPreference: world.process) {
        await slot.close()
        _ = process
      }
    }
    return slot
  }

  func publishDeadLetter(_ letter: DeadLetterMessage, to pool: PoolName) async throws {
    try await checkConnection()
    try await broker.queue.publishDeadLetter(letter, to: pool)
    broker.noteLetter(letter)
    if world.isUnlucky() { throw QueueError(.unavailable, "the connection broke before the confirm came") }
  }

  func close() async {}
}

// Unchecked: used by the one thread that runs the scheduler.
private final class SimulatedSlot: JobSlot, @unchecked Sendable {
  private let queue: SimulatedQueue
  private let pool: PoolName
  private let isForLetters: Bool
  private var inner: (any JobSlot)?
  private var epoch = 0
  private var isClosed = false

  init(queue: SimulatedQueue, pool: PoolName, isForLetters: Bool) {
    (self.queue, self.pool, self.isForLetters) = (queue, pool, isForLetters)
  }

  private var world: SimulatedWorld { queue.world }

  func cut() async {
    let old = inner
    inner = nil
    epoch += 1
    await old?.close()
  }

  func next() async throws -> Delivery? {
    while !isClosed {
      if inner == nil { try await connect() }
      let (epoch, slot) = (self.epoch, inner)
      guard let delivery = try await slot?.next(), self.epoch == epoch else { continue }
      world.broker.noteDelivery(delivery)
      await queue.process.pause(milliseconds: world.latency())
      if let message = try? JobMessage(body: delivery.body) { queue.process.asked.remove(message.job) }
      let delivered = Delivery(
        tag: delivery.tag, epoch: epoch, body: delivery.body, redelivered: delivery.redelivered)
      if world.mutant?.acknowledgesOnDelivery == true, !isForLetters {
        world.meetMutant()
        try await acknowledge(delivered)
      }
      return delivered
    }
    return nil
  }

  private func connect() async throws {
    do {
      try await queue.checkConnection()
      let slot =
        isForLetters
        ? try await world.broker.queue.openDeadLetters(of: pool) : try await world.broker.queue.openSlot(on: pool)
      if isClosed { return await slot.close() }
      inner = slot
    } catch let error as QueueError where error.code != .refused {
      try await VirtualTime(process: queue.process).sleep(seconds: 1)
    }
  }

  func acknowledge(_ delivery: Delivery) async throws {
    if !isForLetters { checkAcknowledgement(delivery) }
    await queue.process.pause(milliseconds: world.latency())
    guard delivery.epoch == epoch else { return }
    if world.mutant?.requeues == true { world.meetMutant() }
    if world.isUnlucky() || world.mutant?.requeues == true { return await cut() }
    try await inner?.acknowledge(delivery)
  }

  /// Only when the store knows the end, or that there is nothing to end.
  private func checkAcknowledgement(_ delivery: Delivery) {
    guard let message = try? JobMessage(body: delivery.body) else { return }
    if !queue.process.asked.contains(message.job) { world.violate("\(message) was acknowledged before its claim") }
    if queue.process.isAttemptOpen { world.violate("\(message) was acknowledged before its commit") }
  }

  func reject(_ delivery: Delivery) async throws {
    await queue.process.pause(milliseconds: world.latency())
    guard delivery.epoch == epoch else { return }
    try await inner?.reject(delivery)
  }

  func close() async {
    isClosed = true
    await cut()
    world.broker.slots.removeAll { $0 === self }
  }
}
