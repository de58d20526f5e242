import BlockingThread
import Logging
import Model
import RecordStore

/// A connection that only listens, on a thread that sleeps on its socket. When it is lost it comes
/// back by itself, with the empty topic for what was missed.
actor PostgresListener {
  /// A connection that has been silent for so long is asked whether it still stands.
  static let silenceSeconds = 30.0

  private let thread: BlockingThread
  private let configuration: PostgresConfiguration
  private let effects: Effects
  private let logger: Logger
  private let feed: TopicFeed
  private var handle: PostgresHandle?
  private var lastHeardSeconds = 0.0
  private var failures = 0
  private var state = State.new

  private enum State { case new, started, closed }

  nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  init(_ configuration: PostgresConfiguration, feed: TopicFeed, effects: Effects, logger: Logger) {
    thread = BlockingThread(name: "kiln.postgres.listen")
    self.configuration = configuration
    self.effects = effects
    self.logger = logger
    self.feed = feed
  }

  // Isolated, so that the connection is freed on its thread.
  isolated deinit {
    thread.stopWatching()
    handle = nil
  }

  /// Connects, unless that was done before. Throws what the first connection ran into.
  func start() throws {
    guard state != .started else { return }
    guard state == .new else { throw StoreError(.unavailable, "the store is closed") }
    try connect()
    state = .started
  }

  func close() {
    state = .closed
    thread.stopWatching()
    handle = nil
  }

  private func connect() throws {
    let handle = try PostgresHandle.connect(configuration)
    try handle.command("LISTEN \"\(configuration.schema)\"", timeoutSeconds: configuration.statementTimeoutSeconds)
    self.handle = handle
    failures = 0
    lastHeardSeconds = effects.time.monotonicSeconds()
    feed.announce("")
    wake(on: handle.descriptor, afterSeconds: Self.silenceSeconds)
  }

  private func wake(on descriptor: Int32?, afterSeconds: Double) {
    thread.watch(descriptor, timeoutMilliseconds: Int32(afterSeconds * 1000)) { [weak self] in
      self?.assumeIsolated { $0.look() }
    }
  }

  private func look() {
    guard state == .started else { return }
    do {
      guard let handle else { return try connect() }
      var topics = try handle.takeNotifications()
      let now = effects.time.monotonicSeconds()
      if topics.isEmpty, now - lastHeardSeconds >= Self.silenceSeconds {
        try handle.command("SELECT 1", timeoutSeconds: configuration.statementTimeoutSeconds)
        topics = try handle.takeNotifications()
        lastHeardSeconds = now
      }
      if !topics.isEmpty { lastHeardSeconds = now }
      for topic in topics { feed.announce(topic) }
    } catch {
      failures += 1
      let delay = ReconnectGate.delaySeconds(failures: failures, fraction: effects.random.fraction())
      logger.warning("store listener lost", metadata: ["error": "\(error)", "retryInSeconds": "\(delay)"])
      wake(on: nil, afterSeconds: delay)
      handle = nil
    }
  }
}
