import Foundation
import Hummingbird
import TestSupport
import Testing

// Hummingbird brings a type of the same name.
import struct HTTPClient.HTTPRequest

@testable import HTTPClient

@Suite("HTTP client, streams", .timeLimit(.minutes(1)))
struct HTTPStreamTests {
  let client = HTTPClient()

  @Test("pieces come as they are sent, to the end")
  func pieces() async throws {
    let (told, tell) = AsyncStream<Void>.makeStream()
    try await withServer { router in
      router.get("/follow") { _, _ in
        Response(
          status: .ok, headers: [.contentType: "text/plain"],
          body: .init { writer in
            try await writer.write(ByteBuffer(string: "one"))
            for await _ in told {}
            try await writer.write(ByteBuffer(string: "two"))
            try await writer.finish(nil)
          })
      }
    } _: { [client] address in
      let stream = try await client.stream(HTTPRequest("GET", address + "/follow"))
      #expect(stream.status == 200 && stream.headers["content-type"] == "text/plain")
      var seen: [String] = []
      for try await piece in stream.body {
        seen.append(String(decoding: piece, as: UTF8.self))
        // The second is not even sent before the first was read.
        tell.finish()
      }
      #expect(seen == ["one", "two"])
    }
  }

  @Test("a slow reader holds the sender back, and loses nothing")
  func pressure() async throws {
    let count = 400
    let progress = Counter()
    try await withServer { router in
      router.get("/flood") { _, _ in
        Response(
          status: .ok,
          body: .init { writer in
            for index in 0..<count {
              try await writer.write(ByteBuffer(repeating: UInt8(index & 255), count: 1 << 16))
              await progress.add(1)
            }
            try await writer.finish(nil)
          })
      }
    } _: { [client] address in
      let stream = try await client.stream(HTTPRequest("GET", address + "/flood"), maxBufferedBytes: 1 << 17)
      var iterator = stream.body.makeAsyncIterator()
      var seen = try await iterator.next() ?? Data()
      try await ContinuousClock().sleep(for: .milliseconds(300))
      // What the sender got rid of fits into our buffer and the kernel's.
      #expect(await progress.value < count)
      while let piece = try await iterator.next() { seen.append(piece) }
      #expect(seen.count == count << 16)
      #expect((0..<count).allSatisfy { seen[$0 << 16] == UInt8($0 & 255) })
    }
  }

  @Test("dropping the stream, or cancelling its reader, ends the transfer")
  func dropped() async throws {
    let ended = Counter()
    try await withServer { router in
      router.get("/endless") { _, _ in
        Response(
          status: .ok,
          body: .init { writer in
            do {
              while true {
                try await writer.write(ByteBuffer(string: "more"))
                try await Task.sleep(for: .milliseconds(5))
              }
            } catch {
              await ended.add(1)
              throw error
            }
          })
      }
    } _: { [client] address in
      do {
        let stream = try await client.stream(HTTPRequest("GET", address + "/endless"))
        for try await _ in stream.body { break }
      }
      try await until { await ended.value == 1 }
      let task = Task {
        let stream = try await client.stream(HTTPRequest("GET", address + "/endless"))
        for try await _ in stream.body {}
      }
      try await ContinuousClock().sleep(for: .milliseconds(50))
      task.cancel()
      _ = await task.result
      try await until { await ended.value == 2 }
      #expect(await client.openTransfers == 0)
    }
  }

  @Test("a stream that cannot begin, or breaks, says why")
  func broken() async throws {
    let port = try unusedPort()
    await #expect(throws: HTTPClientError.self) {
      try await client.stream(HTTPRequest("GET", "http://127.0.0.1:\(port)/"))
    }
    let silent = try SilentListener()
    await #expect(throws: HTTPClientError.self) {
      try await client.stream(HTTPRequest("GET", silent.address), deadlineSeconds: 0.2)
    }
    #expect(await client.openTransfers == 0)
  }

  private func until(_ condition: () async -> Bool) async throws {
    let clock = ContinuousClock()
    let deadline = clock.now + .seconds(10)
    while await !condition() {
      try #require(clock.now < deadline)
      try await clock.sleep(for: .milliseconds(10))
    }
  }
}

actor Counter {
  private(set) var value = 0
  func add(_ count: Int) { value += count }
}
