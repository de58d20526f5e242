package import Model

/// Distributes jobs to the executors of a pool. The store is the truth; a queue only distributes:
/// it may deliver twice, late, or (when it is purged) never, and the coordinator heals that.
///
/// Errors: everything throws `QueueError`. Every call suspends without blocking a thread of the
/// cooperative pool, and throws `CancellationError` when its task is cancelled.
package protocol JobQueue: Sendable {
  /// Makes the pools' queues and dead-letter queues exist, dead-letter queues first. Idempotent.
  func prepare(_ pools: [PoolName]) async throws

  /// Publishes durably and returns when each message's fate is known or `deadlineSeconds` passed.
  func publish(_ messages: [JobMessage], to pool: PoolName, deadlineSeconds: Double) async throws
    -> [JobMessage: PublishOutcome]

  /// What the queue holds now; consumers' unacknowledged deliveries are not counted. A queue that
  /// does not exist is empty.
  func depth(of pool: PoolName) async throws -> QueueDepth

  /// One slot of an executor: holds at most one unacknowledged delivery. The queue need not exist
  /// yet, nor the broker be in reach: the slot waits for both. Throws where the broker refuses.
  func openSlot(on pool: PoolName) async throws -> any JobSlot

  /// Announces that a job will not be tried again without a person; returns when the letter is
  /// stored. Idempotent for the reader by `letter.identifier`.
  func publishDeadLetter(_ letter: DeadLetterMessage, to pool: PoolName) async throws

  /// What arrived in the pool's dead-letter queue, one delivery at a time. There is nothing further
  /// to reject to: only acknowledge. Where the queue was lost, `next` throws `unavailable`: `prepare` makes it.
  func openDeadLetters(of pool: PoolName) async throws -> any JobSlot

  /// Ends every slot and connection. Idempotent.
  func close() async
}

/// A standing consumer with a prefetch of one. Not to be shared between tasks.
package protocol JobSlot: Sendable {
  /// The next delivery; suspends until there is one. Nil after `close`. A slot that lost its
  /// connection reconnects by itself; the lost delivery comes again, here or elsewhere. Throws
  /// `refused` where the broker refuses for good; called again, it waits for the next try.
  func next() async throws -> Delivery?
  /// Only after the commit that it stands for. Nothing happens if the delivery's connection is gone.
  func acknowledge(_ delivery: Delivery) async throws
  /// Sends the delivery to the pool's dead-letter queue, bytes kept: it cannot be understood.
  func reject(_ delivery: Delivery) async throws
  func close() async
}

package struct Delivery: Sendable, Hashable {
  /// The driver's own tag; meaningless elsewhere.
  package var tag: UInt64
  /// Which connection's tag it is.
  package var epoch: Int
  package var body: [UInt8]
  package var redelivered: Bool

  package init(tag: UInt64, epoch: Int, body: [UInt8], redelivered: Bool) {
    self.tag = tag
    self.epoch = epoch
    self.body = body
    self.redelivered = redelivered
  }
}

package enum PublishOutcome: Sendable, Hashable {
  /// The queue holds it, on disk.
  case confirmed
  /// There is no queue for it, or it refused.
  case returned(String)
  /// Not known within the deadline; it may be there.
  case unknown
}

package struct QueueDepth: Sendable, Hashable {
  package var ready: Int
  package var consumers: Int

  package init(ready: Int, consumers: Int) {
    self.ready = ready
    self.consumers = consumers
  }
}

package struct DeadLetterMessage: Sendable, Hashable, Codable {
  package var v: Int = JobMessage.currentVersion
  package var job: JobID
  package var attempt: Int
  package var failure: Failure

  package init(job: JobID, attempt: Int, failure: Failure) {
    self.job = job
    self.attempt = attempt
    self.failure = failure
  }

  package var identifier: String { "dead:\(job):\(attempt)" }
}
