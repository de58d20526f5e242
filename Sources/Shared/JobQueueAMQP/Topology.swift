import JobQueue
import Model

/// The exchanges and queues, and in which order they are made.
///
/// A pool's dead-letter queue stands before its source queue: a source whose target is missing stays
/// blocked for minutes after the repair. Dead letters have no length limit; a source refuses what is
/// above its own, which at-least-once dead-lettering needs.
struct Topology {
  let configuration: AMQPConfiguration

  private var names: AMQPNames { AMQPNames(prefix: configuration.namePrefix) }

  func declare(_ pools: [PoolName], _ link: AMQPLink, _ channel: UInt16) throws(AMQPFault) {
    try link.declareDirectExchange(names.dead, on: channel)
    try link.declareDirectExchange(names.jobs, on: channel)
    for pool in pools {
      try link.declareQueue(names.deadQueue(pool), [("x-queue-type", .text("quorum"))], on: channel)
      try link.bind(names.deadQueue(pool), to: names.dead, key: pool.text, on: channel)
    }
    for pool in pools {
      try link.declareQueue(names.queue(pool), sourceArguments(pool), on: channel)
      try link.bind(names.queue(pool), to: names.jobs, key: pool.text, on: channel)
    }
  }

  private func sourceArguments(_ pool: PoolName) -> [(String, AMQPValue)] {
    [
      ("x-queue-type", .text("quorum")),
      ("x-max-length", .integer(Int64(configuration.maxQueueMessages))),
      ("x-overflow", .text("reject-publish")),
      ("x-delivery-limit", .integer(Int64(configuration.deliveryLimit))),
      ("x-dead-letter-exchange", .text(names.dead)),
      ("x-dead-letter-routing-key", .text(pool.text)),
      ("x-dead-letter-strategy", .text("at-least-once")),
    ]
  }
}
