import Catalog
import Foundation
import HTTPClient
import KilnCoordinator
import Model
import RecordStore
import Testing

/// The API on a port of its own, and a caller of it.
struct TestAPI: Sendable {
  static let token = "0123456789abcdef-right"

  let address: String
  let bench: Bench
  private let http = HTTPClient()

  /// Runs `body` while the API of a coordinator on `bench` listens.
  static func with(
    _ bench: Bench, pools: [Pool]? = nil, maxBodyBytes: Int = 1 << 20, intake: Intake = Intake(),
    _ body: @escaping @Sendable (TestAPI) async throws -> Void
  ) async throws {
    let server = APIServer(
      coordinator: try bench.coordinator(pools: pools),
      tokens: try TokenTable(text: "somebody \(token)\nelse \(token)-2\n"), maxBodyBytes: maxBodyBytes,
      intake: intake)
    try await whileListening(server, logger: bench.log.logger()) { port in
      try await body(TestAPI(address: "http://127.0.0.1:\(port)", bench: bench))
    }
  }

  private init(address: String, bench: Bench) {
    self.address = address
    self.bench = bench
  }

  private func request(_ method: String, _ path: String, token: String?, body: HTTPBody = .none) -> HTTPRequest {
    var request = HTTPRequest(method, "\(address)/api/v1\(path)", body: body)
    if let token { request.headers.add("Authorization", "Bearer \(token)") }
    return request
  }

  func get(_ path: String, token: String? = token) async throws -> HTTPResponse {
    try await http.send(request("GET", path, token: token))
  }

  func stream(_ path: String) async throws -> HTTPStream {
    try await http.stream(request("GET", path, token: Self.token))
  }

  func post(
    _ body: Data, key: String?, to path: String = "/builds", query: String = "", token: String? = token
  ) async throws -> HTTPResponse {
    var request = request("POST", path + query, token: token, body: .bytes(body))
    if let key { request.headers.add("Idempotency-Key", key) }
    return try await http.send(request)
  }

  /// Takes a build of the bench's catalog, or of another one.
  func submit(_ catalog: CatalogFiles? = nil, key: String = "key", query: String = "") async throws -> HTTPResponse {
    try await post(try (catalog ?? bench.catalog).tree().tar(), key: key, query: query)
  }
}

extension HTTPResponse {
  func value<Value: Decodable>(_ type: Value.Type = Value.self) throws -> Value {
    try JSONDecoder().decode(type, from: body)
  }

  /// The problem document, which every error is.
  func problem(sourceLocation: SourceLocation = #_sourceLocation) throws -> Problem {
    #expect(headers["content-type"] == "application/problem+json", sourceLocation: sourceLocation)
    let problem = try value(Problem.self)
    #expect(problem.status == status, sourceLocation: sourceLocation)
    return problem
  }
}
