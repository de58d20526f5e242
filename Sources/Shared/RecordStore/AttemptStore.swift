package import Model

/// What an executor may do in the record store, and nothing more: on the farm its account can only
/// call these.
///
/// Every write carries the fence; `StaleFence` means that the attempt is no longer the job's, and
/// nothing was written. All writes are idempotent: after a `StoreError` of code `.unavailable` the
/// same call may be made again, whether or not it took effect.
package protocol AttemptStore: Sendable {
  /// Makes the executor known, with what it found out about its host.
  func announce(_ executor: ExecutorName, pool: PoolName, slots: Int, host: HostFacts) async throws

  /// Claims a ready or queued job. Asking again with the same nonce returns the same claim, its lease
  /// renewed.
  func claim(_ job: JobID, executor: ExecutorName, nonce: String, leaseSeconds: Double) async throws -> ClaimOutcome

  /// Extends the lease by the store's clock.
  func heartbeat(_ fence: Fence, leaseSeconds: Double) async throws -> HeartbeatOutcome

  /// Keeps a piece of the attempt's evidence; the same sequence twice is kept once.
  func append(_ chunk: EvidenceChunk, fence: Fence) async throws

  /// The layer is available at its digest; its children become ready, in one transaction.
  func completeLayer(_ result: LayerResult, fence: Fence) async throws

  /// The cell passed, with its record, in one transaction.
  func completeCell(_ record: CompatibilityRecord, fence: Fence) async throws

  /// The attempt failed; the job is delayed, or dead with its letter. A failed cell's last attempt
  /// brings a record too.
  func fail(_ failure: Failure, decision: RetryPolicy.Decision, record: CompatibilityRecord?, fence: Fence)
    async throws

  /// The job is ready again and the attempt does not count. Also how an attempt ends whose job nobody wants
  /// any more (`HeartbeatOutcome.cancelled`): that job is cancelled, as it is by `fail` and `parentLost`.
  func giveBack(_ fence: Fence, reason: String) async throws

  /// The image that the job stands on, or that it grafts, is gone: that layer gets a new generation and
  /// the job waits for it; the attempt does not count. Where the layer was built again meanwhile, the
  /// job is ready at once.
  func parentLost(_ fence: Fence, _ lost: LostLayer) async throws
}

package enum ClaimOutcome: Sendable, Hashable {
  case granted(Claim)
  /// Somebody else has it, or it is over, or unknown: acknowledge and drop.
  case refused(reason: String)
}

package enum HeartbeatOutcome: Sendable, Hashable {
  case extended
  /// End the build: the job was cancelled.
  case cancelled
  /// End the build: the attempt is no longer the job's.
  case stale
}

package struct StaleFence: Error, Sendable, Hashable, CustomStringConvertible {
  package var fence: Fence
  package init(_ fence: Fence) { self.fence = fence }
  package var description: String { "job \(fence.job): attempt \(fence.attempt) is no longer the job's" }
}

package struct StoreError: Error, Sendable, CustomStringConvertible {
  package enum Code: String, Sendable {
    /// Out of reach or restarting; it may work again.
    case unavailable
    /// Another transaction was in the way (40001, 40P01, SQLITE_BUSY); the driver tries again itself.
    case conflict
    /// The schema asks for a newer Kiln, or has none yet.
    case schema
    case refused
    /// A statement failed: our bug, or a damaged store.
    case statement
  }

  package var code: Code
  package var message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { "store: \(message)" }
  package var failure: Failure { Failure(.infrastructure, code: "store-\(code.rawValue)", message) }
}
