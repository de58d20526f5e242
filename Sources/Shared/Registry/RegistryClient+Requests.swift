import Foundation
import HTTPClient
import Model

/// How requests are sent, answered to a challenge, repeated and judged.
extension RegistryClient {
  static let maxTries = 4
  /// No new try begins later than this after the first.
  static let maxRepeatSeconds: Double = 60
  static let stallSeconds: Double = 20

  func url(_ repository: String, _ rest: String) -> String {
    "\(endpoint.origin)/v2/\(endpoint.path(repository))/\(rest)"
  }

  func absolute(_ location: String) -> String {
    location.contains("://") ? location : endpoint.origin + (location.hasPrefix("/") ? "" : "/") + location
  }

  /// For so many bytes on a line of 100 kB/s.
  func transferSeconds(_ bytes: Int64) -> Double { 60 + Double(bytes) / 100_000 }

  func send(_ request: HTTPRequest, _ repository: String, maxBodyBytes: Int = 4 << 20) async throws -> HTTPResponse {
    try await repeating(repository) {
      try await authorized(request, repository) {
        try await http.send($0, maxBodyBytes: maxBodyBytes, deadlineSeconds: 60, stallSeconds: Self.stallSeconds)
      }
    }
  }

  /// Answers a challenge once; what was granted is used from then on. Another host than the registry's
  /// own, where an upload may lead, gets no credentials.
  func authorized(
    _ request: HTTPRequest, _ repository: String, _ send: (HTTPRequest) async throws -> HTTPResponse
  ) async throws -> HTTPResponse {
    guard request.url.hasPrefix(endpoint.origin + "/") else { return try await send(request) }
    var request = request
    request.headers["Authorization"] = await tokens.header(repository)
    let response = try await send(request)
    guard response.status == 401, let challenge = response.headers["www-authenticate"],
      let header = try await tokens.answer(challenge, repository, endpoint, http)
    else { return response }
    request.headers["Authorization"] = header
    return try await send(request)
  }

  func repeating(_ repository: String, _ body: () async throws -> HTTPResponse) async throws -> HTTPResponse {
    let start = effects.time.monotonicSeconds()
    var attempt = 1
    while true {
      let isLast = attempt == Self.maxTries || effects.time.monotonicSeconds() - start > Self.maxRepeatSeconds
      var retryAfter: Double?
      do {
        let response = try await body()
        guard response.status >= 500 || response.status == 429, !isLast else { return response }
        retryAfter = response.headers["retry-after"].flatMap { Double($0) }
      } catch let error as HTTPClientError {
        guard error.isTransient, !isLast else { throw try failure(error, repository) }
      }
      try await effects.time.sleep(
        seconds: Self.delaySeconds(attempt: attempt, retryAfter: retryAfter, fraction: effects.random.fraction()))
      attempt += 1
    }
  }

  /// Full jitter over 0.4, 0.8, 1.6 s; longer where the registry asks for it, up to 10 s.
  static func delaySeconds(attempt: Int, retryAfter: Double?, fraction: Double) -> Double {
    0.2 * Double(1 << attempt) * fraction + min(10, max(0, retryAfter ?? 0))
  }

  // MARK: What went wrong

  func expect(_ statuses: [Int], _ response: HTTPResponse, _ doing: String, _ repository: String) throws {
    guard !statuses.contains(response.status) else { return }
    let name = "registry \(endpoint.host)"
    if response.status == 401 || response.status == 403 {
      let account = endpoint.credentials.map { "as \($0.user)" } ?? "without credentials"
      throw Failure(
        .infrastructure, code: "registry-denied",
        "\(name) denies \(doing) in \(endpoint.path(repository)) \(account): \(Self.reason(response))",
        hint: "check KILN_REGISTRY_USER and KILN_REGISTRY_PASSWORD_FILE, and what that user may do")
    }
    throw failure("answered \(doing) with \(Self.reason(response))", repository, code: "registry-\(response.status)")
  }

  /// What a response says for itself: the specification's `errors`, or the beginning of its body.
  static func reason(_ response: HTTPResponse) -> String {
    let json = try? JSONValue.parse(response.body, what: "an error")
    let errors = (json?["errors"]?.array ?? []).map { error in
      [error["code"]?.string, error["message"]?.string].compactMap { $0 }.joined(separator: ": ")
    }
    let text =
      errors.isEmpty ? String(decoding: response.body.prefix(200), as: UTF8.self) : errors.joined(separator: "; ")
    return "status \(response.status)" + (text.isEmpty ? "" : " (\(text.prefix(300)))")
  }

  func failure(_ what: String, _ repository: String, code: String = "registry-answer") -> Failure {
    Failure(.infrastructure, code: code, "registry \(endpoint.host) (\(endpoint.path(repository))) \(what)")
  }

  func corrupt(_ what: String, _ repository: String) -> Failure {
    failure("gave other bytes than those of \(what)", repository, code: "corrupt")
  }

  func notFound(_ what: String, _ repository: String) -> Failure {
    Failure(.input, code: "not-found", "\(what) is not in \(endpoint.host)/\(endpoint.path(repository))")
  }

  private func failure(_ error: HTTPClientError, _ repository: String) throws -> Failure {
    let name = "registry \(endpoint.host) (\(endpoint.path(repository)))"
    switch error.code {
    case .cancelled:
      throw CancellationError()
    case .tooLarge, .invalidRequest:
      return Failure(.input, code: error.code == .tooLarge ? "too-large" : "bad-request", "\(name): \(error)")
    case .localFile:
      return Failure(
        .infrastructure, code: "local-file", "\(name): \(error)", hint: "is the disk full, and may this user do it?")
    case .tls:
      return Failure(
        .infrastructure, code: "registry-tls", "\(name): \(error)",
        hint: "is its certificate trusted here, or does it speak plain HTTP?")
    case .unresolved, .refused, .timedOut, .disconnected, .tooManyRedirects, .protocolViolation, .busy, .internalFault:
      return Failure(
        .infrastructure, code: "registry-unavailable", "\(name) is out of reach: \(error)",
        hint: "is it up, and is its address right?")
    }
  }
}
