import Foundation
import HTTPClient
import Model

/// What a registry granted, by repository: Basic or Bearer, as its challenge asks (RFC 7235; the
/// token endpoint as Docker and OCI registries have it).
actor TokenCache {
  private var headers: [String: String] = [:]

  func header(_ repository: String) -> String? { headers[repository] }

  /// Nil where the challenge cannot be answered.
  func answer(_ challenge: String, _ repository: String, _ credentials: RegistryCredentials?, _ http: HTTPClient)
    async throws -> String?
  {
    let basic = credentials.map { "Basic " + Data("\($0.user):\($0.password)".utf8).base64EncodedString() }
    let header: String?
    if challenge.lowercased().hasPrefix("basic") {
      header = basic
    } else if challenge.lowercased().hasPrefix("bearer") {
      header = try await token(Self.parameters(challenge), basic, http).map { "Bearer \($0)" }
    } else {
      header = nil
    }
    headers[repository] = header
    return header
  }

  private func token(_ parameters: [String: String], _ basic: String?, _ http: HTTPClient) async throws -> String? {
    guard let realm = parameters["realm"], var url = URLComponents(string: realm) else { return nil }
    url.queryItems = ["service", "scope"].compactMap { name in
      parameters[name].map { URLQueryItem(name: name, value: $0) }
    }
    guard let text = url.string else { return nil }
    var request = HTTPRequest("GET", text)
    request.headers["Authorization"] = basic
    let response = try await http.send(request, maxBodyBytes: 1 << 20, deadlineSeconds: 30)
    guard response.isSuccess else { return nil }
    let json = try JSONValue.parse(response.body, what: "the token service's answer")
    return json["token"]?.string ?? json["access_token"]?.string
  }

  /// `Bearer realm="…",service="…",scope="…"`.
  static func parameters(_ challenge: String) -> [String: String] {
    var found: [String: String] = [:]
    let fields = challenge.drop { $0 != " " }
    for match in fields.matches(of: /([a-zA-Z_]+)="([^"]*)"/) { found[String(match.1)] = String(match.2) }
    return found
  }
}
