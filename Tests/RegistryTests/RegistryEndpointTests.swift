import Foundation
import Model
import Testing

@testable import Registry

@Suite("Registry endpoints")
struct RegistryEndpointTests {
  @Test(
    "plain HTTP is for this machine alone",
    arguments: [
      ("localhost:5000", true), ("127.0.0.1:5000", true), ("127.1.2.3", true), ("[::1]:5000", true),
      ("127.0.0.1.example.com", false), ("127.example.com:5000", false), ("localhost.example.com", false),
      ("example.com", false), ("10.0.0.1:5000", false),
    ])
  func plain(_ host: String, _ expected: Bool) {
    #expect(RegistryEndpoint(host: host, prefix: "").plainHTTP == expected)
    #expect(RegistryEndpoint(host: host, prefix: "", plainHTTP: !expected).plainHTTP != expected)
  }

  @Test(
    "sources are a host and a repository",
    arguments: [
      ("docker.io/debian", "docker.io", "library/debian"), ("docker.io/team/app", "docker.io", "team/app"),
      ("example.com:5000/a/b", "example.com:5000", "a/b"),
    ])
  func sources(_ text: String, _ host: String, _ repository: String) throws {
    let (endpoint, found) = try RegistryEndpoint.parse(text)
    #expect(endpoint.host == host && found == repository)
  }

  @Test(
    "what could be something else is no source",
    arguments: ["debian", "-x/a", "h/A", "h/../a", "h/a:1", "h/", "a b/c", "h@x/a"])
  func refused(_ text: String) { #expect(throws: Failure.self) { try RegistryEndpoint.parse(text) } }

  @Test("Docker Hub's API is elsewhere")
  func hub() throws {
    #expect(try RegistryEndpoint.parse("docker.io/debian").0.origin == "https://registry-1.docker.io")
    #expect(RegistryEndpoint(host: "localhost:1", prefix: "p").origin == "http://localhost:1")
  }

  @Test("credentials are read as docker writes them")
  func credentials() throws {
    let file = Data(
      """
      {"auths": {"one.example": {"auth": "\(Data("joe:pa:ss".utf8).base64EncodedString())"},
       "https://two.example/v2/": {"username": "ann", "password": "x"}, "https://index.docker.io/v1/": {"auth": "YTpi"},
       "empty.example": {}, "odd.example": {"auth": "!"}}, "credsStore": "desktop"}
      """.utf8)
    func find(_ host: String) throws -> RegistryCredentials? {
      try RegistryCredentials.inDockerConfiguration(file, host: host)
    }
    #expect(try find("one.example") == RegistryCredentials(user: "joe", password: "pa:ss"))
    #expect(try find("two.example") == RegistryCredentials(user: "ann", password: "x"))
    #expect(try find("docker.io") == RegistryCredentials(user: "a", password: "b"))
    for host in ["empty.example", "odd.example", "three.example"] { #expect(try find(host) == nil) }
    #expect(!"\(RegistryCredentials(user: "joe", password: "secret"))".contains("secret"))
  }

  @Test("a challenge leads to the token service, never from TLS to plain HTTP")
  func challenges() async throws {
    let challenge =
      #"Bearer realm="https://auth.example/token?x=1",service="reg.example",scope="repository:a/b:pull,push""#
    let secure = RegistryEndpoint(host: "reg.example", prefix: "")
    #expect(
      try TokenCache.tokenRequest(challenge, secure)
        == "https://auth.example/token?x=1&service=reg.example&scope=repository:a/b:pull,push")
    let insecure = #"Bearer realm="http://auth.example/token""#
    #expect(try await failureCode { _ = try TokenCache.tokenRequest(insecure, secure) } == "insecure-token-service")
    #expect(try TokenCache.tokenRequest(insecure, RegistryEndpoint(host: "localhost", prefix: "")) != nil)
    for nonsense in [#"Bearer realm="file:///etc/passwd""#, #"Bearer realm="""#, "Bearer"] {
      #expect(try TokenCache.tokenRequest(nonsense, RegistryEndpoint(host: "localhost", prefix: "")) == nil)
    }
  }

  @Test("delays grow, are jittered, and bear what the registry asks")
  func delays() {
    #expect((1...3).map { RegistryClient.delaySeconds(attempt: $0, retryAfter: nil, fraction: 1) } == [0.4, 0.8, 1.6])
    #expect(RegistryClient.delaySeconds(attempt: 3, retryAfter: nil, fraction: 0) == 0)
    #expect(RegistryClient.delaySeconds(attempt: 1, retryAfter: 2, fraction: 0) == 2)
    #expect(RegistryClient.delaySeconds(attempt: 1, retryAfter: 9999, fraction: 0) == 10)
    #expect(RegistryClient.delaySeconds(attempt: 1, retryAfter: -5, fraction: 0) == 0)
  }
}
