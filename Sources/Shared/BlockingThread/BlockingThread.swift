#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif
import Foundation

/// An actor's executor on a thread of its own, for C libraries whose calls block and whose handles
/// must stay on one thread.
///
/// An actor that owns such a handle returns this from `unownedExecutor`; its methods, and with
/// `isolated deinit` its end, then run on this thread and never on Swift's cooperative pool. The
/// thread ends when the executor is released.
///
/// Between jobs the thread sleeps in `poll`. With `watch` it also sleeps on a descriptor of the C
/// library, so that incoming bytes and new calls are served by the same thread without waiting for
/// each other.
package final class BlockingThread: SerialExecutor {
  private let inbox: Inbox

  package init(name: String) {
    let inbox = Inbox()
    self.inbox = inbox
    let thread = Thread { inbox.run() }
    thread.name = name
    thread.stackSize = 1 << 20
    thread.start()
  }

  deinit { inbox.stop() }

  package func enqueue(_ job: consuming ExecutorJob) {
    inbox.add(UnownedJob(job), for: asUnownedSerialExecutor())
  }

  package func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }

  /// Lets `assumeIsolated` of an actor on this executor succeed in `watch`'s callback.
  package func checkIsolated() { precondition(inbox.isCurrent, "not on this executor's thread") }

  package func isIsolatingCurrentContext() -> Bool? { inbox.isCurrent }

  /// Calls `onReady` on this thread when `descriptor` is readable, and at least every
  /// `timeoutMilliseconds`. Replaces an earlier watch; a descriptor of nil only ticks.
  package func watch(_ descriptor: Int32?, timeoutMilliseconds: Int32, onReady: @escaping @Sendable () -> Void) {
    inbox.setWatch(Inbox.Watch(descriptor: descriptor ?? -1, timeoutMilliseconds: timeoutMilliseconds, onReady: onReady))
  }

  package func stopWatching() { inbox.setWatch(nil) }
}

/// What the thread shares with its callers.
// Unchecked: `jobs`, `watch` and `stopped` are only touched under `lock`; `thread` is written once,
// under `lock`, before the first job runs.
private final class Inbox: @unchecked Sendable {
  struct Watch {
    let descriptor: Int32
    let timeoutMilliseconds: Int32
    let onReady: @Sendable () -> Void
  }

  private let lock = NSLock()
  /// A pipe to itself: written to wake the thread out of `poll`.
  private let wakeup: (read: Int32, write: Int32)
  private var jobs: [(UnownedJob, UnownedSerialExecutor)] = []
  private var watch: Watch?
  private var stopped = false
  private var thread: pthread_t?

  init() {
    var ends: [Int32] = [-1, -1]
    precondition(pipe(&ends) == 0, "pipe: \(String(cString: strerror(errno)))")
    for end in ends {
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
    }
    wakeup = (ends[0], ends[1])
  }

  deinit {
    close(wakeup.read)
    close(wakeup.write)
  }

  var isCurrent: Bool {
    lock.withLock { thread.map { pthread_equal($0, pthread_self()) != 0 } ?? false }
  }

  func add(_ job: UnownedJob, for executor: UnownedSerialExecutor) {
    lock.withLock { jobs.append((job, executor)) }
    signal()
  }

  func setWatch(_ watch: Watch?) {
    lock.withLock { self.watch = watch }
    signal()
  }

  func stop() {
    lock.withLock { stopped = true }
    signal()
  }

  private func signal() {
    var byte: UInt8 = 1
    // A full pipe wakes the thread just as well.
    _ = write(wakeup.write, &byte, 1)
  }

  func run() {
    lock.withLock { thread = pthread_self() }
    while true {
      let (batch, watch, stopped) = lock.withLock {
        defer { jobs = [] }
        return (jobs, self.watch, self.stopped)
      }
      for (job, executor) in batch { job.runSynchronously(on: executor) }
      if !batch.isEmpty { continue }
      if stopped { return }
      wait(watch)
    }
  }

  private func wait(_ watch: Watch?) {
    var descriptors = [pollfd(fd: wakeup.read, events: Int16(POLLIN), revents: 0)]
    if let watch { descriptors.append(pollfd(fd: watch.descriptor, events: Int16(POLLIN), revents: 0)) }
    let found = poll(&descriptors, nfds_t(descriptors.count), watch?.timeoutMilliseconds ?? -1)
    if descriptors[0].revents != 0 {
      var bytes = [UInt8](repeating: 0, count: 64)
      while read(wakeup.read, &bytes, bytes.count) == bytes.count {}
    }
    if let watch, found == 0 || descriptors[1].revents != 0 { watch.onReady() }
  }
}
