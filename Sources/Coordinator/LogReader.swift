package import Model
package import RecordStore

/// Reads a job's log from the store, from the start of an attempt; with `follow`, until the job's
/// state is final, going over to the next attempt when there is one.
package struct LogReader: Sendable {
  let store: any RecordStore
  let job: JobID
  let attempt: Int?
  let follow: Bool

  package init(store: any RecordStore, job: JobID, attempt: Int?, follow: Bool) {
    self.store = store
    self.job = job
    self.attempt = attempt
    self.follow = follow
  }

  /// `pause` returns when there may be more; false when nobody is left to write it.
  package func read(write: ([UInt8]) async throws -> Void, pause: () async throws -> Bool) async throws {
    var follow = follow
    var current = attempt
    var sequence = -1
    while true {
      let page = try await store.evidence(job, attempt: current, afterSequence: sequence, limit: 64)
      if current == nil, page.attempt > 0 { current = page.attempt }
      for chunk in page.chunks {
        if chunk.stream == .log { try await write(chunk.bytes) }
        sequence = chunk.sequence
      }
      if !page.chunks.isEmpty { continue }
      if !follow { return }
      // Also when the job is over: a whole attempt may have gone by since the last look.
      if page.isClosed, attempt == nil {
        let latest = try await store.evidence(job, attempt: nil, afterSequence: -1, limit: 1)
        if latest.attempt != current {
          try await write(Array("\n--- attempt \(latest.attempt)\n".utf8))
          (current, sequence) = (latest.attempt, -1)
          continue
        }
      }
      if page.isFinal || page.isClosed && attempt != nil { return }
      follow = try await pause()
    }
  }
}
