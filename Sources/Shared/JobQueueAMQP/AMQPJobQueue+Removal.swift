package import Model

extension AMQPJobQueue {
  /// Deletes the queues of `pools` with all that is in them, and the exchanges if no queue of another
  /// pool is bound to them: for what will not be used again, such as a test's.
  package func remove(_ pools: [PoolName]) async throws {
    let names = AMQPNames(prefix: configuration.namePrefix)
    try await admin { link, channel throws(AMQPFault) in
      for pool in pools {
        try link.deleteQueue(names.queue(pool), on: channel)
        try link.deleteQueue(names.deadQueue(pool), on: channel)
      }
    }
    for exchange in [names.jobs, names.dead] {
      do {
        try await consumer.withAdminChannel { link, channel throws(AMQPFault) in
          try link.deleteUnusedExchange(exchange, on: channel)
        }
      } catch let fault as AMQPFault {
        // Still in use, or gone already.
        guard fault.isOfChannel else { throw fault.error(configuration) }
      }
    }
  }

  /// Empties the pool's queue; the store heals what was lost.
  package func purge(_ pool: PoolName) async throws {
    let queue = AMQPNames(prefix: configuration.namePrefix).queue(pool)
    try await admin { link, channel throws(AMQPFault) in try link.purge(queue, on: channel) }
  }
}
