import JobQueue
import Logging
import Model

/// A link that is made when it is needed and made again after a loss; what both kinds of connection
/// share. Used on its connection's thread.
struct LinkKeeper {
  let configuration: AMQPConfiguration
  let purpose: String
  let effects: Effects
  let logger: Logger
  private(set) var link: AMQPLink?
  private var reconnect = Reconnect()
  /// Why there is no link.
  private(set) var lastError = QueueError(.unavailable, "not connected yet")

  init(configuration: AMQPConfiguration, purpose: String, effects: Effects, logger: Logger) {
    self.configuration = configuration
    self.purpose = purpose
    self.effects = effects
    var logger = logger
    logger[metadataKey: "broker"] = "\(configuration.host):\(configuration.port)"
    logger[metadataKey: "connection"] = "\(purpose)"
    self.logger = logger
  }

  var now: Double { effects.time.monotonicSeconds() }
  /// When the next try is due, while there is no link.
  var dueSeconds: Double { reconnect.dueSeconds }

  /// Connects now and lets `prepare` ready the link; throws `lastError` where it fails. Blocks.
  mutating func connect(_ prepare: (AMQPLink) throws(AMQPFault) -> Void = { _ in }) throws(QueueError) -> AMQPLink {
    do throws(AMQPFault) {
      let link = try AMQPLink(configuration, purpose: purpose)
      try prepare(link)
      self.link = link
      reconnect.connected(at: now)
      logger.info("connected to the broker")
      return link
    } catch {
      lose(error)
      throw lastError
    }
  }

  mutating func lose(_ fault: AMQPFault) {
    link = nil
    lastError = fault.error(configuration)
    reconnect.lost(at: now, fraction: effects.random.fraction())
    logger.warning(
      "no connection to the broker",
      metadata: [
        "error": "\(lastError.message)", "failures": "\(reconnect.failures)",
        "retryInSeconds": "\(max(0, reconnect.dueSeconds - now))",
      ])
  }

  mutating func close() {
    link?.close()
    link = nil
    lastError = .queueClosed
  }

  /// How long the thread may sleep before it must look at the link, `dueTimes` apart: librabbitmq
  /// sends a heartbeat only when it is called.
  func timeoutMilliseconds(_ dueTimes: Double?...) -> Int32? {
    let heartbeat = link.map { _ in now + Double(max(1, configuration.heartbeatSeconds)) / 4 }
    guard let due = (dueTimes + [heartbeat]).compactMap(\.self).min() else { return nil }
    return Int32(min(max(0, (due - now) * 1000).rounded(.up), 60_000))
  }
}

extension QueueError {
  static let queueClosed = QueueError(.closed, "the queue is closed")
}
