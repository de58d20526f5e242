package import Model

/// `AttemptStore`: each call is one procedure.
extension SQLRecordStore {
  package func announce(_ executor: ExecutorName, pool: PoolName, slots: Int, host: HostFacts) async throws {
    let values: [SQLValue] = [.id(executor), .id(pool), .int(slots), .text(try StoredJSON.text(host))]
    _ = try await engine.call(.announce, values)
    await engine.notify("work")
  }

  package func claim(_ job: JobID, executor: ExecutorName, nonce: String, leaseSeconds: Double) async throws
    -> ClaimOutcome
  {
    let rows = try await engine.call(
      .claim, [.id(job), .id(executor), .text(nonce), .milliseconds(leaseSeconds)])
    guard let row = rows.first else { return .refused(reason: "the store does not know job \(job)") }
    let state: JobState = try row.state("state")
    if state == .ready { return .refused(reason: "job \(job) is ready again, and left to the others for now") }
    guard state == .running, row.optionalText("holder_nonce") == nonce else {
      return .refused(
        reason: "job \(job) is \(state)\(state == .running ? " at \(row.optionalText("holder") ?? "?")" : "")")
    }
    let fence = Fence(job: job, attempt: try row.int("attempt"), nonce: nonce)
    let spec: JobSpec
    do {
      spec = try StoredJSON.value(try row.text("spec"))
    } catch let error as StoreError {
      // An executor of another version may be able to: it gets the time to come by.
      let failure = Failure(
        .infrastructure, code: "job-unreadable", error.message,
        hint: "was it submitted to a newer Kiln than this executor's?")
      let decision = RetryPolicy().decide(
        failure.failureClass, attempt: try row.int("infrastructure_failures") + 1, fraction: effects.random.fraction())
      do {
        try await fail(failure, decision: decision, record: nil, fence: fence)
      } catch is StaleFence {
        // Somebody else has it by now.
      }
      return .refused(reason: "job \(job) cannot be read")
    }
    return .granted(
      Claim(
        fence: fence, spec: spec, scope: Scope(text: try row.text("scope")),
        parentImage: row.digest("parent_image"),
        parentGeneration: row.optionalInteger("parent_generation").map(Int.init),
        graftImage: row.digest("graft_image"),
        graftGeneration: row.optionalInteger("graft_generation").map(Int.init), leaseSeconds: leaseSeconds,
        failures: [
          .infrastructure: try row.int("infrastructure_failures"), .build: try row.int("build_failures"),
          .test: try row.int("test_failures"),
        ], generation: try row.int("generation")))
  }

  package func heartbeat(_ fence: Fence, leaseSeconds: Double) async throws -> HeartbeatOutcome {
    let rows = try await engine.call(.heartbeat, arguments(fence) + [.milliseconds(leaseSeconds)])
    guard let row = rows.first else { return .stale }
    return try row.flag("cancel_requested") ? .cancelled : .extended
  }

  package func append(_ chunk: EvidenceChunk, fence: Fence) async throws {
    try await callFenced(
      .appendEvidence, fence, [.int(chunk.sequence), .text(chunk.stream.rawValue), .bytes(chunk.bytes)])
    await engine.notify("evidence:\(fence.job)")
  }

  package func completeLayer(_ result: LayerResult, fence: Fence) async throws {
    let rows = [SQLValue.text(result.image.description), .text(try StoredJSON.text(result))]
    try await callFenced(.completeLayer, fence, rows)
    await announceEnd(fence)
  }

  package func completeCell(_ record: CompatibilityRecord, fence: Fence) async throws {
    try await callFenced(.completeCell, fence, try recordArguments(record, fence))
    await announceEnd(fence)
  }

  package func fail(
    _ failure: Failure, decision: RetryPolicy.Decision, record: CompatibilityRecord?, fence: Fence
  ) async throws {
    try await callFenced(.fail, fence, try failArguments(failure, decision, record, fence, onlyIfExpired: false))
    await announceEnd(fence)
  }

  package func giveBack(_ fence: Fence, reason: String) async throws {
    try await callFenced(.giveBack, fence, [.text(reason)])
    await announceEnd(fence)
  }

  package func parentLost(_ fence: Fence, _ lost: LostLayer) async throws {
    try await callFenced(.parentLost, fence, [.text(effects.identifier()), .int(lost.generation), .id(lost.key)])
    await announceEnd(fence)
  }

  private func announceEnd(_ fence: Fence) async {
    await engine.notify("work")
    await engine.notify("evidence:\(fence.job)")
  }

  private func arguments(_ fence: Fence) -> [SQLValue] { [.id(fence.job), .int(fence.attempt), .text(fence.nonce)] }

  private func callFenced(_ procedure: Procedure, _ fence: Fence, _ rest: [SQLValue]) async throws {
    let rows = try await engine.call(procedure, arguments(fence) + rest)
    guard try rows.first?.int("granted") ?? 0 > 0 else { throw StaleFence(fence) }
  }

  private func recordArguments(_ record: CompatibilityRecord?, _ fence: Fence) throws -> [SQLValue] {
    guard let record else { return [SQLValue](repeating: .text(""), count: 5) }
    // One record per attempt: the identifier makes a repeated call harmless.
    return [
      .text(record.image.description), .text("\(fence.job)-\(fence.attempt)"), .text(try StoredJSON.text(record)),
      .text(record.product), .text(record.target.platform.description),
    ]
  }

  func failArguments(
    _ failure: Failure, _ decision: RetryPolicy.Decision, _ record: CompatibilityRecord?, _ fence: Fence,
    onlyIfExpired: Bool
  ) throws -> [SQLValue] {
    let (outcome, delay): (String, Double) =
      switch decision {
      case .retry(let seconds): ("delayed", seconds)
      case .dead: ("dead", 0)
      }
    let letter = OutboxEffect.DeadLetter(job: fence.job, attempt: fence.attempt, failure: failure)
    return try recordArguments(record, fence) + [
      .text(outcome), .milliseconds(delay), .text(try StoredJSON.text(failure)), .flag(onlyIfExpired),
      .text(try StoredJSON.text(letter)), .text(failure.fingerprint), .text(failure.failureClass.rawValue),
    ]
  }

  package func expire(_ lease: ExpiredLease, failure: Failure, decision: RetryPolicy.Decision) async throws -> Bool {
    let rest = try failArguments(failure, decision, nil, lease.fence, onlyIfExpired: true)
    let rows = try await engine.call(.fail, arguments(lease.fence) + rest)
    await announceEnd(lease.fence)
    return try rows.first?.int("granted") ?? 0 > 0
  }
}
