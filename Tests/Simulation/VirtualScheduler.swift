import Foundation
import Model

/// Runs every process of a simulated farm on one thread and on virtual time. Whose turn it is, the seed
/// decides: the same seed, the same run, step by step.
// Unchecked: used by the one thread that runs it.
final class VirtualScheduler: @unchecked Sendable {
  private(set) var milliseconds: Int64 = 1_700_000_000_000
  let random: SimulatedRandom
  /// Changes with every step: two runs are equal where their traces are.
  private(set) var trace: UInt64 = 0xcbf2_9ce4_8422_2325
  private(set) var steps = 0

  private var ready: [(job: UnownedJob, process: SimulatedProcess)] = []
  /// By time, then by age.
  private var timers: [Timer] = []
  private var timerCount = 0

  private struct Timer {
    var at: Int64
    var number: Int
    var process: SimulatedProcess
    var continuation: UnsafeContinuation<Void, any Error>
  }

  private(set) lazy var thread = Thread.current

  init(seed: UInt64) { random = SimulatedRandom(seed: seed) }

  /// Goes on until `isDone`, but not beyond `deadline`, and not when nothing could ever happen again.
  func run(until isDone: () -> Bool, deadline: Int64) {
    while !isDone(), milliseconds <= deadline {
      if let index = choose() {
        let next = ready[index]
        ready[index] = ready[ready.count - 1]
        ready.removeLast()
        record(UInt64(next.process.number))
        next.job.runSynchronously(on: next.process.asUnownedTaskExecutor())
      } else if !advance() {
        return
      }
    }
  }

  private func choose() -> Int? {
    if ready.isEmpty { return nil }
    let start = Int(random.next() % UInt64(ready.count))
    for offset in 0..<ready.count {
      let index = (start + offset) % ready.count
      if ready[index].process.frozenUntil <= milliseconds { return index }
    }
    return nil
  }

  /// To the next moment at which somebody can go on.
  private func advance() -> Bool {
    var next = ready.map(\.process.frozenUntil).min()
    if let timer = timers.first { next = min(next ?? timer.at, timer.at) }
    guard let next else { return false }
    milliseconds = max(milliseconds, next)
    record(UInt64(bitPattern: milliseconds))
    while let timer = timers.first, timer.at <= milliseconds {
      timers.removeFirst()
      timer.continuation.resume()
    }
    return true
  }

  private func record(_ value: UInt64) {
    steps += 1
    trace = (trace ^ value) &* 0x100_0000_01b3
  }

  // MARK: For processes

  fileprivate func enqueue(_ job: UnownedJob, _ process: SimulatedProcess) { ready.append((job, process)) }

  fileprivate func forget(_ process: SimulatedProcess) {
    ready.removeAll { $0.process === process }
    timers.removeAll { $0.process === process }
  }

  fileprivate func nextTimer() -> Int {
    timerCount += 1
    return timerCount
  }

  fileprivate func add(
    _ number: Int, afterMilliseconds delay: Int64, _ process: SimulatedProcess,
    _ continuation: UnsafeContinuation<Void, any Error>
  ) {
    let timer = Timer(at: milliseconds + max(0, delay), number: number, process: process, continuation: continuation)
    var place = timers.count
    while place > 0, timers[place - 1].at > timer.at { place -= 1 }
    timers.insert(timer, at: place)
  }

  fileprivate func cancel(_ number: Int) {
    guard let index = timers.firstIndex(where: { $0.number == number }) else { return }
    timers.remove(at: index).continuation.resume(throwing: CancellationError())
  }
}

/// A program on some host: its tasks run nowhere else. Killed, none of them ever runs again: no `defer`,
/// no `catch`, as after SIGKILL.
// Unchecked: used by the one thread that runs the scheduler.
final class SimulatedProcess: TaskExecutor, @unchecked Sendable {
  enum Kind: String { case coordinator, executor, world }

  let name: String
  let kind: Kind
  let number: Int
  let scheduler: VirtualScheduler
  private(set) var isAlive = true
  /// Stopped (as by SIGSTOP) until then.
  var frozenUntil: Int64 = 0
  /// Its wall clock is ahead of the world's.
  var skewMilliseconds: Int64 = 0
  /// Between a claim that was granted and what its attempt wrote last. Each executor has one slot.
  var isAttemptOpen = false
  /// Jobs of which the store said something since they were last delivered.
  var asked: Set<JobID> = []
  private var whenKilled: [() -> Void] = []

  init(_ name: String, _ kind: Kind, number: Int, scheduler: VirtualScheduler) {
    (self.name, self.kind, self.number, self.scheduler) = (name, kind, number, scheduler)
  }

  func enqueue(_ job: consuming ExecutorJob) {
    // Kept with its message where the code is optimised, as a precondition's is not.
    guard Thread.current === scheduler.thread else { fatalError("\(name) has a task that runs elsewhere") }
    let job = UnownedJob(job)
    if isAlive { scheduler.enqueue(job, self) }
  }

  /// Runs when the process is killed: what the other side of its connections sees.
  func onKill(_ body: @escaping () -> Void) { whenKilled.append(body) }

  func kill() {
    guard isAlive else { return }
    isAlive = false
    scheduler.forget(self)
    for body in whenKilled { body() }
    whenKilled = []
  }

  /// Something that takes time, also in a cancelled task.
  func pause(milliseconds: Int64) async {
    // Nobody cancels this timer.
    try? await withUnsafeThrowingContinuation { continuation in
      scheduler.add(scheduler.nextTimer(), afterMilliseconds: milliseconds, self, continuation)
    }
  }
}

/// A process's own clocks.
struct VirtualTime: TimeSource {
  let process: SimulatedProcess

  func now() -> Timestamp { Timestamp(milliseconds: process.scheduler.milliseconds + process.skewMilliseconds) }
  func monotonicSeconds() -> Double { Double(process.scheduler.milliseconds) / 1000 }

  func sleep(seconds: Double) async throws {
    let scheduler = process.scheduler
    let number = scheduler.nextTimer()
    try await withTaskCancellationHandler {
      try await withUnsafeThrowingContinuation { (continuation: UnsafeContinuation<Void, any Error>) in
        if Task.isCancelled { return continuation.resume(throwing: CancellationError()) }
        // Never exact, as on a busy machine; at least one millisecond.
        let delay = Int64((seconds * 1000).rounded(.up)) + 1 + Int64(scheduler.random.next() % 3)
        scheduler.add(number, afterMilliseconds: delay, process, continuation)
      }
    } onCancel: {
      scheduler.cancel(number)
    }
  }
}

/// SplitMix64.
// Unchecked: used by the one thread that runs the scheduler.
final class SimulatedRandom: RandomSource, @unchecked Sendable {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 0x1234_5678 }

  func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
  func happens(_ probability: Double) -> Bool { fraction() < probability }
  func pick<Value>(_ values: [Value]) -> Value? { values.isEmpty ? nil : values[below(values.count)] }
}
