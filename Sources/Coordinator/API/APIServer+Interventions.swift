import Foundation
import HTTPTypes
import Hummingbird
import Logging
import Model
import NIOCore
import RecordStore

/// What people do to work that is under way, and to work that failed.
extension APIServer {
  /// Nobody wants the build any more. Again, and also once it is cancelled, the same answer; 409 where it
  /// was too late.
  @Sendable func cancelBuild(_ request: Request, _ context: APIContext) async throws -> JSONReply {
    let id = BuildID(text: try context.parameters.require("id"))
    guard let state = try await coordinator.store.cancel(id, by: context.principal) else { throw unknown(id) }
    guard state == .cancelling || state == .cancelled else {
      throw Problem(.conflict, "build \(id) is \(state.rawValue): there is nothing left to cancel")
    }
    coordinator.logger.info("build cancelled", metadata: ["build": "\(id)", "principal": "\(context.principal)"])
    return try JSONReply(CancelReply(id: id.text, state: state.rawValue))
  }

  /// The same for one job: builds go without the cells that need it.
  @Sendable func cancelJob(_ request: Request, _ context: APIContext) async throws -> JSONReply {
    let id = JobID(text: try context.parameters.require("id"))
    guard let job = try await coordinator.store.cancel(id, by: context.principal) else { throw unknown(id) }
    guard job.wasCancelled || job.state == .cancelled || job.cells > 0 else {
      let reason =
        job.state.isFinal ? "there is nothing left to cancel" : "nobody works on it, for what is below it failed"
      throw Problem(.conflict, "job \(id) is \(job.state.rawValue): \(reason)")
    }
    coordinator.logger.info("job cancelled", metadata: ["job": "\(id)", "principal": "\(context.principal)"])
    return try JSONReply(CancelReply(id: id.text, state: job.state.rawValue, cells: job.cells))
  }

  /// What failed or blocked the build's cells is tried again; 409 where nothing of it is dead.
  @Sendable func retryBuild(_ request: Request, _ context: APIContext) async throws -> JSONReply {
    let id = BuildID(text: try context.parameters.require("id"))
    guard let build = try await coordinator.store.build(id) else { throw unknown(id) }
    var outcome = try await replay(DeadLetterSelection(build: id, isEvery: true), context)
    for job in build.jobs where job.state == .delayed {
      if try await coordinator.store.hasten(job.id) { outcome.hastened.append(job.id) }
    }
    guard outcome != ReplayOutcome() else {
      throw Problem(
        .conflict,
        "build \(id) is \(build.summary.state.rawValue), and nothing of it is dead: there is nothing to retry",
        hint: build.summary.state == .cancelled ? "submit it again" : nil)
    }
    return try JSONReply(outcome)
  }

  /// A dead job's layer or cell is tried again, and one that waits for its next attempt waits no longer.
  @Sendable func retryJob(_ request: Request, _ context: APIContext) async throws -> JSONReply {
    let id = JobID(text: try context.parameters.require("id"))
    guard let job = try await coordinator.store.job(id) else { throw unknown(id) }
    var outcome = ReplayOutcome()
    if job.summary.state == .delayed, try await coordinator.store.hasten(id) {
      outcome.hastened = [id]
      return try JSONReply(outcome)
    }
    outcome = try await replay(DeadLetterSelection(letter: id.text, isEvery: true), context)
    guard outcome != ReplayOutcome() else {
      throw Problem(.conflict, "job \(id) is \(job.summary.state.rawValue): there is nothing to retry")
    }
    return try JSONReply(outcome)
  }

  // MARK: Dead letters

  func addDeadLetters(to api: RouterGroup<APIContext>) {
    api.get("/dead-letters", use: deadLetters)
    api.get("/dead-letters/groups") { _, _ in try JSONReply(await coordinator.store.deadLetterGroups()) }
    api.post("/dead-letters/replay", use: replayDeadLetters)
    api.post("/dead-letters/drop", use: dropDeadLetters)
  }

  /// With `letter` (its identifier, or its job's), `fingerprint`, `pool`, `build`; `all=true` for those too
  /// that were replayed or dropped.
  @Sendable private func deadLetters(_ request: Request, _ context: APIContext) async throws -> JSONReply {
    let (limit, cursor) = try page(request)
    let items = try await coordinator.store.deadLetters(selection(request), limit: limit, after: cursor)
    return try JSONReply(Page(items: items, next: items.count == limit ? items.last?.identifier : nil))
  }

  /// At most 500 by one call: `hasMore` says that there are others. What is asked for by name is told where it
  /// was replayed before.
  @Sendable private func replayDeadLetters(_ request: Request, _ context: APIContext) async throws -> JSONReply {
    var selection = try chosen(request)
    selection.isEvery = selection.letter != nil
    return try JSONReply(await replay(selection, context))
  }

  @Sendable private func dropDeadLetters(_ request: Request, _ context: APIContext) async throws -> JSONReply {
    let selection = try chosen(request)
    guard let reason = request.uri.queryParameters.get("reason"), !reason.allSatisfy(\.isWhitespace) else {
      throw Problem(.badRequest, "a dead letter is dropped with a reason", hint: "add ?reason=…")
    }
    let count = try await coordinator.store.dropDeadLetters(selection, reason: reason, by: context.principal)
    coordinator.logger.info(
      "dead letters dropped",
      metadata: ["count": "\(count)", "reason": "\(reason)", "principal": "\(context.principal)"])
    return try JSONReply(DropReply(dropped: count))
  }

  private func selection(_ request: Request) -> DeadLetterSelection {
    let query = request.uri.queryParameters
    return DeadLetterSelection(
      letter: query.get("letter"), fingerprint: query.get("fingerprint"),
      pool: query.get("pool").map { PoolName(text: $0) }, build: query.get("build").map { BuildID(text: $0) },
      isEvery: query.get("all") == "true")
  }

  /// Open ones only; and nobody means every one by having left something out.
  private func chosen(_ request: Request) throws -> DeadLetterSelection {
    var selection = selection(request)
    let names = [selection.letter, selection.fingerprint, selection.pool?.text, selection.build?.text]
    guard selection.isEvery || names.contains(where: { $0 != nil }) else {
      throw Problem(
        .badRequest, "which dead letters?", hint: "name letter, fingerprint, pool or build, or say all=true")
    }
    selection.isEvery = false
    return selection
  }

  private func replay(_ selection: DeadLetterSelection, _ context: APIContext) async throws -> ReplayOutcome {
    let outcome = try await coordinator.store.replay(selection, by: context.principal)
    for item in outcome.replayed {
      coordinator.logger.info(
        "replayed",
        metadata: ["job": "\(item.job)", "newJob": "\(item.newJob)", "principal": "\(context.principal)"])
    }
    return outcome
  }

  private func unknown(_ build: BuildID) -> Problem {
    Problem(.notFound, "there is no build \(build)", hint: "'kiln status' lists them")
  }

  private func unknown(_ job: JobID) -> Problem {
    Problem(.notFound, "there is no job \(job)", hint: "'kiln status BUILD' lists them")
  }
}

package struct CancelReply: Codable, Sendable {
  package var id: String
  package var state: String
  /// Of a job: how many cells builds go without because of it.
  package var cells: Int?
}

package struct DropReply: Codable, Sendable {
  package var dropped: Int
}
