import Foundation
import HTTPClient
import Hummingbird
import Model
import TestSupport
import Testing

@testable import Registry

/// Registries that fail in the ways of networks and of people, played by a server of the test's own.
@Suite("Faulty registries", .timeLimit(.minutes(2)))
struct FaultyRegistryTests {
  let blob = Data("the blob".utf8)
  var digest: Digest { Digest(of: blob) }
  let time = ManualTime()

  func client(_ host: String, credentials: RegistryCredentials? = nil) -> RegistryClient {
    RegistryClient(
      endpoint: RegistryEndpoint(host: host, prefix: "p", credentials: credentials), http: HTTPClient(),
      effects: Effects(time: time, random: SeededRandom(seed: 1)))
  }

  @Test("a few refusals are borne, with pauses between; more are told")
  func retries() async throws {
    for (failures, isBorne) in [(1, true), (3, true), (4, false)] {
      let calls = Calls()
      try await withServer { router in
        router.get("/v2/p/one/blobs/:digest") { _, _ in
          await calls.count("blob") > failures
            ? Response(status: .ok, body: .init(byteBuffer: ByteBuffer(bytes: blob)))
            : Response(status: .serviceUnavailable, body: .init(byteBuffer: ByteBuffer(string: "busy")))
        }
      } _: { address in
        let host = hostAndPort(address)
        let before = time.monotonicSeconds()
        let code = try await failureCode {
          let read = try await client(host).blob(digest, in: "one", maxBytes: 100)
          #expect(read == blob)
        }
        #expect(code == (isBorne ? nil : "registry-503"))
        #expect(await calls.seen("blob") == min(failures + 1, 4))
        #expect(time.monotonicSeconds() - before < 5)
      }
    }
  }

  @Test("a blob that another one mounts at the same moment is not missing; one that stays away is")
  func halfWrittenLinks() async throws {
    let manifest = Manifest(mediaType: MediaType.imageManifest, bytes: Data("{}".utf8))
    for (failures, isBorne) in [(1, true), (3, true), (4, false)] {
      let calls = Calls()
      try await withServer { router in
        router.put("/v2/p/one/manifests/:reference") { _, _ in
          if await calls.count("put") > failures { return Response(status: .created) }
          let said = #"{"errors":[{"code":"DIGEST_INVALID"},{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#
          return Response(status: .badRequest, body: .init(byteBuffer: ByteBuffer(string: said)))
        }
      } _: { address in
        let host = hostAndPort(address)
        let code = try await failureCode { try await client(host).put(manifest, in: "one", tag: nil) }
        #expect(code == (isBorne ? nil : "incomplete"))
        #expect(await calls.seen("put") == min(failures + 1, 4))
      }
    }
  }

