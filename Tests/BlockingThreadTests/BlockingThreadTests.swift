import BlockingThread
import Foundation
import Testing

/// Does on its thread what a C library would do.
private actor Blocker {
  private let thread: BlockingThread
  private let onEnd: @Sendable (UInt) -> Void
  private(set) var calls = 0

  nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  init(name: String = "blocker", onEnd: @escaping @Sendable (UInt) -> Void = { _ in }) {
    thread = BlockingThread(name: name)
    self.onEnd = onEnd
  }

  isolated deinit { onEnd(currentThread()) }

  func threadNumber() -> UInt { currentThread() }
  func block(microseconds: UInt32) { usleep(microseconds) }
  func call() { calls += 1 }
  /// Suspends in the middle, to come back to the same thread.
  func threadsAroundSuspension() async -> [UInt] {
    let before = currentThread()
    await Task.yield()
    return [before, currentThread()]
  }

  func watch(_ descriptor: Int32?, timeoutMilliseconds: Int32, _ onReady: @escaping @Sendable (Blocker) -> Void) {
    thread.watch(descriptor, timeoutMilliseconds: timeoutMilliseconds) { [weak self] in
      guard let self else { return }
      // Traps unless this runs on the actor's thread.
      self.assumeIsolated { $0.call() }
      onReady(self)
    }
  }

  func stopWatching() { thread.stopWatching() }
  nonisolated var executor: BlockingThread { thread }
}

private func currentThread() -> UInt { UInt(pthread_self()) }

/// A signal from a callback to a test.
private func signal() -> (AsyncStream<UInt>, @Sendable (UInt) -> Void) {
  let (stream, continuation) = AsyncStream<UInt>.makeStream()
  return (stream, { continuation.yield($0) })
}

@Suite("Blocking thread", .timeLimit(.minutes(1)))
struct BlockingThreadTests {
  @Test("an actor's calls all run on one thread that is not the caller's")
  func isolation() async {
    let blocker = Blocker()
    let thread = await blocker.threadNumber()
    for other in await blocker.threadsAroundSuspension() { #expect(other == thread) }
    #expect(await Blocker().threadNumber() != thread)
    #expect(currentThread() != thread)
  }

  @Test("an actor released elsewhere ends on its own thread")
  func releasedElsewhere() async {
    let (ended, end) = signal()
    var blocker: Blocker? = Blocker(onEnd: end)
    let thread = await blocker?.threadNumber()
    blocker = nil
    #expect(await ended.first { _ in true } == thread)
  }

  @Test("an actor whose own thread holds the last reference ends there, too")
  func releasedOnItsThread() async {
    let (ended, end) = signal()
    let thread = await { () async -> UInt in
      let blocker = Blocker(onEnd: end)
      let number = await blocker.threadNumber()
      // Still running on the thread when this scope lets go of it.
      Task { await blocker.block(microseconds: 20_000) }
      return number
    }()
    #expect(await ended.first { _ in true } == thread)
  }

  @Test("many actors come and go, and their threads with them")
  func threadsEnd() async throws {
    let (ended, end) = signal()
    for _ in 0..<200 { await Blocker(name: "short-lived", onEnd: end).call() }
    var count = 0
    for await _ in ended {
      count += 1
      if count == 200 { break }
    }
    let deadline = ContinuousClock.now + .seconds(10)
    while try threads(named: "short-lived") > 0 {
      try #require(ContinuousClock.now < deadline, "threads are left")
      await Task.yield()
    }
  }

  @Test("a readable descriptor calls back on the thread")
  func watchDescriptor() async throws {
    let (ready, onReady) = signal()
    let pipe = Pipe()
    let descriptor = pipe.fileHandleForReading.fileDescriptor
    let blocker = Blocker()
    await blocker.watch(descriptor, timeoutMilliseconds: 60_000) { _ in
      var byte: UInt8 = 0
      _ = read(descriptor, &byte, 1)
      onReady(UInt(byte))
    }
    var bytes = ready.makeAsyncIterator()
    for byte in UInt8(1)...50 {
      pipe.fileHandleForWriting.write(Data([byte]))
      #expect(await bytes.next() == UInt(byte))
      if byte.isMultiple(of: 3) { await blocker.call() }
    }
    await blocker.stopWatching()
    #expect(await blocker.calls == 50 + 16)
    pipe.fileHandleForWriting.write(Data([99]))
    for _ in 0..<100 { await blocker.call() }
    #expect(await blocker.calls == 50 + 16 + 100, "called after stopWatching")
  }

  @Test("a watch ticks, also while calls keep the thread busy")
  func tick() async {
    let (ticks, onTick) = signal()
    let blocker = Blocker()
    await blocker.watch(nil, timeoutMilliseconds: 5) { _ in onTick(1) }
    var iterator = ticks.makeAsyncIterator()
    _ = await iterator.next()
    let flood = Task { while !Task.isCancelled { await blocker.block(microseconds: 100) } }
    for _ in 0..<5 { #expect(await iterator.next() == 1) }
    flood.cancel()
  }

  @Test("a flood of calls does not keep the descriptor from being read")
  func floodAndDescriptor() async {
    let (ready, onReady) = signal()
    let pipe = Pipe()
    let blocker = Blocker()
    await blocker.watch(pipe.fileHandleForReading.fileDescriptor, timeoutMilliseconds: 60_000) { blocker in
      onReady(1)
      blocker.executor.stopWatching()
    }
    let floods = (0..<4).map { _ in Task { while !Task.isCancelled { await blocker.block(microseconds: 50) } } }
    pipe.fileHandleForWriting.write(Data([1]))
    #expect(await ready.first { _ in true } == 1)
    for flood in floods { flood.cancel() }
  }

  @Test("no call is lost: 8 tasks × 5,000 calls with the thread going to sleep in between")
  func noLostWakeUp() async {
    let blocker = Blocker()
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask { for _ in 0..<5_000 { await blocker.call() } }
      }
    }
    #expect(await blocker.calls == 40_000)
  }

  @Test("eight calls that block for 200 ms neither wait for each other nor hold up the cooperative pool")
  func poolIsFree() async {
    let blockers = (0..<8).map { _ in Blocker() }
    let clock = ContinuousClock()
    let start = clock.now
    let ticks = await withTaskGroup(of: Int.self) { group in
      for blocker in blockers {
        group.addTask {
          await blocker.block(microseconds: 200_000)
          return 0
        }
      }
      group.addTask {
        var ticks = 0
        while clock.now - start < .milliseconds(150) {
          ticks += 1
          await Task.yield()
        }
        return ticks
      }
      return await group.reduce(0, +)
    }
    let passed = clock.now - start
    #expect(passed >= .milliseconds(200))
    #expect(passed < .milliseconds(800), "eight in a row would take 1.6 s")
    #expect(ticks > 0, "on a pool of two threads the eight would have gone first")
  }
}

private func threads(named name: String) throws -> Int {
  let tasks = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")
  return tasks.count { (try? String(contentsOfFile: "/proc/self/task/\($0)/comm", encoding: .utf8)) == name + "\n" }
}
