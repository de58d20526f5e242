package import Model

/// The truth about builds, layers, cells and jobs, as coordinators see it. Executors see
/// `AttemptStore` only.
///
/// Every call is one transaction; a call that threw `StoreError` of code `.unavailable` may or may
/// not have taken effect, and may be made again: all are idempotent. Times are the store's own.
package protocol RecordStore: AttemptStore {
  // Builds

  /// What the store knows of these layers and cells: for a plan that says what will happen, and for
  /// asking the registry before `submit`.
  func known(layers: [LayerKey], cells: [CellKey], scope: Scope) async throws -> KnownResults

  /// Takes a build with its cells, layers and jobs, attaching to what is under way. Durable when it
  /// returns. The same principal and idempotency key again return the build that was made first.
  func submit(_ submission: Submission) async throws -> AcceptedBuild

  /// Ends a build that nobody wants any more. Of its jobs, those that another open build wants go on; those
  /// that run are told with their next heartbeat, and the build is `cancelled` when they have ended. Returns
  /// its state, which is another where it was too late; nil where there is no such build.
  func cancel(_ build: BuildID, by principal: Principal) async throws -> BuildState?

  /// Nobody shall do that job: every build goes without the cells above it, or, where it wants nothing but
  /// layers, is cancelled. What other cells need goes on. Nil where there is no such job.
  func cancel(_ job: JobID, by principal: Principal) async throws -> CancelledJob?

  func builds(limit: Int, before: Int64?) async throws -> [BuildSummary]
  func build(_ id: BuildID) async throws -> BuildDetail?
  func job(_ id: JobID) async throws -> JobDetail?
  /// What the job's state comes from.
  func context(of job: JobID) async throws -> JobContext?

  // The window (see docs of `JobQueue`)

  /// Takes as many ready jobs as the pool's window has room for, in their order, and holds a publish
  /// lease on them. `extra` is what the window holds beyond the idle slots.
  func takeReady(pool: PoolName, extra: Int, publishLeaseSeconds: Double) async throws -> [JobMessage]
  func markQueued(_ messages: [JobMessage]) async throws
  func publishFailed(_ messages: [JobMessage], pool: PoolName, reason: String, retrySeconds: Double) async throws
  /// Makes ready again what was queued more than `olderThanSeconds` ago. Returns how many.
  func reviveGhosts(pool: PoolName, olderThanSeconds: Double) async throws -> Int
  /// The broker gave up a message after too many deliveries: its job, where that message is still the
  /// one it waits in the queue by, is ready again, to be taken after a pause: whatever made executors
  /// hand it back is not met at once. False if nothing waits by it.
  func reviveOverDelivered(_ message: JobMessage, afterSeconds: Double) async throws -> Bool

  // Watching

  /// What a coordinator's loops have to do now, in one statement: most looks find nothing.
  func outlook(of pools: [PoolName]) async throws -> Outlook
  /// Attempts whose lease is out.
  func expiredLeases(limit: Int) async throws -> [ExpiredLease]
  /// Ends an attempt whose lease is still out; false if it was extended or ended otherwise meanwhile.
  func expire(_ lease: ExpiredLease, failure: Failure, decision: RetryPolicy.Decision) async throws -> Bool
  /// Delayed jobs whose time has come become ready. Returns how many.
  func releaseDue() async throws -> Int
  /// For an embedded store's start: nobody works on what earlier runs left open any more. Their jobs,
  /// cells and builds are cancelled; what was built and recorded stays. Returns the builds.
  func cancelOwnerless() async throws -> [BuildID]

  // Ending builds

  /// For what open builds wait, somebody works, or they fail: starts layers that nobody builds any more (their
  /// jobs were cancelled, for nobody wanted them then), and blocks cells that wait for what has failed. Every
  /// other call sees to that for what it changes itself; this finds what two of them missed together.
  func startWanted() async throws -> WantedOutcome
  /// Running builds whose every cell is settled, moved on: to publishing, or failed. Returns them.
  func settleBuilds() async throws -> [BuildID]
  /// One build to publish, leased.
  func takePublishing(leaseSeconds: Double) async throws -> BuildToPublish?
  /// Claims a tag for a build: returns the row as it is after, whose sequence may be higher.
  func claimTag(repository: String, tag: String, sequence: Int64, digest: Digest) async throws -> TagRow
  func tag(repository: String, tag: String) async throws -> TagRow?
  /// `problem`, for people: why nothing was published.
  func finishPublishing(_ build: BuildID, _ event: BuildEvent, indexes: [PublishedIndex], problem: String?) async throws

  // Effects outside, done at least once

  func takeEffects(limit: Int, leaseSeconds: Double) async throws -> [OutboxEffect]
  func effectDone(_ id: Int64) async throws
  func effectFailed(_ id: Int64, retrySeconds: Double, reason: String) async throws

  // Dead letters

  /// Keeps what a broker's dead-letter queue held. `settled`: why nobody has to look at it.
  func storeDeadLetter(_ bytes: [UInt8], pool: PoolName, identifier: String, settled reason: String?) async throws
  /// Newest first. `after` is the identifier of the last letter of the page before.
  func deadLetters(_ selection: DeadLetterSelection, limit: Int, after: String?) async throws -> [StoredDeadLetter]
  /// The open ones by fingerprint, most first.
  func deadLetterGroups() async throws -> [DeadLetterGroup]
  /// Tries again what is dead: a new generation with a new job, once, whoever asks how often. Cells that it
  /// blocked wait again, builds that failed for it run again.
  func replay(_ selection: DeadLetterSelection, by principal: Principal) async throws -> ReplayOutcome
  /// A job that waits for its next attempt waits no longer. False where it does not wait so.
  func hasten(_ job: JobID) async throws -> Bool
  /// Returns how many.
  func dropDeadLetters(_ selection: DeadLetterSelection, reason: String, by principal: Principal) async throws -> Int

  // Reading

  /// What past builds tell of the time and the bytes that layers take.
  func history(of layers: [LayerKey], scope: Scope) async throws -> LayerHistory
  func records(_ filter: RecordFilter, limit: Int, after: String?) async throws -> [StoredRecord]
  func evidence(_ job: JobID, attempt: Int?, afterSequence: Int, limit: Int) async throws -> EvidencePage
  func executors() async throws -> [ExecutorStatus]

  /// Hints that something changed: "" (anything), "work", "evidence:JOB". Some may be lost.
  func notifications() async throws -> AsyncThrowingStream<String, any Error>
  func close() async
}
