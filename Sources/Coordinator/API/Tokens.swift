import Foundation
import HTTPTypes
package import Hummingbird
package import Model

/// Who may call, by the digest of their token: the tokens themselves are not kept.
package struct TokenTable: Sendable {
  private let principals: [Digest: Principal]

  /// One `NAME TOKEN` a line; `#` begins a comment. Throws on a line it cannot use, and if there is none.
  package init(text: String) throws {
    var principals: [Digest: Principal] = [:]
    for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
      let words = line.split(whereSeparator: \.isWhitespace).map(String.init)
      if words.isEmpty || words[0].hasPrefix("#") { continue }
      guard words.count == 2, Name.isValid(words[0]), words[1].utf8.count >= 16 else {
        throw Failure(
          .input, code: "bad-token-file",
          "token file, line \(index + 1): not 'NAME TOKEN' with a token of at least 16 bytes",
          hint: "make one with: openssl rand -hex 32")
      }
      principals[Digest(of: words[1])] = Principal(text: words[0])
    }
    guard !principals.isEmpty else {
      throw Failure(
        .input, code: "no-token", "the token file names no token", hint: "a coordinator never listens without one")
    }
    self.principals = principals
  }

  /// Looking up a digest gives nothing away by its time.
  package func principal(bearing token: String) -> Principal? { principals[Digest(of: token)] }
}

package struct APIContext: RequestContext {
  package var coreContext: CoreRequestContextStorage
  package var principal = Principal(text: "")

  package init(source: Source) { coreContext = CoreRequestContextStorage(source: source) }
}

struct TokenMiddleware: RouterMiddleware {
  let tokens: TokenTable

  func handle(
    _ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response
  ) async throws -> Response {
    guard let header = request.headers[.authorization], header.lowercased().hasPrefix("bearer "),
      let principal = tokens.principal(bearing: String(header.dropFirst(7)))
    else {
      throw Problem(.unauthorized, "no token, or a wrong one", hint: "set KILN_TOKEN or KILN_TOKEN_FILE")
    }
    var context = context
    context.principal = principal
    return try await next(request, context)
  }
}