  @Test("a manifest that was begun is put until it is whole, for half a minute", arguments: [12, .max])
  func patience(failures: Int) async throws {
    let calls = Calls()
    let manifest = Manifest(mediaType: MediaType.imageManifest, bytes: Data("{}".utf8))
    try await withServer { router in
      router.put("/v2/p/one/manifests/:reference") { _, _ in
        Response(status: await calls.count("put") > failures ? .created : .internalServerError)
      }
    } _: { address in
      let (host, start) = (hostAndPort(address), time.monotonicSeconds())
      let code = try await failureCode { try await client(host).put(manifest, in: "one", tag: nil) }
      #expect(code == (failures == 12 ? nil : "registry-500"))
      if failures == 12 { #expect(await calls.seen("put") == 13) }
      #expect(time.monotonicSeconds() - start < 40)
    }
  }

  @Test("a registry that fails whatever it is asked says nothing of what is there")
  func allFails() async throws {
    let calls = Calls()
    try await withServer { router in
      @Sendable func fail(_ kind: String) async -> Response {
        _ = await calls.count(kind)
        return Response(status: .internalServerError)
      }
      router.head("/v2/p/one/blobs/:digest") { _, _ in await fail("blobs") }
      router.head("/v2/p/one/manifests/:digest") { _, _ in await fail("manifests") }
      router.get("/v2/p/one/manifests/:digest") { _, _ in await fail("manifests") }
    } _: { address in
      let client = client(hostAndPort(address))
      let codes = [
        try await failureCode { _ = try await client.blobSize(digest, in: "one") },
        try await failureCode { _ = try await client.manifest(.digest(digest), in: "one") },
      ]
      #expect(codes == ["registry-500", "registry-500"])
      // Each four times, and four times what nobody has.
      #expect(await calls.seen("blobs") == 8)
      #expect(await calls.seen("manifests") == 8)
    }
  }

  @Test("what is asked wrongly is not asked again")
  func noRetries() async throws {
    let calls = Calls()
    try await withServer { router in
      router.get("/v2/p/one/blobs/:digest") { _, _ in
        _ = await calls.count("blob")
        return Response(
          status: .badRequest,
          body: .init(byteBuffer: ByteBuffer(string: #"{"errors":[{"code":"NAME_INVALID","message":"odd name"}]}"#)))
      }
    } _: { address in
      let host = hostAndPort(address)
      let failure = await #expect(throws: Failure.self) {
        try await client(host).blob(digest, in: "one", maxBytes: 100)
      }
      #expect(failure?.code == "registry-400" && failure?.failureClass == .infrastructure)
      #expect(failure?.message.contains("NAME_INVALID: odd name") == true)
      #expect(failure?.message.contains("(p/one)") == true && failure?.message.contains(host) == true)
      #expect(await calls.seen("blob") == 1)
    }
  }

  @Test("a registry that hangs, or is not there, is told in time")
  func unreachable() async throws {
    let gone = client("127.0.0.1:\(try unusedPort())")
    let failure = await #expect(throws: Failure.self) { try await gone.manifest(.tag("x"), in: "one") }
    #expect(failure?.code == "registry-unavailable" && failure?.failureClass == .infrastructure)
    let silent = try SilentListener()
    let task = Task { try await client(hostAndPort(silent.address)).manifest(.tag("x"), in: "one") }
    try await ContinuousClock().sleep(for: .milliseconds(100))
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  @Test("other bytes than those asked for are never given out")
  func corrupt() async throws {
    try await withServer { router in
      router.get("/v2/p/one/blobs/:digest") { _, _ in "the blog" }
      router.get("/v2/p/one/manifests/:digest") { _, _ in "{}" }
    } _: { address in
      let host = hostAndPort(address)
      let client = client(host)
      #expect(try await failureCode { _ = try await client.blob(digest, in: "one", maxBytes: 100) } == "corrupt")
      #expect(try await failureCode { _ = try await client.manifest(.digest(digest), in: "one") } == "corrupt")
      try await withFolder { folder in
        let file = folder.appendingPathComponent("file")
        let code = try await failureCode {
          try await client.download(BlobReference(digest: digest, sizeBytes: 8), in: "one", to: file)
        }
        #expect(code == "corrupt" && !FileManager.default.fileExists(atPath: file.path))
      }
    }
  }

  @Test("an upload leads where the registry says, and takes no credentials to another host")
  func uploads() async throws {
    let calls = Calls()
    try await withServer { router in
      router.put("/bucket/**") { request, _ in
        await calls.note(
          "bucket \(request.headers[.authorization] ?? "none") \(request.uri.queryParameters["digest"] ?? "")")
        return Response(status: .created)
      }
    } _: { bucket in
      try await withServer { router in
        router.head("/v2/**") { _, _ in Response(status: .notFound) }
        router.post("/v2/**") { request, _ in
          guard request.headers[.authorization] == "Basic YW5uOnNlY3JldA==" else {
            return Response(status: .unauthorized, headers: [.wwwAuthenticate: #"Basic realm="here""#])
          }
          await calls.note("session")
          return Response(status: .accepted, headers: [.location: "\(bucket)/bucket/x?sign=1"])
        }
      } _: { address in
        let host = hostAndPort(address)
        let ann = RegistryCredentials(user: "ann", password: "secret")
        try await client(host, credentials: ann).upload(blob, digest: digest, to: "one")
        #expect(await calls.notes == ["session", "bucket none \(digest)"])
        let denied = await #expect(throws: Failure.self) {
          try await client(host).upload(blob, digest: digest, to: "one")
        }
        #expect(denied?.code == "registry-denied" && denied?.hint != nil)
      }
    }
  }

  @Test("a token is fetched when it is asked for, used again, and fetched again when it no longer holds")
  func tokens() async throws {
    let calls = Calls()
    try await withServer { router in
      router.get("/token") { request, _ in
        let number = await calls.count("token")
        await calls.note("\(request.headers[.authorization] ?? "none") \(request.uri.queryParameters["scope"] ?? "")")
        return #"{"token":"t\#(number)"}"#
      }
      router.get("/v2/p/one/blobs/:digest") { request, _ in
        let asked = await calls.count("blob")
        // The first token holds for two requests.
        let valid = asked <= 3 ? "Bearer t1" : "Bearer t2"
        guard request.headers[.authorization] == valid else {
          let realm = "http://\(request.head.authority ?? "")/token"
          return Response(
            status: .unauthorized,
            headers: [.wwwAuthenticate: #"Bearer realm="\#(realm)",service="s",scope="repository:p/one:pull""#])
        }
        return Response(status: .ok, body: .init(byteBuffer: ByteBuffer(bytes: blob)))
      }
    } _: { address in
      let host = hostAndPort(address)
      let client = client(host, credentials: RegistryCredentials(user: "ann", password: "secret"))
      for _ in 0..<3 {
        let read = try await client.blob(digest, in: "one", maxBytes: 100)
        #expect(read == blob)
      }
      #expect(await calls.seen("token") == 2)
      #expect(await calls.seen("blob") == 5)
      #expect(await calls.notes.first == "Basic YW5uOnNlY3JldA== repository:p/one:pull")
    }
  }
}

actor Calls {
  private var counts: [String: Int] = [:]
  private(set) var notes: [String] = []

  func count(_ name: String) -> Int {
    counts[name, default: 0] += 1
    return counts[name, default: 0]
  }

  func seen(_ name: String) -> Int { counts[name, default: 0] }
  func note(_ text: String) { notes.append(text) }
}

private func hostAndPort(_ address: String) -> String { address.replacing("http://", with: "") }
