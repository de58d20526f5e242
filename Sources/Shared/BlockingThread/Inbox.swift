import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a `BlockingThread` shares with its callers.
// Unchecked: every `var` is only touched under `lock`; the descriptors are constants.
final class Inbox: @unchecked Sendable {
  private struct Watch {
    let identity: Int
    let descriptor: Int32
    let events: Int16
    let timeoutMilliseconds: Int32
    let onReady: @Sendable () -> Void
  }

  private let lock = NSLock()
  /// Two ends of a connection to itself: written to wake the thread out of `poll`.
  private let wakeup: (read: Int32, write: Int32)
  /// Each job keeps its executor alive until it has run, so that none is ever left behind and an
  /// actor may release its executor in its own last job.
  private var jobs: [(UnownedJob, BlockingThread)] = []
  private var watch: Watch?
  private var watchCount = 0
  /// When the watch ticks next, in milliseconds of `now`.
  private var tickDue: Int64 = 0
  /// The thread is in `poll`, or about to be, having seen nothing to do.
  private var sleeping = false
  private var stopped = false
  private var thread: pthread_t?

  init() {
    var ends: [Int32] = [-1, -1]
    #if canImport(Glibc) || canImport(Musl)
      let kind = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
      let result = socketpair(AF_UNIX, Int32(kind), 0, &ends)
    #else
      let result = socketpair(AF_UNIX, SOCK_STREAM, 0, &ends)
      for end in ends {
        _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        _ = fcntl(end, F_SETFL, O_NONBLOCK)
      }
    #endif
    precondition(result == 0, "socketpair: \(String(cString: strerror(errno)))")
    wakeup = (ends[0], ends[1])
  }

  deinit {
    close(wakeup.read)
    close(wakeup.write)
  }

  var isCurrent: Bool {
    lock.withLock { thread.map { pthread_equal($0, pthread_self()) != 0 } ?? false }
  }

  func add(_ job: UnownedJob, for executor: BlockingThread) { change { jobs.append((job, executor)) } }

  func setWatch(
    descriptor: Int32, events: Int16, timeoutMilliseconds: Int32, onReady: @escaping @Sendable () -> Void
  ) {
    let due = Self.now() + Int64(timeoutMilliseconds)
    change {
      watchCount += 1
      watch = Watch(
        identity: watchCount, descriptor: descriptor, events: events, timeoutMilliseconds: timeoutMilliseconds,
        onReady: onReady)
      tickDue = due
    }
  }

  func clearWatch() { change { watch = nil } }

  func stop() {
    change {
      stopped = true
      watch = nil
    }
  }

  /// The thread looks at the shared state, under the lock, before it sleeps; so one byte wakes it
  /// for all changes since.
  private func change(_ body: () -> Void) {
    let wake = lock.withLock {
      body()
      defer { sleeping = false }
      return sleeping
    }
    guard wake else { return }
    var byte: UInt8 = 1
    // A full buffer wakes the thread just as well.
    _ = write(wakeup.write, &byte, 1)
  }

  func run() {
    lock.withLock { thread = pthread_self() }
    while runJobs() { wait() }
  }

  /// False when there will be no more.
  private func runJobs() -> Bool {
    let batch = lock.withLock {
      defer { jobs = [] }
      return jobs
    }
    for (job, executor) in batch { job.runSynchronously(on: executor.asUnownedSerialExecutor()) }
    return !batch.isEmpty || !lock.withLock { stopped }
  }

  /// Sleeps until there is a job or the watch has something; with jobs waiting, only looks.
  private func wait() {
    let now = Self.now()
    let (watch, timeout) = lock.withLock { () -> (Watch?, Int32) in
      sleeping = jobs.isEmpty && !stopped
      let untilTick = self.watch == nil ? -1 : Int32(max(0, tickDue - now))
      return (self.watch, sleeping ? untilTick : 0)
    }
    var descriptors = [
      pollfd(fd: wakeup.read, events: Int16(POLLIN), revents: 0),
      pollfd(fd: watch?.descriptor ?? -1, events: watch?.events ?? 0, revents: 0),
    ]
    let found = poll(&descriptors, nfds_t(descriptors.count), timeout)
    if found > 0, descriptors[0].revents != 0 {
      var bytes: UInt64 = 0
      while read(wakeup.read, &bytes, 8) == 8 {}
    }
    let ready = found > 0 && descriptors[1].revents != 0
    let time = Self.now()
    let due = lock.withLock { () -> Watch? in
      sleeping = false
      guard let current = self.watch, current.identity == watch?.identity, ready || time >= tickDue else { return nil }
      tickDue = time + Int64(current.timeoutMilliseconds)
      return current
    }
    due?.onReady()
  }

  private static func now() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
  }
}
