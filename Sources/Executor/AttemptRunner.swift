import Foundation
import Logging
import Model
import RecordStore
import Registry

/// Sees one delivered job through: claim, work under a lease, and how it ended, written with the fence.
///
/// Returns when the store knows the end, so that the delivery may be acknowledged. Throws only
/// `CancellationError`, after the job was given back, and `NotClaimed`.
struct AttemptRunner {
  let executor: Executor
  /// Then nothing is claimed any more.
  var isStopping: @Sendable () -> Bool = { false }

  struct NotClaimed: Error {}

  private var time: any TimeSource { executor.effects.time }

  /// The class of the failure, if the attempt failed.
  @discardableResult
  func run(_ job: JobID) async throws -> FailureClass? {
    try await executor.effects.failpoints.reach(.attemptBeforeClaim)
    let nonce = executor.effects.identifier()
    let (sent, outcome) = try await persist {
      // What a try before this one may have claimed, its lease will tell.
      if isStopping() { throw NotClaimed() }
      // Of the call that is answered: whichever took effect first, it renews the lease.
      let sent = time.monotonicSeconds()
      let outcome = try await executor.store.claim(
        job, executor: executor.name, nonce: nonce, leaseSeconds: executor.settings.leaseSeconds)
      return (sent, outcome)
    }
    try await executor.effects.failpoints.reach(.attemptAfterClaim)
    switch outcome {
    case .refused(let reason):
      executor.logger.debug("delivery dropped", metadata: ["job": "\(job)", "reason": "\(reason)"])
      return nil
    case .granted(let claim):
      return try await work(claim, leaseFrom: sent)
    }
  }

  private func work(_ claim: Claim, leaseFrom: Double) async throws -> FailureClass? {
    let log = logger(claim)
    log.info("attempt started", metadata: ["title": "\(claim.spec.title)"])
    let evidence = EvidenceWriter(executor: executor, fence: claim.fence)
    let lease = LeaseKeeper(executor: executor, fence: claim.fence, validFrom: leaseFrom)
    let end = await withTaskGroup(of: AttemptEnd?.self) { group in
      group.addTask {
        await Self.end(claim) { try await JobWork(executor: executor, claim: claim, evidence: evidence).run() }
      }
      group.addTask { await lease.renew() }
      group.addTask { await lease.expire() }
      group.addTask { await evidence.flushForever() }
      // The work's end or the lease's, whichever comes first; the flusher has none.
      var end: AttemptEnd?
      while end == nil, let next = await group.next() { end = next }
      group.cancelAll()
      await group.waitForAll()
      return end ?? .cancelled
    }
    await evidence.finish()
    try await write(end, claim, log)
    if case .failed(let failure, _) = end { return failure.failureClass } else { return nil }
  }

  /// What work came to, as a value.
  private static func end(_ claim: Claim, _ body: () async throws -> AttemptEnd) async -> AttemptEnd {
    do {
      return try await body()
    } catch is CancellationError {
      return .cancelled
    } catch let failure as Failure {
      if failure.code == "graft-lost", case .layer(let layer) = claim.spec, let graft = layer.graft {
        return .parentLost(failure, LostLayer(key: graft.layer, generation: claim.graftGeneration ?? 0))
      }
      guard failure.code == "parent-lost" else { return .failed(failure, record: nil) }
      if let key = claim.spec.standsOn, let generation = claim.parentGeneration {
        return .parentLost(failure, LostLayer(key: key, generation: generation))
      }
      // It stands on a base, which no layer's job can bring back.
      return .failed(
        Failure(
          .infrastructure, code: "base-gone", failure.message, hint: "the next submission brings the base again"),
        record: nil)
    } catch let error as StaleFence {
      return .leaseLost("\(error)")
    } catch {
      return .failed(Failure(.infrastructure, code: "unexpected", "\(error)"), record: nil)
    }
  }

  private func write(_ end: AttemptEnd, _ claim: Claim, _ log: Logger) async throws {
    let store = executor.store
    let fence = claim.fence
    try await executor.effects.failpoints.reach(.attemptBeforeCommit)
    do {
      switch end {
      case .layer(let result):
        try await persist { try await store.completeLayer(result, fence: fence) }
        log.info("layer built", metadata: ["image": "\(result.image)"])
      case .cell(let record):
        try await persist { try await store.completeCell(record, fence: fence) }
        log.info("cell passed", metadata: ["image": "\(record.image)"])
      case .parentLost(let failure, let lost):
        log.warning("parent lost", metadata: ["error": "\(failure)"])
        try await persist { try await store.parentLost(fence, lost) }
      case .failed(let failure, let record):
        let decision = claim.spec.retries(in: executor.pool).decide(
          failure.failureClass, attempt: claim.failures[failure.failureClass, default: 0] + 1,
          fraction: executor.effects.random.fraction())
        log.warning("attempt failed", metadata: ["error": "\(failure)", "next": "\(decision)"])
        try await persist { try await store.fail(failure, decision: decision, record: record, fence: fence) }
      case .cancelled:
        log.notice("given back")
        try await persist { try await store.giveBack(fence, reason: "executor \(executor.name) is stopping") }
      case .withdrawn:
        log.notice("nobody wants it any more")
        try await persist { try await store.giveBack(fence, reason: "the job was cancelled") }
      case .leaseLost(let reason):
        log.warning("attempt abandoned", metadata: ["reason": "\(reason)"])
      }
    } catch let error as StaleFence {
      log.warning("stale", metadata: ["error": "\(error)"])
    }
    try await executor.effects.failpoints.reach(.attemptAfterCommit)
    if case .cancelled = end { throw CancellationError() }
  }

  /// Repeats what is idempotent until the store answers. A stopping executor still writes how its
  /// attempt ended, but does not wait for a store that is away: the lease will tell.
  private func persist<Value: Sendable>(_ body: @Sendable () async throws -> Value) async throws -> Value {
    while true {
      do {
        return try await body()
      } catch let error as StoreError where error.code == .unavailable || error.code == .conflict {
        executor.logger.warning("store out of reach", metadata: ["error": "\(error)"])
        try await time.sleep(seconds: executor.settings.retrySeconds)
      }
    }
  }

  private func logger(_ claim: Claim) -> Logger {
    var log = executor.logger
    log[metadataKey: "job"] = "\(claim.fence.job)"
    log[metadataKey: "attempt"] = "\(claim.fence.attempt)"
    return log
  }
}

/// How an attempt ended.
enum AttemptEnd: Sendable {
  case layer(LayerResult)
  case cell(CompatibilityRecord)
  case parentLost(Failure, LostLayer)
  case failed(Failure, record: CompatibilityRecord?)
  /// The executor stops.
  case cancelled
  /// Every build that wanted the job was cancelled.
  case withdrawn
  /// The job is somebody else's now: nothing is written.
  case leaseLost(String)
}
