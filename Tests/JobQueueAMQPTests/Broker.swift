import Foundation
import JobQueue
import Logging
import Model
import TestSupport

@testable import JobQueueAMQP

/// A test's own corner of the real broker: a prefix of names, removed when the test ends.
struct Broker {
  let url: String
  let prefix = "kilntest-\(UInt64.random(in: 0...UInt64.max))"
  let pool = PoolName(text: "pool")

  init() throws { url = try Services.require("KILN_TEST_AMQP_URL") }

  func configuration(role: AMQPConfiguration.Role = .coordinator, through proxy: TCPProxy? = nil) throws
    -> AMQPConfiguration
  {
    var url = url
    if let proxy, var parts = URLComponents(string: url) {
      parts.port = proxy.port
      url = parts.string ?? url
    }
    return try AMQPConfiguration(url: url, role: role, namePrefix: prefix)
  }

  func proxy() throws -> TCPProxy { try TCPProxy(to: try configuration().port) }

  /// Gives `body` an open queue, and afterwards removes everything that has the prefix.
  func withQueue(
    _ configuration: AMQPConfiguration? = nil, _ body: (AMQPJobQueue) async throws -> Void
  ) async throws {
    let queue = open(try configuration ?? self.configuration())
    let result: Result<Void, any Error>
    do { result = .success(try await body(queue)) } catch { result = .failure(error) }
    await queue.close()
    let cleaner = open(try self.configuration())
    try await cleaner.remove([pool, PoolName(text: "\(pool)-other")])
    await cleaner.close()
    try result.get()
  }

  func open(_ configuration: AMQPConfiguration) -> AMQPJobQueue {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    return AMQPJobQueue(configuration: configuration, effects: .system(), logger: logger)
  }

  /// Publishes a body that is nobody's format.
  func publish(_ body: [UInt8], on queue: AMQPJobQueue) async throws -> [PublishOutcome] {
    let names = AMQPNames(prefix: prefix)
    let batch = PublishBatch(
      [OutgoingMessage(exchange: names.jobs, routingKey: pool.text, identifier: "raw", body: body)],
      deadlineSeconds: queue.monotonicSeconds + 10)
    await queue.publisher.submit(batch)
    return try await batch.outcomes()
  }
}

extension AMQPJobQueue {
  var monotonicSeconds: Double { effects.time.monotonicSeconds() }
}
