import Foundation
import JobQueue
import Logging
import Model
import RecordStore
import Registry
import Synchronization
import TestSupport
import Testing

@testable import KilnExecutor

/// What an attempt does when the store or the host fails it.
@Suite(.timeLimit(.minutes(1))) struct AttemptTests {
  @Test func aLeaseEndsByItselfWhileAHeartbeatHangs() async throws {
    let store = ScriptedStore(generation: 1)
    store.heartbeatHangs = true
    try await withExecutor(store, time: ManualTime()) { executor in
      let failure = try await AttemptRunner(executor: executor).run(JobID(text: "job"))
      #expect(failure == nil)
    }
    // Somebody else may have the job by now: nothing is written.
    #expect(store.ends == [])
    #expect(store.isHeartbeatOver, "whoever hung was told to stop")
  }

  @Test func workThatNobodyWantsAnyMoreEndsAndIsGivenBack() async throws {
    let store = ScriptedStore(generation: 1)
    store.isCancelled = true
    try await withExecutor(store, time: ShortSleeps()) { executor in
      var executor = executor
      executor.settings.heartbeatSeconds = 3
      let failure = try await AttemptRunner(executor: executor).run(JobID(text: "job"))
      #expect(failure == nil)
    }
    #expect(store.ends == ["given back"])
  }

  @Test func whatStandsOnABaseHasNoParentToLose() async throws {
    let store = ScriptedStore(generation: nil)
    try await withExecutor(store, time: ShortSleeps()) { executor in
      let failure = try await AttemptRunner(executor: executor).run(JobID(text: "job"))
      #expect(failure == .infrastructure)
    }
    #expect(store.ends == ["base-gone"])
  }

  @Test func aLostContextIsWaitedForUntilItIsSubmittedAgain() async throws {
    let store = ScriptedStore(generation: nil)
    store.context = BlobReference(digest: Digest(of: "never uploaded"), sizeBytes: 14)
    try await withExecutor(store, time: ShortSleeps()) { executor in
      let failure = try await AttemptRunner(executor: executor).run(JobID(text: "job"))
      #expect(failure == .infrastructure)
    }
    #expect(store.ends == ["context-gone"])
  }

  @Test func aLostParentIsToldByItsGeneration() async throws {
    let store = ScriptedStore(generation: 3)
    try await withExecutor(store, time: ShortSleeps()) { executor in
      _ = try await AttemptRunner(executor: executor).run(JobID(text: "job"))
    }
    #expect(store.ends == ["parent-lost layer 3"])
  }

  // MARK: Evidence

  @Test func whenAnAnswerIsLostTheSamePieceIsSentAgain() async throws {
    let store = ScriptedStore(generation: 1)
    try await withExecutor(store, time: ShortSleeps()) { executor in
      let writer = EvidenceWriter(executor: executor, fence: Fence(job: JobID(text: "job"), attempt: 1, nonce: "n"))
      store.lostAnswers = 1
      await writer.log(Array("one ".utf8))
      await writer.finish()
      await writer.log(Array("two ".utf8))
      await writer.finish()
      #expect(store.kept(.log) == "one two ")
    }
  }

  @Test func resultsComeBehindWhatWasPrintedBefore() async throws {
    let store = ScriptedStore(generation: 1)
    try await withExecutor(store, time: ShortSleeps()) { executor in
      let writer = EvidenceWriter(executor: executor, fence: Fence(job: JobID(text: "job"), attempt: 1, nonce: "n"))
      await writer.log(Array("before".utf8))
      await writer.add([TestResult(name: "starts", passed: true, exitCode: 0, seconds: 1, outputTail: "")])
      await writer.log(Array("after".utf8))
      await writer.finish()
      #expect(store.chunks.map(\.stream) == [.log, .tests, .log])
      #expect(store.chunks.map(\.sequence) == [0, 1, 2])
    }
  }

  @Test func resultsAndLogKeepTheirOrderAndNothingIsLost() async throws {
    let store = ScriptedStore(generation: 1)
    try await withExecutor(store, time: ShortSleeps()) { executor in
      let writer = EvidenceWriter(executor: executor, fence: Fence(job: JobID(text: "job"), attempt: 1, nonce: "n"))
      let result = TestResult(name: "starts", passed: true, exitCode: 0, seconds: 1, outputTail: "")
      await withTaskGroup(of: Void.self) { group in
        group.addTask { _ = await writer.flushForever() }
        for number in 0..<200 {
          await writer.log(Array("\(number) ".utf8))
          if number == 100 { await writer.add([result]) }
        }
        group.cancelAll()
      }
      await writer.finish()
      #expect(store.kept(.log) == (0..<200).map { "\($0) " }.joined())
      #expect(store.kept(.tests).contains("starts"))
      let logs = store.chunks.filter { $0.stream == .log }
      let tests = try #require(store.chunks.first { $0.stream == .tests })
      let before = logs.filter { $0.sequence < tests.sequence }.flatMap(\.bytes)
      #expect(String(decoding: before, as: UTF8.self) == (0...100).map { "\($0) " }.joined())
    }
  }

  // MARK: An unfit host

  @Test func aHostThatFailedTakesNothingUntilItsEngineAnswers() async throws {
    let store = ScriptedStore(generation: nil)
    let jobs = try (1...2).map { try JobMessage(job: JobID(text: "job-\($0)"), dispatch: 1).body }
    let queue = ScriptedQueue(jobs)
    let claimsSeen = Mutex<[Int]>([])
    try await withExecutor(store, queue: queue, time: ShortSleeps()) { executor in
      var executor = executor
      executor.settings.unfitSeconds = 1
      executor.watch = HostWatch(freeBytes: { nil }, floorBytes: 0) {
        let seen = claimsSeen.withLock { seen in
          seen.append(store.claims)
          return seen.count
        }
        return seen < 3 ? Failure(.infrastructure, code: "engine-frozen", "no answer") : nil
      }
      try await ExecutorService(executor).run()
    }
    #expect(claimsSeen.withLock { $0 } == [1, 1, 1, 2])
    #expect(queue.acknowledged == jobs)
    #expect(queue.slots == 3)
  }

  @Test func belowTheDiskFloorNothingIsTaken() async throws {
    let store = ScriptedStore(generation: nil)
    let jobs = try (1...2).map { try JobMessage(job: JobID(text: "job-\($0)"), dispatch: 1).body }
    let queue = ScriptedQueue(jobs)
    let looks = Mutex(0)
    try await withExecutor(store, queue: queue, time: ShortSleeps()) { executor in
      var executor = executor
      executor.settings.unfitSeconds = 1
      executor.watch = HostWatch(
        freeBytes: {
          looks.withLock { looks in
            looks += 1
            return looks < 4 ? 10 : 30
          }
        }, floorBytes: 20, liveness: { nil })
      try await ExecutorService(executor).run()
    }
    #expect(store.claims == 2)
    #expect(looks.withLock { $0 } > 4)
    #expect(queue.acknowledged == jobs)
  }

  /// - Parameter isEnough: whether the bytes that are missing can be had.
  @Test(arguments: [true, false]) func aNearlyFullDiskIsMadeRoomOnOldestFirst(isEnough: Bool) async throws {
    let store = ScriptedStore(generation: nil)
    let jobs = [try JobMessage(job: JobID(text: "job-1"), dispatch: 1).body]
    let queue = ScriptedQueue(jobs)
    let free = Mutex<Int64>(10)
    let looks = Mutex(0)
    let pruned = Mutex<[Pruning]>([])
    try await withExecutor(store, queue: queue, time: ShortSleeps()) { executor in
      var executor = executor
      executor.settings.unfitSeconds = 1
      executor.watch = HostWatch(
        freeBytes: {
          // In the end somebody else makes room.
          let look = looks.withLock { looks in
            looks += 1
            return looks
          }
          return look > 60 ? 30 : free.withLock { $0 }
        }, floorBytes: 20,
        prune: { what in
          pruned.withLock { $0.append(what) }
          if isEnough, what == .bytes(10) { free.withLock { $0 = 30 } }
        }, liveness: { nil })
      try await ExecutorService(executor).run()
    }
    // Once: of what was removed in vain there is no more.
    let byAge = [168, 24, 1].map { Pruning.unusedFor(hours: $0) }
    #expect(pruned.withLock { $0 } == byAge + (isEnough ? [.bytes(10)] : [.bytes(10), .all]))
    #expect(queue.acknowledged == jobs)
  }
}
