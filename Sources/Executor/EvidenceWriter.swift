import Foundation
import Logging
import Model
import RecordStore

/// Collects what an attempt prints and writes it to the store in chunks while the attempt runs.
///
/// Bounded: what does not fit into `maxPendingBytes` while the store is away, and what goes beyond
/// `maxLogBytes` in all, is left out, with a line that says so.
actor EvidenceWriter: BuildReport {
  static let maxPendingBytes = 4 << 20
  static let maxLogBytes = 64 << 20

  private let executor: Executor
  private let fence: Fence
  private var pending: [UInt8] = []
  private var steps: [StepTiming] = []
  private var sequence = 0
  private var total = 0
  private var omitted = 0
  private(set) var tail: [UInt8] = []

  init(executor: Executor, fence: Fence) {
    self.executor = executor
    self.fence = fence
  }

  func log(_ bytes: [UInt8]) {
    total += bytes.count
    tail.append(contentsOf: bytes)
    if tail.count > 16_384 { tail.removeFirst(tail.count - 8192) }
    let waiting = pending.count + chunks.reduce(0) { $0 + $1.bytes.count }
    if waiting + bytes.count > Self.maxPendingBytes || total > Self.maxLogBytes {
      omitted += bytes.count
    } else {
      pending.append(contentsOf: bytes)
    }
  }

  func step(_ timing: StepTiming) { steps.append(timing) }

  /// Writes what is there whenever there is some; ends when cancelled.
  func flushForever() async -> AttemptEnd? {
    while !Task.isCancelled {
      do { try await executor.effects.time.sleep(seconds: executor.settings.flushSeconds) } catch { break }
      try? await flush()
    }
    return nil
  }

  /// Behind what was printed before.
  func add(_ results: [TestResult]) {
    if let bytes = try? JSONEncoder().encode(results) { queue(.tests, Array(bytes)) }
  }

  /// What remains, the steps' timings last. Nobody else writes any more.
  func finish() async {
    if omitted > 0 { pending.append(contentsOf: Array("[\(omitted) bytes of log left out]\n".utf8)) }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    if !steps.isEmpty, let bytes = try? encoder.encode(steps) { queue(.steps, Array(bytes)) }
    do {
      try await flush()
    } catch {
      // The attempt's outcome matters more than the end of its log.
      executor.logger.warning("evidence lost", metadata: ["job": "\(fence.job)", "error": "\(error)"])
    }
  }

  // MARK: Writing

  /// Numbered, in order; the first may be on its way. What was numbered never changes: when an answer is
  /// lost, the same number is sent again with the same bytes.
  private var chunks: [EvidenceChunk] = []
  private var isFlushing = false

  private func flush() async throws {
    // The actor is re-entrant at every await: one writer at a time keeps the order.
    guard !isFlushing else { return }
    isFlushing = true
    defer { isFlushing = false }
    while true {
      if chunks.isEmpty { queuePending() }
      guard let next = chunks.first else { return }
      try await executor.store.append(next, fence: fence)
      chunks.removeFirst()
    }
  }

  private func queue(_ stream: EvidenceChunk.Stream, _ bytes: [UInt8]) {
    queuePending()
    number(stream, bytes)
  }

  private func queuePending() {
    number(.log, pending)
    pending = []
  }

  private func number(_ stream: EvidenceChunk.Stream, _ bytes: [UInt8]) {
    for start in stride(from: 0, to: bytes.count, by: EvidenceChunk.maxBytes) {
      let piece = Array(bytes[start..<min(start + EvidenceChunk.maxBytes, bytes.count)])
      chunks.append(EvidenceChunk(stream: stream, sequence: sequence, bytes: piece))
      sequence += 1
    }
  }
}
