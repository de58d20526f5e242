import Testing

@testable import HTTPClient

@Suite("HTTP requests")
struct HTTPRequestTests {
  @Test(
    "what would break out of its place is refused",
    arguments: [
      HTTPRequest("GET", "http://h/", headers: ["X": "a\r\nY: b"]),
      HTTPRequest("GET", "http://h/", headers: ["X": "a\nb"]),
      HTTPRequest("GET", "http://h/", headers: ["X": "a\u{0}b"]), HTTPRequest("GET", "http://h/", headers: ["X:": "a"]),
      HTTPRequest("GET", "http://h/", headers: ["": "a"]), HTTPRequest("GET", "http://h/", headers: ["X Y": "a"]),
      HTTPRequest("GET", "http://h/", headers: ["Content-Length": "3"]),
      HTTPRequest("GET", "http://h/", headers: ["transfer-encoding": "chunked"]), HTTPRequest("GET /", "http://h/"),
      HTTPRequest("", "http://h/"), HTTPRequest("GET", "file:///etc/passwd"), HTTPRequest("GET", "gopher://h/"),
      HTTPRequest("GET", "http://h/a b"), HTTPRequest("GET", "http://h/\r\nX: y"), HTTPRequest("GET", "/relative"),
    ])
  func refused(_ request: HTTPRequest) async throws {
    let error = await #expect(throws: HTTPClientError.self) { try await HTTPClient().send(request) }
    #expect(error?.code == .invalidRequest)
  }

  @Test("messages hold no secrets")
  func display() {
    #expect(HTTPRequest("GET", "https://user:pass@host:5/a/b@c?token=x#y").displayURL == "https://host:5/a/b@c")
  }

  @Test(
    "this machine itself needs no proxy",
    arguments: [
      ("http://127.0.0.1:80/", true), ("http://127.8.9.1", true), ("http://localhost/x", true),
      ("http://[::1]:5/", true),
      ("http://user@localhost:1", true), ("http://a.localhost/", true), ("http://127.0.0.1.example.com/", false),
      ("http://localhost@example.com/", false), ("http://example.com/127.0.0.1", false),
      ("http://localhost.com/", false),
    ])
  func loopback(_ url: String, _ expected: Bool) { #expect(HTTPRequest("GET", url).isLoopback == expected) }

  @Test("header names are compared without case")
  func headers() {
    var headers: HTTPHeaders = ["Accept": "a", "X": "1", "accept": "b"]
    #expect(headers["ACCEPT"] == "a" && headers.all("accept") == ["a", "b"])
    headers["aCCept"] = "c"
    #expect(headers.all("Accept") == ["c"] && headers["x"] == "1")
    headers["x"] = nil
    #expect(headers["X"] == nil)
  }

  @Test(
    "libcurl's results have their meaning (numbers from libcurl-errors(3))",
    arguments: [
      (1, HTTPClientError.Code.invalidRequest), (3, .invalidRequest), (5, .unresolved), (6, .unresolved), (7, .refused),
      (8, .protocolViolation), (16, .protocolViolation), (18, .disconnected), (23, .localFile), (26, .localFile),
      (27, .internalFault), (28, .timedOut), (35, .tls), (42, .cancelled), (47, .tooManyRedirects), (52, .disconnected),
      (55, .disconnected), (56, .disconnected), (58, .tls), (59, .tls), (60, .tls), (63, .tooLarge),
      (65, .disconnected),
      (77, .tls), (92, .protocolViolation), (97, .refused), (9999, .internalFault),
    ] as [(UInt32, HTTPClientError.Code)])
  func codes(_ number: UInt32, _ expected: HTTPClientError.Code) {
    #expect(HTTPClientError.Code(curl: number) == expected)
  }

  @Test("only what may work a moment later is transient")
  func transient() {
    let transient = HTTPClientError.Code.allCases.filter { HTTPClientError($0, "").isTransient }
    #expect(Set(transient) == [.unresolved, .refused, .timedOut, .disconnected, .busy])
  }
}
