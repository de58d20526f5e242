package import Logging
package import Model
package import RecordStore

/// The farm's store. Connects when it is first used, and again after every loss.
///
/// A transaction whose connection is lost throws `.unavailable`; where that happened during COMMIT the
/// message says that it may have taken effect. Conflicts (40001, 40P01) are tried again here.
package final class PostgresEngine: SQLEngine {
  /// How often a transaction is run in all when others are in its way.
  static let maxConflictAttempts = 10

  let configuration: PostgresConfiguration
  private let effects: Effects
  private let logger: Logger
  private let pool: PostgresPool
  private let gate: ReconnectGate
  private let feed = TopicFeed()
  private let listener: PostgresListener
  private let announcer = Announcer()

  package init(
    configuration: PostgresConfiguration, effects: Effects, logger: Logger = Logger(label: "kiln.store")
  ) {
    self.configuration = configuration
    self.effects = effects
    self.logger = logger
    let gate = ReconnectGate(effects)
    self.gate = gate
    pool = PostgresPool(
      (0..<max(1, configuration.maxConnections)).map { _ in
        PostgresConnection(configuration, gate: gate, logger: logger)
      })
    listener = PostgresListener(configuration, feed: feed, effects: effects, logger: logger)
  }

  package func transaction<Value: Sendable>(_ body: @escaping @Sendable (any SQLTransaction) throws -> Value)
    async throws -> Value
  { try await transaction(timeoutSeconds: configuration.statementTimeoutSeconds, body) }

  func transaction<Value: Sendable>(
    timeoutSeconds: Double, _ body: @escaping @Sendable (any SQLTransaction) throws -> Value
  ) async throws -> Value {
    var attempt = 1
    while true {
      try await gate.pass()
      do {
        return try await pool.withConnection { connection in
          try await connection.transaction(timeoutSeconds: timeoutSeconds, body)
        }
      } catch let error as StoreError where error.code == .conflict {
        guard attempt < Self.maxConflictAttempts else {
          throw StoreError(.conflict, "gave up after \(attempt) attempts: \(error.message)")
        }
        logger.debug("transaction conflict", metadata: ["error": "\(error)", "attempt": "\(attempt)"])
        let bound = min(1, 0.005 * Double(1 << attempt))
        try await effects.time.sleep(seconds: effects.random.fraction() * bound)
        attempt += 1
      }
    }
  }

  package func call(_ procedure: Procedure, _ arguments: [SQLValue]) async throws -> [SQLRow] {
    guard arguments.count == procedure.arguments.count else {
      throw StoreError(
        .statement, "\(procedure.name) takes \(procedure.arguments.count) arguments, not \(arguments.count)")
    }
    // Cast, so that a null has a type too and finds the function among its older forms.
    let list = procedure.arguments.enumerated().map { "$\($0 + 1)::\($1.rawValue)" }.joined(separator: ", ")
    let call = "SELECT * FROM \(configuration.schema).\(procedure.name)(\(list))"
    let rows = try await transaction { try $0.run(call, arguments) }
    return procedure.result.isEmpty ? [] : rows
  }

  package func notify(_ topic: String) async {
    // The server takes 7,999 bytes at most.
    let topic = topic.utf8.count < 8000 && !topic.utf8.contains(0) ? topic : ""
    await announcer.announce(topic) { topics in
      do {
        try await transaction { transaction in
          for topic in topics { try transaction.run("SELECT kiln_notify($1::text)", [.text(topic)]) }
        }
      } catch {
        logger.warning("announcement lost", metadata: ["error": "\(error)"])
      }
    }
  }

  package func notifications() async throws -> AsyncThrowingStream<String, any Error> {
    guard configuration.role == .coordinator else {
      throw StoreError(.refused, "an executor does not listen to the store; its work comes by the queue")
    }
    try await listener.start()
    return feed.listen()
  }

  package func close() async {
    await pool.close()
    await listener.close()
    feed.finish()
  }
}
