import Foundation
import JobQueue
import Model

/// The in-process queue, with what a broker may do besides: refuse, lose, keep silent, be away.
// Unchecked: all state is under `lock`.
final class FaultyQueue: JobQueue, @unchecked Sendable {
  private let lock = NSLock()
  private var queue = InProcessJobQueue()
  private var faults: [PoolName: Fault] = [:]
  private var prepared: [PoolName] = []
  private var box: LetterBox?

  enum Fault: Sendable {
    /// Nothing gets through.
    case unavailable
    /// There is no queue, and none can be made.
    case refusing
    /// Messages arrive and nobody says so.
    case silent
    /// Messages come back.
    case returning
  }

  func set(_ fault: Fault?, for pool: PoolName) { lock.withLock { faults[pool] = fault } }
  func deliverDeadLetters(from box: LetterBox) { lock.withLock { self.box = box } }
  /// Each pool as often as it was prepared.
  var preparations: [PoolName] { lock.withLock { prepared } }

  /// All messages are gone, and nobody was told.
  func purge(_ pools: [PoolName]) async throws {
    let empty = InProcessJobQueue()
    try await empty.prepare(pools)
    lock.withLock { queue = empty }
  }

  private var current: InProcessJobQueue { lock.withLock { queue } }
  private func fault(_ pool: PoolName) -> Fault? { lock.withLock { faults[pool] } }

  func prepare(_ pools: [PoolName]) async throws {
    if pools.contains(where: { fault($0) == .refusing }) { throw QueueError(.refused, "other arguments") }
    if pools.contains(where: { fault($0) == .unavailable }) { throw QueueError(.unavailable, "the broker is away") }
    lock.withLock { prepared += pools }
    try await current.prepare(pools)
  }

  func publish(_ messages: [JobMessage], to pool: PoolName, deadlineSeconds: Double) async throws
    -> [JobMessage: PublishOutcome]
  {
    switch fault(pool) {
    case .unavailable: throw QueueError(.unavailable, "the broker is away")
    case .refusing, .returning:
      return Dictionary(uniqueKeysWithValues: messages.map { ($0, .returned("there is no queue")) })
    case .silent:
      _ = try await current.publish(messages, to: pool, deadlineSeconds: deadlineSeconds)
      return Dictionary(uniqueKeysWithValues: messages.map { ($0, .unknown) })
    case nil: return try await current.publish(messages, to: pool, deadlineSeconds: deadlineSeconds)
    }
  }

  func depth(of pool: PoolName) async throws -> QueueDepth {
    if fault(pool) == .unavailable { throw QueueError(.unavailable, "the broker is away") }
    return try await current.depth(of: pool)
  }

  func openSlot(on pool: PoolName) async throws -> any JobSlot { try await current.openSlot(on: pool) }

  func publishDeadLetter(_ letter: DeadLetterMessage, to pool: PoolName) async throws {
    if fault(pool) == .unavailable { throw QueueError(.unavailable, "the broker is away") }
    try await current.publishDeadLetter(letter, to: pool)
  }

  func openDeadLetters(of pool: PoolName) async throws -> any JobSlot {
    if let box = lock.withLock({ box }) { return box.slot() }
    return try await current.openDeadLetters(of: pool)
  }

  func close() async { await current.close() }
}

/// A dead-letter queue with any bytes in it. What is not acknowledged comes again to the next slot; at
/// the end of the letters a slot is closed.
// Unchecked: all state is under `lock`.
final class LetterBox: @unchecked Sendable {
  private let lock = NSLock()
  private var waiting: [(tag: UInt64, body: [UInt8])]
  private var acknowledgements: [UInt64] = []

  init(_ bodies: [[UInt8]]) { waiting = bodies.enumerated().map { (UInt64($0 + 1), $1) } }

  /// Tags in the order in which they were acknowledged; the first letter's is 1.
  var acknowledged: [UInt64] { lock.withLock { acknowledgements } }

  func slot() -> any JobSlot { Slot(box: self) }

  private struct Slot: JobSlot {
    let box: LetterBox

    func next() async throws -> Delivery? {
      box.lock.withLock {
        box.waiting.first.map { Delivery(tag: $0.tag, epoch: 1, body: $0.body, redelivered: false) }
      }
    }

    func acknowledge(_ delivery: Delivery) async throws {
      box.lock.withLock {
        box.acknowledgements.append(delivery.tag)
        box.waiting.removeAll { $0.tag == delivery.tag }
      }
    }

    func reject(_ delivery: Delivery) async throws { throw QueueError(.refused, "a dead letter cannot be rejected") }
    func close() async {}
  }
}
