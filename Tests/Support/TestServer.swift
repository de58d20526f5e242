import Foundation
package import Hummingbird
import Logging
import ServiceLifecycle

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A port of this machine on which nothing listens.
package func unusedPort() throws -> Int { try bound(0) }

/// The first of so many in a row, all below those that the kernel gives to clients: nobody takes them before they
/// are used, or between two uses.
package func unusedPorts(_ count: Int) throws -> Int {
  while true {
    let first = Int.random(in: 10_000..<30_000)
    if (first..<first + count).allSatisfy({ (try? bound($0)) != nil }) { return first }
  }
}

/// Throws where somebody has the port; 0 stands for any.
private func bound(_ port: Int) throws -> Int {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(descriptor) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = UInt16(port).bigEndian
  address.sin_addr.s_addr = inet_addr("127.0.0.1")
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  try withUnsafeMutablePointer(to: &address) { pointer in
    try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      guard bind(descriptor, $0, length) == 0, getsockname(descriptor, $0, &length) == 0 else {
        throw POSIXError(.init(rawValue: errno) ?? .EIO)
      }
    }
  }
  return Int(UInt16(bigEndian: address.sin_port))
}

/// Runs `body` with the address of a server of these routes.
package func withServer(
  _ routes: (Router<BasicRequestContext>) -> Void, _ body: @escaping @Sendable (String) async throws -> Void
) async throws {
  let router = Router(context: BasicRequestContext.self)
  routes(router)
  let port = try unusedPort()
  let (started, continuation) = AsyncStream<Void>.makeStream()
  let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
  let server = Application(
    router: router, configuration: .init(address: .hostname("127.0.0.1", port: port)),
    onServerRunning: { _ in continuation.finish() }, logger: quiet)
  let services = ServiceGroup(services: [server], logger: quiet)
  try await withThrowingTaskGroup(of: Void.self) { group in
    group.addTask {
      defer { continuation.finish() }
      try await services.run()
    }
    for await _ in started {}
    let result: Result<Void, any Error>
    do {
      result = .success(try await body("http://127.0.0.1:\(port)"))
    } catch {
      result = .failure(error)
    }
    await services.triggerGracefulShutdown()
    try await group.waitForAll()
    try result.get()
  }
}

/// A socket that takes connections and never says a word.
package final class SilentListener: Sendable {
  private let descriptor: Int32
  package let address: String

  package init() throws {
    let port = try unusedPort()
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    address = "http://127.0.0.1:\(port)"
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_addr.s_addr = inet_addr("127.0.0.1")
    name.sin_port = UInt16(port).bigEndian
    let bound = withUnsafePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard bound == 0, listen(descriptor, 8) == 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
  }

  deinit { close(descriptor) }
}
