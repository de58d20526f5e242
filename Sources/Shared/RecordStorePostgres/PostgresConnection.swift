import BlockingThread
import Logging
import RecordStore

/// A connection on a thread of its own, made when it is first needed and again after it was lost.
actor PostgresConnection {
  private let thread: BlockingThread
  private let configuration: PostgresConfiguration
  private let gate: ReconnectGate
  private let logger: Logger
  private var handle: PostgresHandle?
  private var isClosed = false

  nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  init(_ configuration: PostgresConfiguration, gate: ReconnectGate, logger: Logger) {
    thread = BlockingThread(name: "kiln.postgres")
    self.configuration = configuration
    self.gate = gate
    self.logger = logger
  }

  // Isolated, so that the connection is freed on its thread.
  isolated deinit { handle = nil }

  func close() {
    isClosed = true
    handle = nil
  }

  /// Runs `body` once. Throws `.conflict` where it may be run again.
  func transaction<Value: Sendable>(
    timeoutSeconds: Double, _ body: @Sendable (any SQLTransaction) throws -> Value
  ) throws -> Value {
    guard !isClosed else { throw StoreError(.unavailable, "the store is closed") }
    let handle = try begin(timeoutSeconds)
    do {
      let transaction = PostgresTransaction(handle, timeoutSeconds: timeoutSeconds * 2)
      let value: Value
      do {
        value = try body(transaction)
      } catch {
        // What the server said decides whether it is tried again, whatever `body` made of it.
        if let failure = transaction.failure, failure.code == .conflict || handle.isLost { throw failure }
        throw error
      }
      if let failure = transaction.failure { throw failure }
      try commit(handle, timeoutSeconds)
      gate.succeeded()
      return value
    } catch {
      // An answer came, if only a bad one; otherwise everything else is lost with the connection.
      if !handle.isLost { _ = try? handle.command("ROLLBACK", timeoutSeconds: timeoutSeconds) }
      if handle.isLost {
        letGo(error)
      } else {
        gate.succeeded()
      }
      throw error
    }
  }

  private func begin(_ timeoutSeconds: Double) throws -> PostgresHandle {
    let milliseconds = Int(timeoutSeconds * 1000)
    // In every transaction, not once per connection: behind a transaction pooler the session is not ours.
    let begin = """
      BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = \(configuration.schema), pg_temp; \
      SET LOCAL synchronous_commit = on; SET LOCAL statement_timeout = \(milliseconds); \
      SET LOCAL idle_in_transaction_session_timeout = \(milliseconds)
      """
    if let handle {
      do {
        try handle.command(begin, timeoutSeconds: timeoutSeconds * 2)
        return handle
      } catch  where handle.isLost {
        // It ended while it was idle, and nothing was done yet: no caller needs to know.
        self.handle = nil
      } catch {
        _ = try? handle.command("ROLLBACK", timeoutSeconds: timeoutSeconds)
        throw error
      }
    }
    let handle: PostgresHandle
    do {
      handle = try PostgresHandle.connect(configuration)
      try handle.command(begin, timeoutSeconds: timeoutSeconds * 2)
    } catch {
      letGo(error)
      throw error
    }
    self.handle = handle
    return handle
  }

  private func commit(_ handle: PostgresHandle, _ timeoutSeconds: Double) throws {
    let tag: String
    do {
      tag = try handle.command("COMMIT", timeoutSeconds: timeoutSeconds * 2)
    } catch let error as StoreError where handle.isLost {
      throw StoreError(
        .unavailable, "the connection was lost during COMMIT, and the transaction may have happened: \(error.message)")
    }
    guard tag == "COMMIT" else { throw StoreError(.statement, "the transaction was not committed: \(tag)") }
  }

  private func letGo(_ error: any Error) {
    handle = nil
    gate.failed()
    logger.warning("store connection lost", metadata: ["error": "\(error)"])
  }
}

private final class PostgresTransaction: SQLTransaction {
  private let handle: PostgresHandle
  private let timeoutSeconds: Double
  private(set) var failure: StoreError?

  init(_ handle: PostgresHandle, timeoutSeconds: Double) {
    self.handle = handle
    self.timeoutSeconds = timeoutSeconds
  }

  func run(_ statement: String, _ arguments: [SQLValue]) throws -> [SQLRow] {
    if let failure { throw failure }
    do {
      try SQLValue.check(arguments)
      return try handle.query(SQLDialect.postgres.render(statement), arguments, timeoutSeconds: timeoutSeconds)
    } catch let error as StoreError {
      failure = error
      throw error
    }
  }
}
