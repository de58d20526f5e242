import Catalog
import Foundation
import HTTPTypes
package import Hummingbird
import Logging
import Model
import NIOCore
import Planner
package import RecordStore
import ServiceLifecycle

/// The coordinator's HTTP API under `/api/v1`. It is a remote build service: nothing but `/healthz`
/// answers without a token.
package struct APIServer: Sendable {
  let coordinator: Coordinator
  let tokens: TokenTable
  let maxBodyBytes: Int
  let evidenceBells: EvidenceBells
  let intake: Intake

  package init(
    coordinator: Coordinator, tokens: TokenTable, maxBodyBytes: Int = 64 << 20, intake: Intake = Intake()
  ) {
    self.coordinator = coordinator
    self.tokens = tokens
    self.maxBodyBytes = maxBodyBytes
    self.intake = intake
    evidenceBells = EvidenceBells(coordinator: coordinator)
  }

  package func application(host: String, port: Int) -> some ApplicationProtocol {
    let router = Router(context: APIContext.self)
    router.add(middleware: ProblemMiddleware(logger: coordinator.logger))
    router.get("/healthz") { _, _ in "ok\n" }
    let api = router.group("/api/v1").add(middleware: TokenMiddleware(tokens: tokens))
    api.post("/plan", use: plan)
    api.post("/builds", use: submit)
    api.get("/builds", use: builds)
    api.get("/builds/{id}", use: build)
    api.post("/builds/{id}/cancel", use: cancelBuild)
    api.post("/builds/{id}/retry", use: retryBuild)
    api.get("/jobs/{id}", use: job)
    api.get("/jobs/{id}/explanation", use: explanation)
    api.post("/jobs/{id}/cancel", use: cancelJob)
    api.post("/jobs/{id}/retry", use: retryJob)
    api.get("/jobs/{id}/log", use: log)
    api.get("/records", use: records)
    addDeadLetters(to: api)
    api.get("/executors") { _, _ in try JSONReply(await coordinator.store.executors()) }
    var application = Application(
      router: router,
      // Who sends nothing for so long in the middle of a request, or between two, has gone.
      server: .http1(configuration: .init(idleTimeout: .seconds(60))),
      configuration: ApplicationConfiguration(address: .hostname(host, port: port), serverName: "kiln"),
      logger: coordinator.logger)
    application.addServices(evidenceBells)
    return application
  }

  // MARK: Builds

  /// What a build of the same would do now, and why; nothing is kept. Body and query as for `work`; also
  /// `platform` (repeated). A build has none: its tags are never for a part of the platforms.
  @Sendable private func plan(_ request: Request, _ context: APIContext) async throws -> JSONReply {
    let platforms = try request.uri.queryParameters.getAll("platform").map { text in
      guard let platform = Platform(String(text)) else { throw Problem(.badRequest, "'\(text)' is not a platform") }
      return platform
    }
    return try await receive(request) { body in
      let work = try work(body, request, platforms)
      return try JSONReply(ForecastReport(try await coordinator.forecast(work.plan, scope: .release)))
    }
  }

  /// Body and query as for `work`; also `priority` and `retryFailed`.
  /// Header `Idempotency-Key`: the same key from the same principal is the same build.
  @Sendable private func submit(_ request: Request, _ context: APIContext) async throws -> JSONReply {
    guard let key = request.headers.idempotencyKey, (1...200).contains(key.utf8.count) else {
      throw Problem(
        .badRequest, "the header Idempotency-Key is missing", hint: "send any text that is new for each build")
    }
    return try await receive(request) { try await accept($0, request, context, key) }
  }

  private func accept(_ body: ByteBuffer, _ request: Request, _ context: APIContext, _ key: String) async throws
    -> JSONReply
  {
    let (work, query) = (try work(body, request), request.uri.queryParameters)
    let (accepted, forecast) = try await coordinator.submit(
      work,
      Coordinator.Request(
        principal: context.principal, idempotencyKey: key, priority: try number("priority", query) ?? 0,
        retryFailed: query.get("retryFailed") == "true"))
    coordinator.logger.info(
      "build accepted", metadata: ["build": "\(accepted.id)", "principal": "\(context.principal)"])
    return try JSONReply(
      SubmitReply(
        build: accepted, layersToBuild: forecast.layersToBuild.count, cells: work.plan.cells.count,
        cellsReused: forecast.reusedCells.count),
      status: accepted.isNew ? .created : .ok)
  }

  /// A catalog has its turn only when all of it is here: whoever sends slowly keeps nobody waiting. What has come
  /// is counted.
  private func receive<Value>(_ request: Request, _ use: (ByteBuffer) async throws -> Value) async throws -> Value {
    if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > maxBodyBytes { throw tooLarge }
    var received = ByteBuffer()
    defer { intake.release(received.readableBytes) }
    for try await piece in request.body {
      guard received.readableBytes + piece.readableBytes <= maxBodyBytes else { throw tooLarge }
      try intake.hold(piece.readableBytes, most: Self.largestBodiesHeld * maxBodyBytes)
      received.writeImmutableBuffer(piece)
    }
    let body = received
    return try await intake.admit { try await use(body) }
  }

  private static let largestBodiesHeld = 4

  /// Body: the catalog as a tar. Query: `product` (repeated) or `plan` (a test plan), `revision`,
  /// `moveTags` (`false`: images by digest alone).
  private func work(_ body: ByteBuffer, _ request: Request, _ platforms: [Platform] = []) throws -> PlannedWork {
    let tree = try CatalogTree(tar: Data(body.readableBytesView), maxBytes: maxBodyBytes)
    let catalog = try Catalog.load(tree)
    let query = request.uri.queryParameters
    return try Planner.plan(
      catalog: catalog, lock: try Lock.load(tree),
      request: PlanRequest(
        products: query.getAll("product").map { String($0) }, platforms: platforms, testPlan: query.get("plan"),
        movesTags: query.get("moveTags") != "false"),
      catalogRevision: query.get("revision"))
  }

  private var tooLarge: Problem {
    Problem(
      .contentTooLarge, "the catalog is larger than \(maxBodyBytes) bytes",
      hint: "keep large files out of the catalog, or raise the coordinator's --max-body-bytes")
  }

  @Sendable private func builds(_ request: Request, _ context: APIContext) async throws -> JSONReply {
    let (limit, cursor) = try page(request)
    let before = try cursor.map { text in
      guard let before = Int64(text) else { throw Problem(.badRequest, "the cursor '\(text)' is not one of ours") }
      return before
    }
    let items = try await coordinator.store.builds(limit: limit, before: before)
    return try JSONReply(Page(items: items, next: items.count == limit ? items.last.map { "\($0.sequence)" } : nil))
  }

  /// With `?unless=STATE&seconds=N` the answer waits, at most N seconds, until the build's progress is
  /// another than the one that `unless` names (the `ETag` of an earlier answer).
  @Sendable private func build(_ request: Request, _ context: APIContext) async throws -> JSONReply {
    let id = BuildID(text: try context.parameters.require("id"))
    let query = request.uri.queryParameters
    let seconds: Double = try min(max(number("seconds", query) ?? 0, 0), 60)
    let seen = query.get("unless")?.trimmingCharacters(in: ["\""])
    let until = coordinator.effects.time.monotonicSeconds() + seconds
    let bell = Bell()
    let ticket = evidenceBells.add(bell, topic: "work")
    defer { evidenceBells.remove(ticket) }
    while true {
      guard let detail = try await coordinator.store.build(id) else {
        throw Problem(.notFound, "there is no build \(id)", hint: "'kiln status' lists them")
      }
      let reply = try JSONReply(detail)
      let left = until - coordinator.effects.time.monotonicSeconds()
      guard reply.tag == seen, left > 0, !detail.summary.state.isSettled, !Task.isShuttingDownGracefully,
        !Task.isCancelled
      else { return reply }
      // Hints may be lost.
      await wait(for: bell, seconds: min(left, coordinator.settings.idleSeconds))
    }
  }

  /// Not longer than the server lives: who waits must not keep it from its end.
  private func wait(for bell: Bell, seconds: Double) async {
    let time = coordinator.effects.time
    await cancelWhenGracefulShutdown { await bell.wait(seconds: seconds, time: time) }
  }

  // MARK: Jobs

  @Sendable private func job(_ request: Request, _ context: APIContext) async throws -> JSONReply {
    let id = JobID(text: try context.parameters.require("id"))
    guard let job = try await coordinator.store.job(id) else { throw Problem(.notFound, "there is no job \(id)") }
    return try JSONReply(job)
  }

  @Sendable private func explanation(_ request: Request, _ context: APIContext) async throws -> JSONReply {
    let id = JobID(text: try context.parameters.require("id"))
    guard let found = try await coordinator.store.context(of: id) else {
      throw Problem(.notFound, "there is no job \(id)")
    }
    return try JSONReply(Explanation(found))
  }

  /// The log as text. With `?follow=true` it goes on until the job's state is final; `?attempt=N`
  /// shows an earlier attempt.
  @Sendable private func log(_ request: Request, _ context: APIContext) async throws -> Response {
    let id = JobID(text: try context.parameters.require("id"))
    guard try await coordinator.store.job(id) != nil else { throw Problem(.notFound, "there is no job \(id)") }
    let query = request.uri.queryParameters
    let reader = LogReader(
      store: coordinator.store, job: id, attempt: try number("attempt", query), follow: query.get("follow") == "true")
    let bells = evidenceBells
    return Response(
      status: .ok, headers: [.contentType: "text/plain; charset=utf-8"],
      body: ResponseBody { writer in
        let bell = Bell()
        let ticket = bells.add(bell, topic: "evidence:\(id)")
        defer { bells.remove(ticket) }
        try await reader.read { bytes in
          try await writer.write(ByteBuffer(bytes: bytes))
        } pause: {
          await wait(for: bell, seconds: coordinator.settings.idleSeconds)
          return !Task.isShuttingDownGracefully && !Task.isCancelled
        }
        try await writer.finish(nil)
      })
  }

  @Sendable private func records(_ request: Request, _ context: APIContext) async throws -> JSONReply {
    let (limit, cursor) = try page(request)
    let query = request.uri.queryParameters
    let platform = try query.get("platform").map { text in
      guard let platform = Platform(text) else { throw Problem(.badRequest, "'\(text)' is not a platform") }
      return platform
    }
    let items = try await coordinator.store.records(
      RecordFilter(product: query.get("product"), platform: platform), limit: limit, after: cursor)
    return try JSONReply(Page(items: items, next: items.count == limit ? items.last?.id : nil))
  }

  func page(_ request: Request) throws -> (limit: Int, cursor: String?) {
    let query = request.uri.queryParameters
    let limit = try number("limit", query) ?? 50
    guard (1...500).contains(limit) else { throw Problem(.badRequest, "limit must be from 1 to 500") }
    return (limit, query.get("cursor"))
  }

  /// Nil where the query does not say it; what is no number is refused.
  private func number<Value: LosslessStringConvertible>(_ name: String, _ query: Parameters) throws -> Value? {
    guard let text = query.get(name) else { return nil }
    guard let value = Value(text) else { throw Problem(.badRequest, "\(name) '\(text)' is not a number") }
    return value
  }
}

package struct SubmitReply: Codable, Sendable {
  package var build: AcceptedBuild
  package var layersToBuild: Int
  package var cells: Int
  package var cellsReused: Int
}

package struct Page<Item: Codable & Sendable>: Codable, Sendable {
  package var items: [Item]
  /// Pass it as `cursor` for what comes next; nil at the end.
  package var next: String?
}
