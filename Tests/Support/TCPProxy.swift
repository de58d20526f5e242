import Foundation
import Glibc

/// Stands between a client and a service, to break what is between them.
///
/// Two threads per connection copy bytes; there is no limit but the test's own.
// Unchecked: all state is under `condition`; the port and the target are constants.
package final class TCPProxy: @unchecked Sendable {
  package let port: Int
  private let target: sockaddr_in
  private let condition = NSCondition()
  private var listener: Int32
  /// Both ends of every connection.
  private var pairs: [(client: Int32, service: Int32)] = []
  private var isStalled = false
  private var isAway = false
  private var isOver = false
  /// Of all connections and both directions, since the last `count`.
  private var passed = 0
  private var ends: [Int] = []
  private var limit: Int?

  /// - Parameter targetPort: on 127.0.0.1.
  package init(to targetPort: Int) throws {
    target = Self.loopback(port: targetPort)
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = Self.loopback(port: 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let listener = listener
    let bound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        bind(listener, pointer, length) == 0 && listen(listener, 64) == 0
          && getsockname(listener, pointer, &length) == 0
      }
    }
    guard bound else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
    port = Int(UInt16(bigEndian: address.sin_port))
    Thread.detachNewThread { self.accept(listener) }
  }

  /// Breaks every connection.
  package func cut() {
    condition.withLock { for pair in pairs { end(pair) } }
  }

  /// Counts bytes from now on. Once `limit` of them have passed, every connection is broken, once.
  package func count(cuttingAfter limit: Int? = nil) {
    condition.withLock { (passed, ends, self.limit) = (0, [], limit) }
  }

  /// How many bytes had passed after each write of either side: the steps of what is spoken.
  package var steps: [Int] { condition.withLock { ends } }
  /// Whether the limit has not been reached.
  package var isUncut: Bool { condition.withLock { limit != nil } }

  /// How many of `count` bytes may pass.
  private func allowance(_ count: Int) -> Int {
    condition.withLock {
      let allowed = min(count, limit.map { $0 - passed } ?? count)
      passed += allowed
      ends.append(passed)
      return allowed
    }
  }

  private func cutIfReached() {
    condition.withLock {
      guard passed == limit else { return }
      limit = nil
      for pair in pairs { end(pair) }
    }
  }

  /// From now on breaks every connection as soon as it is made.
  package func goAway() {
    condition.withLock {
      isAway = true
      for pair in pairs { end(pair) }
    }
  }

  package func comeBack() { condition.withLock { isAway = false } }

  /// Keeps every connection open, and passes nothing on.
  package func stall() { condition.withLock { isStalled = true } }

  package func resume() {
    condition.withLock {
      isStalled = false
      condition.broadcast()
    }
  }

  /// Sends `bytes` to every client, as if the service had.
  package func inject(_ bytes: [UInt8]) {
    condition.withLock { for pair in pairs { _ = Self.write(bytes[...], to: pair.client) } }
  }

  package var connections: Int { condition.withLock { pairs.count } }

  package func close() {
    condition.withLock {
      isOver = true
      isStalled = false
      for pair in pairs { end(pair) }
      shutdown(listener, Int32(SHUT_RDWR))
      condition.broadcast()
    }
  }

  private func accept(_ listener: Int32) {
    while true {
      let client = Glibc.accept(listener, nil, nil)
      guard client >= 0, !condition.withLock({ isOver }) else { break }
      let service = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      var address = target
      let connected = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          connect(service, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
        }
      }
      guard connected, !condition.withLock({ isAway }) else {
        Glibc.close(client)
        Glibc.close(service)
        continue
      }
      let pair = (client: client, service: service)
      condition.withLock { pairs.append(pair) }
      Thread.detachNewThread { self.copy(from: service, to: client, pair) }
      Thread.detachNewThread { self.copy(from: client, to: service, pair) }
    }
    Glibc.close(listener)
  }

  private func copy(from source: Int32, to sink: Int32, _ pair: (client: Int32, service: Int32)) {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = read(source, &buffer, buffer.count)
      condition.withLock { while isStalled { condition.wait() } }
      guard count > 0 else { break }
      let allowed = allowance(count)
      let isWritten = Self.write(buffer[..<allowed], to: sink)
      if allowed > 0 { cutIfReached() }
      guard isWritten, allowed == count else { break }
    }
    condition.withLock { end(pair) }
    // The last of the two threads closes.
    let isLast = condition.withLock { () -> Bool in
      defer { pairs.removeAll { $0 == pair } }
      return !pairs.contains { $0 == pair }
    }
    if isLast {
      Glibc.close(pair.client)
      Glibc.close(pair.service)
    }
  }

  private func end(_ pair: (client: Int32, service: Int32)) {
    shutdown(pair.client, Int32(SHUT_RDWR))
    shutdown(pair.service, Int32(SHUT_RDWR))
  }

  private static func write(_ bytes: ArraySlice<UInt8>, to sink: Int32) -> Bool {
    var rest = bytes
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { send(sink, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      guard count > 0 else { return false }
      rest = rest.dropFirst(count)
    }
    return true
  }

  private static func loopback(port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
    return address
  }
}
