import Foundation
import HTTPClient
import KilnCoordinator
import Model
import RecordStore
import RecordStoreSQLite
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(1))) struct APILogTests {
  private func say(_ text: String, _ sequence: Int, _ claim: Claim, _ bench: Bench) async throws {
    try await bench.store.append(
      EvidenceChunk(stream: .log, sequence: sequence, bytes: Array(text.utf8)), fence: claim.fence)
  }

  /// A running job of a new build.
  private func running(_ bench: Bench) async throws -> (worker: Worker, claim: Claim) {
    try await bench.queue.prepare([Bench.pool])
    let build = try await bench.submit()
    try await bench.dispatch()
    let job = try #require(try await bench.build(build).jobs.first { $0.state == .queued })
    let worker = Worker(bench)
    let claim = try await worker.claim(job.id)
    return (worker, try #require(claim))
  }

  @Test func whatThereIsIsTold() async throws {
    try await Bench.with { bench in
      let (_, claim) = try await running(bench)
      try await say("one\n", 0, claim, bench)
      try await bench.store.append(
        EvidenceChunk(stream: .steps, sequence: 1, bytes: Array("[]".utf8)), fence: claim.fence)
      try await say("two\n", 2, claim, bench)
      try await TestAPI.with(bench) { api in
        let response = try await api.get("/jobs/\(claim.fence.job)/log")
        #expect(response.headers["content-type"] == "text/plain; charset=utf-8")
        #expect(String(decoding: response.body, as: UTF8.self) == "one\ntwo\n")
      }
    }
  }

  @Test func aFollowerSeesEveryAttemptUntilTheJobIsFinal() async throws {
    try await Bench.with { bench in
      let (worker, claim) = try await running(bench)
      try await say("first\n", 0, claim, bench)
      try await TestAPI.with(bench) { api in
        let stream = try await api.stream("/jobs/\(claim.fence.job)/log?follow=true")
        #expect(stream.status == 200)
        var text = ""
        for try await bytes in stream.body {
          text += String(decoding: bytes, as: UTF8.self)
          if text == "first\n" {
            // The attempt ends, and the next one speaks.
            try await bench.store.fail(
              Failure(.build, code: "step-failed", "no luck"), decision: .retry(afterSeconds: 1), record: nil,
              fence: claim.fence)
            bench.time.advance(seconds: 1)
            _ = try await bench.store.releaseDue()
            let next = try #require(try await worker.claim(claim.fence.job))
            try await say("second\n", 0, next, bench)
            try await worker.finish(next)
          }
        }
        #expect(text == "first\n\n--- attempt 2\nsecond\n")
      }
    }
  }

  @Test func anEarlierAttemptIsToldAlone() async throws {
    try await Bench.with { bench in
      let (worker, claim) = try await running(bench)
      try await say("first\n", 0, claim, bench)
      try await bench.store.giveBack(claim.fence, reason: "stopping")
      let next = try #require(try await worker.claim(claim.fence.job))
      try await say("second\n", 0, next, bench)
      try await TestAPI.with(bench) { api in
        for query in ["?attempt=1", "?attempt=1&follow=true"] {
          let first = try await api.get("/jobs/\(claim.fence.job)/log\(query)")
          #expect(String(decoding: first.body, as: UTF8.self) == "first\n")
        }
        let latest = try await api.get("/jobs/\(claim.fence.job)/log")
        #expect(String(decoding: latest.body, as: UTF8.self) == "second\n")
      }
    }
  }

  /// Nothing is lost of an attempt that began and ended between two looks.
  @Test func anAttemptThatWasShortIsToldWhole() async throws {
    try await Bench.with { bench in
      let (worker, claim) = try await running(bench)
      try await say("first\n", 0, claim, bench)
      let reader = LogReader(store: bench.store, job: claim.fence.job, attempt: nil, follow: true)
      let text = TestText()
      try await reader.read { bytes in
        text.add(bytes)
      } pause: {
        try await bench.store.giveBack(claim.fence, reason: "stopping")
        let next = try #require(try await worker.claim(claim.fence.job))
        try await say("second\n", 0, next, bench)
        try await worker.finish(next)
        return true
      }
      #expect(text.value == "first\n\n--- attempt 2\nsecond\n")
    }
  }

  @Test func aFollowerDoesNotKeepTheServerFromItsEnd() async throws {
    try await Bench.with { bench in
      let (_, claim) = try await running(bench)
      try await say("first\n", 0, claim, bench)
      let (ends, continuation) = AsyncStream<String>.makeStream()
      try await TestAPI.with(bench) { api in
        let stream = try await api.stream("/jobs/\(claim.fence.job)/log?follow=true")
        await bench.time.untilSleep(seconds: 5)
        let reading = Task {
          var text = ""
          for try await bytes in stream.body { text += String(decoding: bytes, as: UTF8.self) }
          continuation.yield(text)
          continuation.finish()
        }
        _ = reading
      }
      for await text in ends { #expect(text == "first\n") }
    }
  }
}

/// What was written so far.
// Unchecked: `bytes` is only touched under `lock`.
private final class TestText: @unchecked Sendable {
  private let lock = NSLock()
  private var bytes: [UInt8] = []

  var value: String { lock.withLock { String(decoding: bytes, as: UTF8.self) } }
  func add(_ more: [UInt8]) { lock.withLock { bytes += more } }
}
