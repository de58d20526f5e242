import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Counts what RUN steps call: a tiny HTTP server outside Kiln. `GET /NAME` counts NAME.
// Unchecked: `counts` is only touched under `lock`; the listening socket is set once.
final class HitCounter: @unchecked Sendable {
  private let lock = NSLock()
  private var counts: [String: Int] = [:]
  private let listener: Int32
  let port: UInt16

  init() throws {
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
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
  func stop() {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
  }

  var all: [String: Int] { lock.withLock { counts } }

  private func answer(_ connection: Int32) {
    var buffer = [UInt8](repeating: 0, count: 2048)
    let count = read(connection, &buffer, buffer.count)
    let words = String(decoding: buffer.prefix(max(0, count)), as: UTF8.self).split(separator: " ")
    if words.count > 1 { lock.withLock { counts[String(words[1].dropFirst()), default: 0] += 1 } }
    let reply = Array("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n".utf8)
    _ = write(connection, reply, reply.count)
    close(connection)
  }
}
