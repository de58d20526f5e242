import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// An actor's executor on a thread of its own, for C libraries whose calls block and whose handles
/// must stay on one thread.
///
/// An actor that owns such a handle returns this from `unownedExecutor`; its methods, and with
/// `isolated deinit` its end, then run on this thread and never on Swift's cooperative pool. The
/// thread ends when the executor is released and what was enqueued has run.
///
/// Between jobs the thread sleeps in `poll`. With `watch` it also sleeps on a descriptor of the C
/// library, so that incoming bytes and new calls are served by the same thread in turn: a flood of
/// calls does not keep it from reading, nor a flood of bytes from calls.
package final class BlockingThread: SerialExecutor {
  private let inbox: Inbox

  package init(name: String) {
    let inbox = Inbox()
    self.inbox = inbox
    let thread = Thread { inbox.run() }
    // The kernel takes 15 bytes and refuses more.
    thread.name = String(name.prefix(15))
    thread.stackSize = 1 << 20
    thread.start()
  }

  deinit { inbox.stop() }

  package func enqueue(_ job: consuming ExecutorJob) { inbox.add(UnownedJob(job), for: self) }

  package func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }

  /// Lets `assumeIsolated` of an actor on this executor succeed in `watch`'s callback.
  package func checkIsolated() { precondition(inbox.isCurrent, "not on this executor's thread") }

  package func isIsolatingCurrentContext() -> Bool? { inbox.isCurrent }

  /// Calls `onReady` on this thread when `descriptor` is readable (with `forWriting`, also when it is
  /// writable) or broken, and at least every `timeoutMilliseconds`. Replaces an earlier watch; a
  /// descriptor of nil only ticks.
  ///
  /// `onReady` must not retain the actor, for the actor retains this executor. The descriptor must
  /// stay open until the watch is replaced or stopped. Changed from another thread, a call of the
  /// former `onReady` that has begun is not waited for.
  package func watch(
    _ descriptor: Int32?, forWriting: Bool = false, timeoutMilliseconds: Int32, onReady: @escaping @Sendable () -> Void
  ) {
    inbox.setWatch(
      descriptor: descriptor ?? -1, events: Int16(POLLIN | (forWriting ? POLLOUT : 0)),
      timeoutMilliseconds: timeoutMilliseconds, onReady: onReady)
  }

  package func stopWatching() { inbox.clearWatch() }
}
