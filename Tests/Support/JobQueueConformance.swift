package import JobQueue
package import Model

/// What every driver of `JobQueue` must do. A case gets an open queue of its own scope and a pool
/// that nobody has prepared; whoever runs it closes the queue and removes what the case made.
package struct JobQueueCase: Sendable, CustomStringConvertible {
  package let description: String
  package let run: @Sendable (any JobQueue, PoolName) async throws -> Void

  init(_ description: String, _ run: @escaping @Sendable (any JobQueue, PoolName) async throws -> Void) {
    self.description = description
    self.run = run
  }
}

package enum JobQueueConformance {
  package static let cases: [JobQueueCase] = deliveryCases + loadCases + endCases + deadLetterCases

  /// Throws with `what` unless `condition` holds: here a failed expectation is an error, for this
  /// module is not a test.
  package static func expect(_ condition: Bool, _ what: @autoclosure () -> String) throws {
    if !condition { throw Violation(description: what()) }
  }

  package struct Violation: Error, CustomStringConvertible {
    package let description: String
  }

  package static func messages(_ numbers: some Sequence<Int>, dispatch: Int = 1) -> [JobMessage] {
    numbers.map { JobMessage(job: JobID(text: "job-\($0)"), dispatch: dispatch) }
  }

  /// Publishes and expects all to be confirmed.
  package static func confirm(_ messages: [JobMessage], on queue: any JobQueue, _ pool: PoolName) async throws {
    let outcomes = try await queue.publish(messages, to: pool, deadlineSeconds: 20)
    let others = outcomes.filter { $0.value != .confirmed }
    try expect(others.isEmpty, "not confirmed: \(others)")
    try expect(outcomes.count == Set(messages).count, "\(outcomes.count) outcomes for \(messages.count) messages")
  }

  /// The next delivery, which must come.
  package static func take(_ slot: any JobSlot) async throws -> (message: JobMessage, delivery: Delivery) {
    guard let delivery = try await slot.next() else { throw Violation(description: "the slot is closed") }
    return (try JobMessage(body: delivery.body), delivery)
  }

  /// Asks again until `condition` holds; for what a service settles after it has answered.
  package static func eventually(
    _ what: String, seconds: Double = 15, _ condition: () async throws -> Bool
  ) async throws {
    let clock = ContinuousClock()
    let deadline = clock.now + .seconds(seconds)
    while try await !condition() {
      try expect(clock.now < deadline, "not within \(seconds) s: \(what)")
      try await clock.sleep(for: .milliseconds(20))
    }
  }

  /// Whether `work` throws `CancellationError`.
  static func isCancelled(_ work: () async throws -> Void) async throws -> Bool {
    do {
      try await work()
      return false
    } catch is CancellationError {
      return true
    }
  }

  static func code(of work: () async throws -> Void) async throws -> QueueError.Code? {
    do {
      try await work()
      return nil
    } catch let error as QueueError {
      return error.code
    }
  }
}
