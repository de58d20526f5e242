import Foundation
import Hummingbird
import TestSupport
import Testing

// Hummingbird brings a type of the same name.
import struct HTTPClient.HTTPRequest

@testable import HTTPClient

@Suite("HTTP client", .timeLimit(.minutes(2)))
struct HTTPClientTests {
  let client = HTTPClient()

  /// What the tests ask of the server.
  static func routes(_ router: Router<BasicRequestContext>) {
    router.get("/hello") { _, _ in "hello" }
    router.head("/hello") { _, _ in Response(status: .ok, headers: [.contentType: "text/plain"]) }
    router.get("/missing") { _, _ in Response(status: .notFound, body: .init(byteBuffer: ByteBuffer(string: "no"))) }
    router.on("/echo", method: .put) { request, _ in
      Response(
        status: .created, headers: [.contentType: request.headers[.contentType] ?? "none"],
        body: .init(asyncSequence: request.body))
    }
    router.post("/length") { request, _ in
      var size = 0
      for try await piece in request.body { size += piece.readableBytes }
      return "\(request.headers[.contentLength] ?? "none") \(size)"
    }
    router.get("/headers") { request, _ in
      request.headers.map { "\($0.name)=\($0.value)" }.sorted().joined(separator: "\n")
    }
    router.get("/chunks/:count") { _, context in
      let count = try context.parameters.require("count", as: Int.self)
      return Response(
        status: .ok,
        body: .init { writer in
          for index in 0..<count { try await writer.write(ByteBuffer(repeating: UInt8(index & 255), count: 1 << 16)) }
          try await writer.finish(nil)
        })
    }
    router.get("/loop") { _, _ in Response.redirect(to: "/loop") }
    router.get("/elsewhere") { request, _ in
      Response.redirect(to: request.uri.queryParameters["to"].map(String.init) ?? "/hello")
    }
    router.post("/elsewhere") { _, _ in Response.redirect(to: "/hello") }
  }

