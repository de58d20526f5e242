import Hummingbird
import HummingbirdCore
import KilnCoordinator
import Logging
import NIOCore
import ServiceLifecycle

/// Runs `body` with the port that the server listens on, and ends the server after it.
func whileListening(
  _ server: APIServer, logger: Logger, _ body: @escaping @Sendable (Int) async throws -> Void
) async throws {
  let (ports, continuation) = AsyncStream<Int>.makeStream()
  let application = Listening(base: server.application(host: "127.0.0.1", port: 0), ports: continuation)
  let services = ServiceGroup(services: [application], logger: logger)
  try await withThrowingTaskGroup(of: Void.self) { group in
    group.addTask {
      defer { continuation.finish() }
      try await services.run()
    }
    var port = 0
    for await bound in ports { port = bound }
    let result: Result<Void, any Error>
    do {
      result = .success(try await body(port))
    } catch {
      result = .failure(error)
    }
    await services.triggerGracefulShutdown()
    try await group.waitForAll()
    try result.get()
  }
}

/// An application that tells on which port it listens.
private struct Listening<Base: ApplicationProtocol>: ApplicationProtocol {
  let base: Base
  let ports: AsyncStream<Int>.Continuation

  var responder: Base.Responder { get async throws { try await base.responder } }
  var server: HTTPServerBuilder { base.server }
  var eventLoopGroup: any EventLoopGroup { base.eventLoopGroup }
  var configuration: ApplicationConfiguration { base.configuration }
  var logger: Logger { base.logger }
  var services: [any Service] { base.services }
  var processesRunBeforeServerStart: [@Sendable () async throws -> Void] { base.processesRunBeforeServerStart }

  func onServerRunning(_ channel: any Channel) async {
    await base.onServerRunning(channel)
    if let port = channel.localAddress?.port { ports.yield(port) }
    ports.finish()
  }
}
