import Foundation
import HTTPClient
import Model

/// What a registry granted, by repository: Basic or Bearer, as its challenge asks (RFC 7235; the
/// token endpoint as Docker's token authentication specification has it).
actor TokenCache {
  private var headers: [String: String] = [:]

  func header(_ repository: String) -> String? { headers[repository] }

  /// Nil where the challenge cannot be answered. Throws `HTTPClientError`, or a `Failure`.
  func answer(_ challenge: String, _ repository: String, _ endpoint: RegistryEndpoint, _ http: HTTPClient)
    async throws -> String?
  {
    let basic = endpoint.credentials?.basic
    let header: String?
    switch challenge.prefix(while: { $0 != " " }).lowercased() {
    case "basic": header = basic
    case "bearer":
      header = try await token(try Self.tokenRequest(challenge, endpoint), basic, http).map { "Bearer \($0)" }
    default: header = nil
    }
    headers[repository] = header
    return header
  }

  private func token(_ url: String?, _ basic: String?, _ http: HTTPClient) async throws -> String? {
    guard let url else { return nil }
    var request = HTTPRequest("GET", url)
    request.headers["Authorization"] = basic
    let response = try await http.send(request, maxBodyBytes: 1 << 20, deadlineSeconds: 30, stallSeconds: 10)
    guard response.isSuccess else { return nil }
    let json = try JSONValue.parse(response.body, what: "the token service's answer")
    return json["token"]?.string ?? json["access_token"]?.string
  }

  /// Where to ask for a token. Credentials never go out in the clear where the registry itself is
  /// spoken to by TLS.
  static func tokenRequest(_ challenge: String, _ endpoint: RegistryEndpoint) throws -> String? {
    let fields = parameters(challenge)
    guard let realm = fields["realm"], var url = URLComponents(string: realm), ["http", "https"].contains(url.scheme)
    else { return nil }
    guard url.scheme == "https" || endpoint.plainHTTP else {
      throw Failure(
        .policy, code: "insecure-token-service", "registry \(endpoint.host) asks for tokens at \(realm), without TLS")
    }
    let asked = ["service", "scope"].compactMap { name in fields[name].map { URLQueryItem(name: name, value: $0) } }
    url.queryItems = (url.queryItems ?? []) + asked
    return url.string
  }

  /// `Bearer realm="…",service="…",scope="…"`.
  static func parameters(_ challenge: String) -> [String: String] {
    var found: [String: String] = [:]
    let fields = challenge.drop { $0 != " " }
    for match in fields.matches(of: /([a-zA-Z_]+)="([^"]*)"/) { found[match.1.lowercased()] = String(match.2) }
    return found
  }
}
