internal import CCurl
import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// One libcurl multi handle, and an epoll descriptor that is readable when any of its sockets is
/// ready or a cancellation arrived. It never leaves the client's thread.
final class MultiHandle {
  private let raw: UnsafeMutableRawPointer
  /// What the client's thread sleeps on.
  let descriptor: Int32
  private let cancellations: Cancellations
  private var timerSeconds: Double?

  init(cancellations: Cancellations) {
    guard let raw = curl_multi_init() else { preconditionFailure("libcurl gives no multi handle") }
    self.raw = raw
    self.cancellations = cancellations
    descriptor = epoll_create1(Int32(EPOLL_CLOEXEC))
    precondition(descriptor >= 0, "epoll_create1: \(String(cString: strerror(errno)))")
    var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(fd: cancellations.descriptor))
    epoll_ctl(descriptor, EPOLL_CTL_ADD, cancellations.descriptor, &event)

    // Unretained: the handle is freed in our own deinit, and its callbacks only run inside our calls.
    let context = Unmanaged.passUnretained(self).toOpaque()
    kiln_curl_multi_set_pointer(raw, CURLMOPT_SOCKETDATA, context)
    kiln_curl_multi_set_pointer(raw, CURLMOPT_TIMERDATA, context)
    kiln_curl_multi_set_long(raw, CURLMOPT_MAXCONNECTS, 32)
    kiln_curl_multi_set_socket(raw) { _, socket, what, context, known in
      MultiHandle.from(context)?.watch(socket, what, isKnown: known != nil)
      return 0
    }
    kiln_curl_multi_set_timer(raw) { _, milliseconds, context in
      let due = milliseconds < 0 ? nil : monotonicSeconds() + Double(milliseconds) / 1000
      MultiHandle.from(context)?.timerSeconds = due
      return 0
    }
  }

  deinit {
    curl_multi_cleanup(raw)
    close(descriptor)
  }

  /// The handle that `init` registered, which is alive while it calls libcurl.
  private static func from(_ context: UnsafeMutableRawPointer?) -> MultiHandle? {
    context.map { Unmanaged<MultiHandle>.fromOpaque($0).takeUnretainedValue() }
  }

  func add(_ handle: EasyHandle) -> Bool { curl_multi_add_handle(raw, handle.raw) == CURLM_OK }
  func remove(_ handle: EasyHandle) { curl_multi_remove_handle(raw, handle.raw) }

  /// How long the thread may sleep before `turn` is due.
  var timeoutMilliseconds: Int32 {
    let idle: Double = 60_000
    return Int32(timerSeconds.map { min(idle, max(0, (($0 - monotonicSeconds()) * 1000).rounded(.up))) } ?? idle)
  }

  /// Does what sockets and the timer ask for.
  func turn() {
    var events = [epoll_event](repeating: epoll_event(), count: 64)
    let count = epoll_wait(descriptor, &events, Int32(events.count), 0)
    var running: Int32 = 0
    for event in events.prefix(Int(max(0, count))) where event.data.fd != cancellations.descriptor {
      var mask: Int32 = 0
      if event.events & EPOLLIN.rawValue != 0 { mask |= CURL_CSELECT_IN }
      if event.events & EPOLLOUT.rawValue != 0 { mask |= CURL_CSELECT_OUT }
      if event.events & (EPOLLERR.rawValue | EPOLLHUP.rawValue) != 0 { mask |= CURL_CSELECT_ERR }
      curl_multi_socket_action(raw, event.data.fd, mask, &running)
    }
    if let due = timerSeconds, due <= monotonicSeconds() {
      timerSeconds = nil
      curl_multi_socket_action(raw, CURL_SOCKET_BAD, 0, &running)
    }
  }

  /// The next transfer that ended, and libcurl's result.
  func nextEnded() -> (handle: UnsafeMutableRawPointer, result: CURLcode)? {
    var left: Int32 = 0
    while let message = curl_multi_info_read(raw, &left) {
      if message.pointee.msg == CURLMSG_DONE, let handle = message.pointee.easy_handle {
        return (handle, message.pointee.data.result)
      }
    }
    return nil
  }

  private func watch(_ socket: Int32, _ what: Int32, isKnown: Bool) {
    guard what != CURL_POLL_REMOVE else {
      epoll_ctl(descriptor, EPOLL_CTL_DEL, socket, nil)
      return
    }
    var event = epoll_event(events: 0, data: epoll_data_t(fd: socket))
    if what & CURL_POLL_IN != 0 { event.events |= EPOLLIN.rawValue }
    if what & CURL_POLL_OUT != 0 { event.events |= EPOLLOUT.rawValue }
    if !isKnown {
      // Anything but nil marks the socket as known.
      curl_multi_assign(raw, socket, raw)
    }
    if epoll_ctl(descriptor, EPOLL_CTL_MOD, socket, &event) != 0 {
      epoll_ctl(descriptor, EPOLL_CTL_ADD, socket, &event)
    }
  }
}

/// Seconds on a clock that never steps.
private func monotonicSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// Transfers that somebody no longer wants, from any thread; an event descriptor wakes the client's.
// Unchecked: `wanted` is only touched under `lock`, `descriptor` never changes.
final class Cancellations: @unchecked Sendable {
  let descriptor: Int32
  private let lock = NSLock()
  private var wanted: [Int] = []

  init() {
    descriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    precondition(descriptor >= 0, "eventfd: \(String(cString: strerror(errno)))")
  }

  deinit { close(descriptor) }

  func request(_ id: Int) {
    lock.withLock { wanted.append(id) }
    eventfd_write(descriptor, 1)
  }

  func take() -> [Int] {
    var count: eventfd_t = 0
    eventfd_read(descriptor, &count)
    return lock.withLock {
      defer { wanted = [] }
      return wanted
    }
  }
}
