import Foundation
import Logging

/// Keeps every line that is logged, metadata and all.
// Unchecked: `kept` is only touched under `lock`.
final class TestLog: @unchecked Sendable {
  private let lock = NSLock()
  private var kept: [String] = []

  var lines: [String] { lock.withLock { kept } }

  func logger() -> Logger {
    var logger = Logger(label: "test") { _ in Handler(log: self) }
    logger.logLevel = .trace
    return logger
  }

  private struct Handler: LogHandler {
    let log: TestLog
    var logLevel: Logger.Level = .trace
    var metadata: Logger.Metadata = [:]

    init(log: TestLog) { self.log = log }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let facts = metadata.merging(event.metadata ?? [:]) { $1 }.map { "\($0)=\($1)" }.sorted()
      let line = ([event.level.rawValue, "\(event.message)"] + facts).joined(separator: " ")
      log.lock.withLock { log.kept.append(line) }
    }
  }
}
