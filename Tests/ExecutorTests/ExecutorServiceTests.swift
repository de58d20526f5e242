import Foundation
import JobQueue
import Logging
import Model
import Registry
import ServiceLifecycle
import Synchronization
import TestSupport
import Testing

@testable import KilnExecutor

/// What the daemon does when it is told to stop.
@Suite(.timeLimit(.minutes(1))) struct ExecutorServiceTests {
  @Test func whatRunsMayEndWithinTheDrainTimeAndNothingMoreIsTaken() async throws {
    let bench = try Bench(drainSeconds: 1000)
    try await bench.run { group in
      try await eventually("a job runs") { bench.builder.begun == 1 }
      await group.triggerGracefulShutdown()
      try await eventually("the stop is noticed") { bench.log.lines.contains { $0.contains("drain time") } }
      #expect(bench.store.ends == [])
      bench.builder.end()
    }
    #expect(bench.store.ends == ["no-image"])
    #expect(bench.queue.acknowledged == [bench.jobs[0]])
    #expect(bench.store.claims == 1)
  }

  @Test func whatTakesLongerIsGivenBackAndStaysInTheQueue() async throws {
    // Over at once.
    let bench = try Bench(drainSeconds: 1)
    try await bench.run { group in
      try await eventually("a job runs") { bench.builder.begun == 1 }
      await group.triggerGracefulShutdown()
    }
    #expect(bench.store.ends == ["given back"])
    #expect(bench.queue.acknowledged == [])
    #expect(bench.store.claims == 1)
  }

  @Test func whoWaitsForWorkStopsAtOnce() async throws {
    let bench = try Bench(drainSeconds: 1000, jobs: 0)
    try await bench.run { group in
      try await eventually("it waits") { bench.queue.slots == 1 }
      await group.triggerGracefulShutdown()
    }
    #expect(bench.store.claims == 0)
  }

  /// The store has not answered the claim, and comes back when nothing more is to be taken.
  @Test func whoWaitsForTheStoreStopsAtOnceAndClaimsNothingMore() async throws {
    let bench = try Bench(drainSeconds: 1000)
    bench.store.isAway = true
    try await bench.run { group in
      try await eventually("it asks for a job") { bench.store.unansweredClaims > 0 }
      await group.triggerGracefulShutdown()
    }
    #expect(bench.store.claims == 0)
    #expect(bench.queue.acknowledged == [])
  }

  @Test func whoseEngineHangsStopsAtOnce() async throws {
    let bench = try Bench(drainSeconds: 1000)
    bench.store.isLayer = true
    let asked = Mutex(0)
    let liveness: @Sendable () async throws -> Failure? = {
      asked.withLock { $0 += 1 }
      let (never, continuation) = AsyncStream<Never>.makeStream()
      for await _ in never {}
      continuation.finish()
      throw CancellationError()
    }
    let hangs = HostWatch(freeBytes: { nil }, floorBytes: 0, liveness: liveness)
    try await bench.run(watch: hangs) { group in
      try await eventually("a job runs") { bench.builder.begun == 1 }
      bench.builder.end(Failure(.infrastructure, code: "engine-gone", "it is gone"))
      try await eventually("the engine is asked") { asked.withLock { $0 } == 1 }
      await group.triggerGracefulShutdown()
    }
    #expect(bench.store.claims == 1)
  }
}

/// An executor with one slot on a queue that never closes.
private struct Bench {
  let store = ScriptedStore(generation: 1)
  let builder = Held()
  let log = LogLines()
  let queue: ScriptedQueue
  let jobs: [[UInt8]]
  private let drainSeconds: Double

  init(drainSeconds: Double, jobs count: Int = 2) throws {
    self.drainSeconds = drainSeconds
    store.isLayer = true
    jobs = try (0..<count).map { try JobMessage(job: JobID(text: "job-\($0)"), dispatch: 1).body }
    queue = ScriptedQueue(jobs, closes: false)
  }

  func run(watch: HostWatch? = nil, _ body: (ServiceGroup) async throws -> Void) async throws {
    try await withExecutor(store, queue: queue, time: ShortSleeps()) { executor in
      var executor = executor
      executor.builder = builder
      if let watch { executor.watch = watch }
      executor.settings.drainSeconds = drainSeconds
      executor.logger = Logger(label: "test") { _ in log }
      let group = ServiceGroup(services: [ExecutorService(executor)], logger: executor.logger)
      async let ended: Void = group.run()
      try await body(group)
      try await ended
    }
  }
}

/// Builds until it is told to end; what it then says is that there is no image.
private final class Held: LayerBuilder, Sendable {
  private struct State {
    var begun = 0
    var waiter: CheckedContinuation<Void, Never>?
    var failure = Failure(.build, code: "no-image", "nothing was built")
  }
  private let state = Mutex(State())

  var begun: Int { state.withLock { $0.begun } }
  func end(_ failure: Failure? = nil) {
    state.withLock { state in
      if let failure { state.failure = failure }
      return state.waiter.take()
    }?.resume()
  }

  func build(_ request: LayerBuildRequest, report: any BuildReport) async throws -> BuiltLayer {
    await withTaskCancellationHandler {
      await withCheckedContinuation { waiter in
        state.withLock { state in
          state.begun += 1
          state.waiter = waiter
        }
      }
    } onCancel: {
      end()
    }
    try Task.checkCancellation()
    throw state.withLock { $0.failure }
  }
}

/// Keeps what is logged.
private final class LogLines: LogHandler, Sendable {
  private let kept = Mutex<[String]>([])
  var lines: [String] { kept.withLock { $0 } }

  var metadata: Logger.Metadata {
    get { [:] }
    set {}
  }
  var logLevel: Logger.Level {
    get { .info }
    set {}
  }
  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { nil }
    set {}
  }
  func log(event: LogEvent) { kept.withLock { $0.append("\(event.message)") } }
}
