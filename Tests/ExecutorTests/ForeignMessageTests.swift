import Foundation
import JobQueue
import KilnExecutor
import Logging
import Model
import RecordStore
import RecordStoreSQLite
import Registry
import TestSupport
import Testing

/// Messages that are no jobs, or not this program's to read.
@Suite(.timeLimit(.minutes(1))) struct ForeignMessageTests {
  private static let foreign: [[UInt8]] = [
    [0xFF, 0x00, 0x7B], [], Array("{}".utf8), Array("[1]".utf8), Array(#"{"job":"j","dispatch":1}"#.utf8),
    Array(#"{"v":1,"job":"j"}"#.utf8), Array(#"{"v":2,"job":"j","dispatch":1}"#.utf8),
  ]

  /// Lets the daemon serve until the queue says that it is closed.
  private func serve(_ queue: ScriptedQueue) async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-executor-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    let effects = Effects(time: ShortSleeps(), random: SeededRandom(seed: 1))
    let store = SQLRecordStore(engine: try SQLiteEngine(path: nil, time: effects.time), effects: effects)
    _ = try await store.migrate(.sqlite)
    let name = ExecutorName(text: "executor")
    let platform = try #require(Platform("linux/amd64"))
    let host = HostFacts(
      executor: name, kilnVersion: "1", engineVersion: "1", builderVersion: "1", platforms: [platform], cpuCount: 1,
      freeBytes: nil)
    let executor = Executor(
      name: name, pool: Pool(name: PoolName(text: "pool"), platforms: [platform], slots: 1), host: host, store: store,
      queue: queue, images: try OCILayoutStore(directory: folder), builder: NoWork(), tester: NoWork(),
      workFolder: folder, effects: effects, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    try await ExecutorService(executor).run()
    await store.close()
  }

  @Test func whatIsNoJobGoesToTheDeadLettersAndTheNextOneIsServed() async throws {
    let job = try JobMessage(job: JobID(text: "unknown"), dispatch: 1).body
    let queue = ScriptedQueue(Self.foreign + [job])
    try await serve(queue)
    #expect(queue.rejected == Self.foreign)
    #expect(queue.acknowledged == [job])
  }

  @Test func whatCouldNotBeSentThereComesAgain() async throws {
    let queue = ScriptedQueue([[0xFF]], failedRejections: 2)
    try await serve(queue)
    #expect(queue.rejected == [[0xFF]])
    #expect(queue.acknowledged == [])
    #expect(queue.slots == 3)
  }
}

/// Nobody asks for any.
private struct NoWork: LayerBuilder, CellTester {
  func build(_ request: LayerBuildRequest, report: any BuildReport) async throws -> BuiltLayer {
    throw Failure(.input, code: "unexpected", "nothing is to be built")
  }
  func test(_ request: CellTestRequest, report: any BuildReport) async throws -> [TestResult] { [] }
  func describe(_ request: CellTestRequest, report: any BuildReport) async throws -> URL? { nil }
}

/// A retry's pause is over at once; the time of the next announcement never comes.
struct ShortSleeps: TimeSource {
  func now() -> Timestamp { Timestamp(milliseconds: 1_700_000_000_000) }
  func monotonicSeconds() -> Double { 0 }
  func sleep(seconds: Double) async throws {
    if seconds < 10 { return try Task.checkCancellation() }
    let (never, continuation) = AsyncStream<Never>.makeStream()
    for await _ in never {}
    continuation.finish()
    throw CancellationError()
  }
}

/// Delivers what it was given; a message stays until it was acknowledged or rejected. At the end it is closed,
/// or waits.
// Unchecked: all state is under `lock`.
final class ScriptedQueue: JobQueue, @unchecked Sendable {
  private let lock = NSLock()
  private var waiting: [[UInt8]]
  private var failedRejections: Int
  private var gone: [[UInt8]] = []
  private var done: [[UInt8]] = []
  private var opened = 0
  private let closes: Bool

  init(_ messages: [[UInt8]], failedRejections: Int = 0, closes: Bool = true) {
    waiting = messages
    self.closes = closes
    self.failedRejections = failedRejections
  }

  var rejected: [[UInt8]] { lock.withLock { gone } }
  var acknowledged: [[UInt8]] { lock.withLock { done } }
  var slots: Int { lock.withLock { opened } }

  func openSlot(on pool: PoolName) async throws -> any JobSlot {
    lock.withLock { opened += 1 }
    return Slot(queue: self)
  }

  func prepare(_ pools: [PoolName]) async throws {}
  func publish(_ messages: [JobMessage], to pool: PoolName, deadlineSeconds: Double) async throws
    -> [JobMessage: PublishOutcome]
  { [:] }
  func depth(of pool: PoolName) async throws -> QueueDepth { QueueDepth(ready: 0, consumers: 0) }
  func publishDeadLetter(_ letter: DeadLetterMessage, to pool: PoolName) async throws {}
  func openDeadLetters(of pool: PoolName) async throws -> any JobSlot { Slot(queue: self) }
  func close() async {}

  private struct Slot: JobSlot {
    let queue: ScriptedQueue

    func next() async throws -> Delivery? {
      let delivery = queue.lock.withLock {
        queue.waiting.first.map { Delivery(tag: 1, epoch: 1, body: $0, redelivered: false) }
      }
      if delivery == nil, !queue.closes { try await Task.sleep(for: .seconds(3600)) }
      return delivery
    }

    func acknowledge(_ delivery: Delivery) async throws {
      queue.lock.withLock { queue.done.append(queue.waiting.removeFirst()) }
    }

    func reject(_ delivery: Delivery) async throws {
      try queue.lock.withLock {
        guard queue.failedRejections == 0 else {
          queue.failedRejections -= 1
          throw QueueError(.unavailable, "the broker is away")
        }
        queue.gone.append(queue.waiting.removeFirst())
      }
    }

    func close() async {}
  }
}
