import Foundation
import JobQueue
import Logging
import Model
import RecordStore

/// Brings what arrives in a pool's dead-letter queue into the store, bytes kept, then acknowledges.
struct DeadLetterLoop: CoordinatorLoop {
  let coordinator: Coordinator
  let pool: PoolName

  func loop() async {
    while !Task.isCancelled {
      do {
        return try await listen()
      } catch is CancellationError {
        return
      } catch {
        coordinator.logger.warning("dead letters interrupted", metadata: ["pool": "\(pool)", "error": "\(error)"])
        try? await coordinator.effects.time.sleep(seconds: 1)
        // A broker that lost its data lost this queue with the others.
        do {
          try await coordinator.queue.prepare([pool])
        } catch is CancellationError {
          return
        } catch {
          coordinator.logger.warning("queue not ready", metadata: ["pool": "\(pool)", "error": "\(error)"])
        }
      }
    }
  }

  /// Until the queue is closed.
  private func listen() async throws {
    let slot = try await coordinator.queue.openDeadLetters(of: pool)
    do {
      while let delivery = try await slot.next() { try await keep(delivery, slot) }
      await slot.close()
    } catch {
      await slot.close()
      throw error
    }
  }

  private func keep(_ delivery: Delivery, _ slot: any JobSlot) async throws {
    let bytes = Data(delivery.body)
    let identifier: String
    if let letter = try? JSONDecoder().decode(DeadLetterMessage.self, from: bytes) {
      identifier = letter.identifier
    } else {
      // The same bytes are the same letter, however often they come.
      identifier = "bytes:\(Digest(of: bytes).hex)"
      coordinator.logger.error("dead letter", metadata: ["pool": "\(pool)", "letter": "\(identifier)"])
    }
    try await coordinator.effects.failpoints.reach(.deadLetterBeforeStore)
    let message = try? JobMessage(body: delivery.body)
    // The store knows the job better than a message about it: nobody has to look at that.
    let settled = message.map { "delivered too often; its job \($0.job) goes on without it" }
    try await coordinator.store.storeDeadLetter(
      delivery.body, pool: pool, identifier: identifier, settled: settled)
    if let message,
      try await coordinator.store.reviveOverDelivered(
        message, afterSeconds: coordinator.settings.publishRetrySeconds)
    {
      coordinator.logger.warning("delivered too often, ready again", metadata: ["job": "\(message.job)"])
    }
    try await coordinator.effects.failpoints.reach(.deadLetterBeforeAcknowledge)
    try await slot.acknowledge(delivery)
  }
}
