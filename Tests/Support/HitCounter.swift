import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Counts what RUN steps call: a tiny HTTP server outside Kiln. `GET /NAME` counts NAME. A step that
/// must be caught in the middle is held: it gets its answer when the test says so, or never.
// Unchecked: all that varies is only touched under `lock`.
package final class HitCounter: @unchecked Sendable {
  private let lock = NSLock()
  private var counts: [String: Int] = [:]
  private var heldPart: String?
  private var refusedPart: String?
  private var held: [(name: String, connection: Int32)] = []
  private let listener: Int32
  package let port: UInt16

  /// - Parameter address: loopback, unless steps come from a network of their own.
  package init(address text: String = "127.0.0.1") throws {
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    guard inet_pton(AF_INET, text, &address.sin_addr) == 1 else { throw POSIXError(.EINVAL) }
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let listener = self.listener
    let bound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
        bind(listener, raw, length) == 0 && listen(listener, 64) == 0 && getsockname(listener, raw, &length) == 0
      }
    }
    guard bound else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
    port = UInt16(bigEndian: address.sin_port)
    let thread = Thread { [weak self] in
      while true {
        let connection = accept(listener, nil, nil)
        if connection < 0 { return }
        self?.answer(connection)
      }
    }
    thread.start()
  }

  /// Ends the server: `accept` fails, its thread returns.
  package func stop() {
    release()
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
  }

  package var all: [String: Int] { lock.withLock { counts } }

  /// From now on, who calls a name that contains `part` waits; nil: nobody more does.
  package func hold(_ part: String?) { lock.withLock { heldPart = part } }

  /// From now on, who calls a name that contains `part` gets 404; nil: nobody more does.
  package func refuse(_ part: String?) { lock.withLock { refusedPart = part } }

  /// Who waits for an answer and has not gone away.
  package var waiting: [String] {
    lock.withLock {
      held.filter { (call: (name: String, connection: Int32)) -> Bool in
        var byte: UInt8 = 0
        // Nothing more is sent to us: readable means gone.
        let count = recv(call.connection, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
        return count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)
      }.map(\.name)
    }
  }

  /// Nobody is held any more; who waits is answered.
  package func release() {
    let waiting = lock.withLock {
      defer { (held, heldPart) = ([], nil) }
      return held
    }
    for call in waiting { Self.reply(call.connection) }
  }

  private func answer(_ connection: Int32) {
    var buffer = [UInt8](repeating: 0, count: 2048)
    let count = read(connection, &buffer, buffer.count)
    let words = String(decoding: buffer.prefix(max(0, count)), as: UTF8.self).split(separator: " ")
    guard words.count > 1 else { return Self.reply(connection) }
    let name = String(words[1].dropFirst())
    let (isHeld, isRefused) = lock.withLock {
      counts[name, default: 0] += 1
      let isRefused = refusedPart.map { name.contains($0) } ?? false
      guard let heldPart, name.contains(heldPart) else { return (false, isRefused) }
      held.append((name, connection))
      return (true, false)
    }
    if !isHeld { Self.reply(connection, status: isRefused ? "404 Not Found" : "200 OK") }
  }

  private static func reply(_ connection: Int32, status: String = "200 OK") {
    let reply = Array("HTTP/1.0 \(status)\r\nContent-Length: 3\r\n\r\nok\n".utf8)
    // Who was killed while it waited must not end the tests by a signal.
    _ = send(connection, reply, reply.count, Int32(MSG_NOSIGNAL))
    close(connection)
  }
}
