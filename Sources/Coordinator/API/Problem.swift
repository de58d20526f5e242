import Catalog
import Foundation
package import HTTPTypes
package import Hummingbird
import Logging
import Model
import NIOCore
import RecordStore

/// An error as RFC 9457 writes it.
package struct Problem: Error, Codable {
  package var type = "about:blank"
  package var title: String
  package var status: Int
  package var detail: String?
  package var hint: String?
  /// Every finding of a catalog check, one line each.
  package var errors: [String]?

  package init(_ status: HTTPResponse.Status, _ title: String, hint: String? = nil, errors: [String]? = nil) {
    self.title = title
    self.status = status.code
    self.hint = hint
    self.errors = errors
  }
}

/// Turns whatever was thrown into a problem document; what is our own fault is logged and not told.
struct ProblemMiddleware<Context: RequestContext>: RouterMiddleware {
  let logger: Logger

  func handle(_ request: Request, context: Context, next: (Request, Context) async throws -> Response) async throws
    -> Response
  {
    do {
      return try await next(request, context)
    } catch {
      let problem = self.problem(error)
      var headers: HTTPFields = [.contentType: "application/problem+json"]
      if problem.status == 503 { headers[.retryAfter] = "2" }
      if problem.status == 401 { headers[.wwwAuthenticate] = "Bearer" }
      let body = (try? JSONEncoder().encode(problem)) ?? Data()
      return Response(
        status: HTTPResponse.Status(code: problem.status), headers: headers,
        body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }
  }

  private func problem(_ error: any Error) -> Problem {
    switch error {
    case let problem as Problem: return problem
    case let errors as CatalogErrors:
      return Problem(.unprocessableContent, "the catalog is wrong", errors: errors.diagnostics.map { "\($0)" })
    case let error as any HTTPResponseError: return Problem(error.status, error.status.reasonPhrase)
    case let error as StoreError where error.code == .unavailable:
      logger.warning("store out of reach", metadata: ["error": "\(error)"])
      return Problem(.serviceUnavailable, "the record store is out of reach", hint: "nothing was lost; try again")
    case let failure as Failure:
      let status: HTTPResponse.Status =
        failure.failureClass == .infrastructure ? .serviceUnavailable : .unprocessableContent
      return Problem(status, failure.message, hint: failure.hint)
    default:
      logger.error("request failed", metadata: ["error": "\(error)"])
      return Problem(.internalServerError, "the coordinator failed; its log says why")
    }
  }
}

/// A JSON answer with an entity tag.
package struct JSONReply: ResponseGenerator {
  let bytes: [UInt8]
  let status: HTTPResponse.Status

  init(_ value: some Encodable, status: HTTPResponse.Status = .ok) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    bytes = Array(try encoder.encode(value))
    self.status = status
  }

  /// Changes whenever the answer does.
  var tag: String { Digest(of: bytes).short }

  package func response(from request: Request, context: some RequestContext) throws -> Response {
    Response(
      status: status, headers: [.contentType: "application/json", .eTag: "\"\(tag)\""],
      body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
  }
}

extension HTTPFields {
  var idempotencyKey: String? {
    HTTPField.Name("Idempotency-Key").flatMap { self[$0] }
  }
}
