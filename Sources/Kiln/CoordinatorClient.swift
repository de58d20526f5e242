import Foundation
import HTTPClient
import KilnCoordinator
import Model
import RecordStore

/// A coordinator's API, as the command line uses it.
struct CoordinatorClient {
  let base: URL
  let token: String
  private let http = HTTPClient()

  init(base: URL, token: String) {
    self.base = base
    self.token = token
  }

  func get<Value: Decodable>(_ path: String, _ query: [String: String] = [:], as type: Value.Type = Value.self)
    async throws -> Value
  {
    try decode(try await send("GET", path, query.map { ($0.key, $0.value) }).body)
  }

  func submit(
    _ catalog: Data, products: [String], testPlan: String?, priority: Int, retryFailed: Bool, state: CatalogState,
    key: String
  ) async throws -> SubmitReply {
    var query = Self.query(products, testPlan, state)
    query.append(("priority", "\(priority)"))
    if retryFailed { query.append(("retryFailed", "true")) }
    let headers = [("Content-Type", "application/x-tar"), ("Idempotency-Key", key)]
    return try decode(try await send("POST", "/builds", query, headers: headers, body: catalog).body)
  }

  /// Asks for something to be done to a build, or, where there is none of this name, to a job.
  func intervene<Reply: Decodable>(_ verb: String, _ id: String) async throws -> Reply {
    do {
      return try await post("/builds/\(id)/\(verb)")
    } catch let failure as Failure where failure.code == "http-404" {
      do {
        return try await post("/jobs/\(id)/\(verb)")
      } catch let failure as Failure where failure.code == "http-404" {
        throw Failure(
          .input, code: failure.code, "there is neither a build nor a job '\(id)'", hint: "'kiln status' lists them")
      }
    }
  }

  func post<Reply: Decodable>(_ path: String, _ query: [(String, String)] = []) async throws -> Reply {
    try decode(try await send("POST", path, query).body)
  }

  /// What `submit` of the same would do now.
  func plan(
    _ catalog: Data, products: [String], testPlan: String?, platforms: [Platform], state: CatalogState
  ) async throws -> ForecastReport {
    let query = Self.query(products, testPlan, state) + platforms.map { ("platform", $0.description) }
    return try decode(
      try await send("POST", "/plan", query, headers: [("Content-Type", "application/x-tar")], body: catalog).body)
  }

  private static func query(_ products: [String], _ testPlan: String?, _ state: CatalogState) -> [(String, String)] {
    var query = products.map { ("product", $0) }
    if let testPlan { query.append(("plan", testPlan)) }
    if !state.movesTags { query.append(("moveTags", "false")) }
    if let revision = state.revision { query.append(("revision", revision)) }
    return query
  }

  /// The build, once its progress is another than `unless`, with its own tag.
  func build(_ id: BuildID, unless: String?) async throws -> (BuildDetail, tag: String?) {
    var query = [("seconds", "30")]
    if let unless { query.append(("unless", unless)) }
    let response = try await send("GET", "/builds/\(id)", query)
    return (try decode(response.body), response.headers["etag"]?.trimmingCharacters(in: ["\""]))
  }

  func log(_ job: JobID, attempt: Int?, follow: Bool, write: (Data) -> Void) async throws {
    var query: [(String, String)] = []
    if let attempt { query.append(("attempt", "\(attempt)")) }
    if follow { query.append(("follow", "true")) }
    let request = try request("GET", "/jobs/\(job)/log", query, headers: [], body: nil)
    let stream = try await reaching { try await http.stream(request) }
    guard (200..<300).contains(stream.status) else {
      var body = Data()
      for try await bytes in stream.body { body += bytes }
      throw failure(HTTPResponse(status: stream.status, headers: stream.headers, body: body))
    }
    for try await bytes in stream.body { write(bytes) }
  }

  private func request(
    _ method: String, _ path: String, _ query: [(String, String)], headers: [(String, String)], body: Data?
  ) throws -> HTTPRequest {
    var components = URLComponents(url: base, resolvingAgainstBaseURL: false)
    components?.path = "/api/v1\(path)"
    components?.queryItems = query.isEmpty ? nil : query.map { URLQueryItem(name: $0.0, value: $0.1) }
    guard let url = components?.url else { throw Failure(.input, code: "bad-address", "'\(base)' is not an address") }
    var request = HTTPRequest(method, url.absoluteString, body: body.map { .bytes($0) } ?? .none)
    request.headers.add("Authorization", "Bearer \(token)")
    for (name, value) in headers { request.headers.add(name, value) }
    return request
  }

  private func send(
    _ method: String, _ path: String, _ query: [(String, String)], headers: [(String, String)] = [], body: Data? = nil
  ) async throws -> HTTPResponse {
    let request = try request(method, path, query, headers: headers, body: body)
    var left = Self.patience
    while true {
      let response = try await reaching {
        try await http.send(request, maxBodyBytes: 64 << 20, deadlineSeconds: 120)
      }
      if (200..<300).contains(response.status) { return response }
      // Whatever is asked for may be asked for again: a submission by its key.
      guard response.status == 503, left > 0, let seconds = response.headers["retry-after"].flatMap(Double.init) else {
        throw failure(response)
      }
      if left == Self.patience { Exit.complain("kiln: \(failure(response)); trying again for a while") }
      left -= 1
      // Jittered: who was turned away together does not come back together.
      try await Task.sleep(for: .seconds(min(max(seconds, 1), 10) * Double.random(in: 0.75...1.25)))
    }
  }

  /// How often a coordinator that is busy, or without its store, is asked again.
  private static let patience = 15

  private func reaching<Value>(_ work: () async throws -> Value) async throws -> Value {
    do {
      return try await work()
    } catch let error as HTTPClientError where error.code != .cancelled {
      throw Failure(
        .infrastructure, code: "coordinator-unreachable", "\(error)",
        hint: "is a coordinator running at \(base)? Its address is --coordinator or KILN_COORDINATOR")
    }
  }

  private func failure(_ response: HTTPResponse) -> Failure {
    let problem = try? JSONDecoder().decode(Problem.self, from: response.body)
    let title = problem?.title ?? "the coordinator answered \(response.status)"
    let lines = [title] + (problem?.errors ?? [])
    let failureClass: FailureClass = response.status >= 500 || response.status == 401 ? .infrastructure : .input
    return Failure(failureClass, code: "http-\(response.status)", lines.joined(separator: "\n"), hint: problem?.hint)
  }

  private func decode<Value: Decodable>(_ body: Data) throws -> Value {
    do {
      return try JSONDecoder().decode(Value.self, from: body)
    } catch {
      throw Failure(.infrastructure, code: "bad-answer", "the coordinator's answer cannot be read: \(error)")
    }
  }
}