  func withFolder(_ body: (URL) async throws -> Void) async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-http-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try await body(folder)
  }

  func code(_ work: () async throws -> Void) async throws -> HTTPClientError.Code? {
    do {
      try await work()
      return nil
    } catch let error as HTTPClientError {
      return error.code
    }
  }

  func expect(
    _ expected: HTTPClientError.Code, sourceLocation: SourceLocation = #_sourceLocation,
    _ work: () async throws -> Void
  ) async throws {
    let found = try await code(work)
    #expect(found == expected, sourceLocation: sourceLocation)
  }

  @Test("status, headers and body come as they are")
  func plain() async throws {
    try await withServer(Self.routes) { [client] address in
      let hello = try await client.send(HTTPRequest("GET", address + "/hello"))
      #expect(hello.status == 200 && hello.body == Data("hello".utf8))
      #expect(hello.headers["CONTENT-length"] == "5")
      let missing = try await client.send(HTTPRequest("GET", address + "/missing"))
      #expect(missing.status == 404 && missing.body == Data("no".utf8))
      let head = try await client.send(HTTPRequest("HEAD", address + "/hello"))
      #expect(head.status == 200 && head.body.isEmpty && head.headers["content-type"] == "text/plain")
    }
  }

  @Test("sends bodies of every kind", arguments: [0, 1, 1000, 5_000_000])
  func bodies(size: Int) async throws {
    try await withServer(Self.routes) { [client] address in
      let bytes = Data((0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) })
      let headers: HTTPHeaders = ["Content-Type": "application/x-test"]
      let echo = try await client.send(
        HTTPRequest("PUT", address + "/echo", headers: headers, body: .bytes(bytes)), maxBodyBytes: 8 << 20)
      #expect(echo.status == 201 && echo.body == bytes && echo.headers["content-type"] == "application/x-test")
      let length = try await client.send(HTTPRequest("POST", address + "/length", body: .bytes(bytes)))
      #expect(String(decoding: length.body, as: UTF8.self) == "\(size) \(size)")
    }
  }

  @Test("a POST without a body says that it has none")
  func emptyPost() async throws {
    try await withServer(Self.routes) { [client] address in
      let length = try await client.send(HTTPRequest("POST", address + "/length"))
      #expect(String(decoding: length.body, as: UTF8.self) == "0 0")
    }
  }

  @Test("files go both ways without being held in memory")
  func files() async throws {
    try await withServer(Self.routes) { [client] address in
      try await withFolder { folder in
        let up = folder.appendingPathComponent("up")
        let down = folder.appendingPathComponent("down")
        var bytes = Data()
        for index in 0..<200 { bytes.append(Data(repeating: UInt8(index), count: 1 << 16)) }
        try bytes.write(to: up)
        let sent = try await client.send(
          HTTPRequest("PUT", address + "/echo", body: .file(up, offset: 5, size: 1000)))
        #expect(sent.body == bytes[5..<1005])
        let length = try await client.send(
          HTTPRequest("POST", address + "/length", body: .file(up, size: Int64(bytes.count))))
        #expect(String(decoding: length.body, as: UTF8.self) == "\(bytes.count) \(bytes.count)")
        let fetched = try await client.download(
          HTTPRequest("GET", address + "/chunks/200"), to: down, maxBodyBytes: 1 << 30, deadlineSeconds: 60)
        #expect(fetched.status == 200 && fetched.body.isEmpty)
        #expect(try Data(contentsOf: down) == bytes)
      }
    }
  }

  @Test("a file is left only by a success")
  func noFile() async throws {
    try await withServer(Self.routes) { [client] address in
      try await withFolder { folder in
        let file = folder.appendingPathComponent("file")
        let missing = try await client.download(
          HTTPRequest("GET", address + "/missing"), to: file, maxBodyBytes: 1, deadlineSeconds: 10)
        #expect(missing.status == 404 && missing.body == Data("no".utf8))
        #expect(!FileManager.default.fileExists(atPath: file.path))
        let tooLarge = try await code {
          _ = try await client.download(
            HTTPRequest("GET", address + "/chunks/3"), to: file, maxBodyBytes: 100_000, deadlineSeconds: 10)
        }
        #expect(tooLarge == .tooLarge)
        #expect(!FileManager.default.fileExists(atPath: file.path))
        try Data("mine".utf8).write(to: file)
        let exists = try await code {
          _ = try await client.download(
            HTTPRequest("GET", address + "/hello"), to: file, maxBodyBytes: 100, deadlineSeconds: 10)
        }
        #expect(exists == .localFile)
        #expect(try Data(contentsOf: file) == Data("mine".utf8))
        let short = try await code {
          _ = try await client.send(HTTPRequest("PUT", address + "/echo", body: .file(file, size: 100)))
        }
        #expect(short == .localFile)
      }
    }
  }

  @Test("too large is an error, exactly large enough is not")
  func tooLarge() async throws {
    try await withServer(Self.routes) { [client] address in
      let fits = try await client.send(HTTPRequest("GET", address + "/chunks/2"), maxBodyBytes: 2 << 16)
      #expect(fits.body.count == 2 << 16)
      let over = try await code {
        _ = try await client.send(HTTPRequest("GET", address + "/chunks/2"), maxBodyBytes: (2 << 16) - 1)
      }
      #expect(over == .tooLarge)
    }
  }

  @Test("nobody listens, nobody is called so, nobody answers")
  func unreachable() async throws {
    let port = try unusedPort()
    try await expect(.refused) { _ = try await client.send(HTTPRequest("GET", "http://127.0.0.1:\(port)/")) }
    try await expect(.unresolved) { _ = try await client.send(HTTPRequest("GET", "http://nowhere.invalid/")) }
    let silent = try SilentListener()
    #expect(
      try await code { _ = try await client.send(HTTPRequest("GET", silent.address), deadlineSeconds: 0.3) }
        == .timedOut)
    // A TLS hello that nobody understands.
    try await withServer(Self.routes) { [client] address in
      let secure = address.replacing("http://", with: "https://")
      try await expect(.tls) { _ = try await client.send(HTTPRequest("GET", secure)) }
    }
  }

  @Test("a body that stands still ends, by either limit")
  func stall() async throws {
    let (ended, end) = AsyncStream<Void>.makeStream()
    try await withServer { router in
      router.get("/stall") { _, _ in
        Response(
          status: .ok,
          body: .init { writer in
            try await writer.write(ByteBuffer(string: "first"))
            for await _ in ended {}
            try await writer.finish(nil)
          })
      }
    } _: { [client] address in
      defer { end.finish() }
      let request = HTTPRequest("GET", address + "/stall")
      let clock = ContinuousClock()
      let start = clock.now
      try await expect(.timedOut) { _ = try await client.send(request, deadlineSeconds: 60, stallSeconds: 1) }
      try await expect(.timedOut) { _ = try await client.send(request, deadlineSeconds: 0.5) }
      #expect(clock.now - start < .seconds(15))
    }
  }

  @Test("a hundred at once, on one thread")
  func parallel() async throws {
    try await withServer(Self.routes) { [client] address in
      let total = try await withThrowingTaskGroup(of: Int.self) { group in
        for index in 0..<100 {
          group.addTask {
            let bytes = Data(repeating: UInt8(index), count: 50_000 + index)
            let echo = try await client.send(HTTPRequest("PUT", address + "/echo", body: .bytes(bytes)))
            return echo.body == bytes ? 1 : 0
          }
        }
        return try await group.reduce(0, +)
      }
      #expect(total == 100)
    }
  }

  @Test("more at once than the limit is refused, and the rest goes on")
  func busy() async throws {
    let silent = try SilentListener()
    let codes = await withTaskGroup(of: HTTPClientError.Code?.self) { group in
      for _ in 0..<HTTPClient.maxTransfers + 3 {
        group.addTask {
          try? await code { _ = try await client.send(HTTPRequest("GET", silent.address), deadlineSeconds: 3) }
        }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    #expect(codes.count { $0 == .busy } == 3)
    #expect(codes.count { $0 == .timedOut } == HTTPClient.maxTransfers)
  }

  @Test("cancelling the task ends the transfer at once, before, during and twice")
  func cancellation() async throws {
    let silent = try SilentListener()
    let clock = ContinuousClock()
    let start = clock.now
    for delay in [0, 5, 200] {
      let task = Task { try await code { _ = try await client.send(HTTPRequest("GET", silent.address)) } }
      try await clock.sleep(for: .milliseconds(delay))
      task.cancel()
      task.cancel()
      #expect(try await task.value == .cancelled)
    }
    #expect(clock.now - start < .seconds(25))
  }

  @Test("redirects are followed for GET alone, and not for ever")
  func redirects() async throws {
    try await withServer(Self.routes) { [client] address in
      let followed = try await client.send(HTTPRequest("GET", address + "/elsewhere"))
      #expect(followed.status == 200 && followed.body == Data("hello".utf8))
      #expect(followed.headers["location"] == nil, "the redirect's own headers are gone")
      #expect(try await client.send(HTTPRequest("POST", address + "/elsewhere")).status == 303)
      try await expect(.tooManyRedirects) { _ = try await client.send(HTTPRequest("GET", address + "/loop")) }
      let file = try await code {
        _ = try await client.send(HTTPRequest("GET", address + "/elsewhere?to=file:///etc/passwd"))
      }
      #expect(file == .invalidRequest)
    }
  }

  @Test("credentials stay with the host that they were given for")
  func credentials() async throws {
    try await withServer(Self.routes) { [client] there in
      try await withServer(Self.routes) { here in
        let headers: HTTPHeaders = ["Authorization": "Bearer secret", "X-Other": "kept"]
        for (target, isKept) in [(here + "/headers", true), (there + "/headers", false)] {
          let response = try await client.send(
            HTTPRequest("GET", here + "/elsewhere?to=" + target, headers: headers))
          let seen = String(decoding: response.body, as: UTF8.self)
          #expect(response.status == 200 && seen.contains("X-Other=kept"))
          #expect(seen.contains("secret") == isKept, "\(target)")
        }
      }
    }
  }

  @Test("an idle client sleeps")
  func idle() async throws {
    try await withServer(Self.routes) { [client] address in
      _ = try await client.send(HTTPRequest("GET", address + "/hello"))
      let turns = await client.turns
      try await ContinuousClock().sleep(for: .milliseconds(300))
      #expect(await client.turns - turns < 10)
    }
  }
}
