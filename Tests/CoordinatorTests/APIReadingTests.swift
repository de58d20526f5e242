import Foundation
import HTTPClient
import KilnCoordinator
import Model
import RecordStore
import RecordStoreSQLite
import TestSupport
import Testing

@Suite struct APIReadingTests {
  @Test(arguments: ["/builds/nothing", "/builds/nothing?unless=x&seconds=60", "/jobs/nothing", "/jobs/nothing/log"])
  func whatIsNotThereIsNotFound(_ path: String) async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        let response = try await api.get(path)
        #expect(response.status == 404)
        #expect(try response.problem().title.contains("nothing"))
      }
    }
  }

  @Test(arguments: [
    "/builds?cursor=abc", "/builds?limit=0", "/builds?limit=501", "/builds?limit=-1", "/builds?limit=abc",
    "/records?limit=0", "/records?limit=abc", "/records?platform=nonsense",
  ])
  func aPageThatCannotBeIsRefused(_ path: String) async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        let response = try await api.get(path)
        #expect(response.status == 400)
        _ = try response.problem()
      }
    }
  }

  @Test(arguments: ["/builds/ID?seconds=soon", "/jobs/JOB/log?attempt=last"])
  func aNumberThatIsNoneIsRefused(_ path: String) async throws {
    try await Bench.with { bench in
      let build = try await bench.submit()
      let job = try #require(try await bench.build(build).jobs.first)
      try await TestAPI.with(bench) { api in
        let response = try await api.get(path.replacing("ID", with: build.id.text).replacing("JOB", with: job.id.text))
        #expect(response.status == 400)
      }
    }
  }

  @Test func buildsComeInPages() async throws {
    try await Bench.with { bench in
      var ids: [BuildID] = []
      for number in 1...5 { ids.append(try await bench.submit(key: "key \(number)").id) }
      let expected = ids
      try await TestAPI.with(bench) { api in
        var seen: [BuildID] = []
        var sizes: [Int] = []
        var path = "/builds?limit=2"
        while true {
          let page: KilnCoordinator.Page<BuildSummary> = try await api.get(path).value()
          seen += page.items.map(\.id)
          sizes.append(page.items.count)
          guard let next = page.next else { break }
          path = "/builds?limit=2&cursor=\(next)"
        }
        #expect(seen == expected.reversed())
        #expect(sizes == [2, 2, 1])
      }
    }
  }

  @Test func recordsComeInPagesAndByPlatform() async throws {
    try await Bench.with { bench in
      try await bench.run()
      try await TestAPI.with(bench) { api in
        let first: KilnCoordinator.Page<StoredRecord> = try await api.get("/records?limit=1").value()
        let next = try #require(first.next)
        let second: KilnCoordinator.Page<StoredRecord> = try await api.get("/records?limit=2&cursor=\(next)").value()
        #expect(second.next == nil)
        let platforms = (first.items + second.items).map(\.record.target.platform.description)
        #expect(Set(platforms) == [Bench.amd64, Bench.arm64] && platforms.count == 2)
        let one: KilnCoordinator.Page<StoredRecord> = try await api.get("/records?platform=linux/arm64").value()
        #expect(one.items.map(\.record.target.platform.description) == [Bench.arm64])
      }
    }
  }
}

@Suite(.timeLimit(.minutes(1))) struct APIWaitingTests {
  /// The answers before and after a wait of at most 30 seconds, in which `wake` happens.
  private func waiting(
    _ bench: Bench, _ wake: @escaping @Sendable (Worker) async throws -> Void
  ) async throws -> (before: HTTPResponse, after: HTTPResponse) {
    let build = try await bench.submit()
    let (answers, continuation) = AsyncStream<[HTTPResponse]>.makeStream()
    try await TestAPI.with(bench) { api in
      let before = try await api.get("/builds/\(build.id)")
      let tag = try #require(before.headers["etag"]).trimmingCharacters(in: ["\""])
      async let answer = api.get("/builds/\(build.id)?unless=\(tag)&seconds=30")
      await bench.time.untilSleep(seconds: 5)
      try await wake(Worker(bench))
      continuation.yield([before, try await answer])
      continuation.finish()
    }
    for await pair in answers { return (pair[0], pair[1]) }
    throw CancellationError()
  }

  @Test func theAnswerComesWhenTheBuildChanges() async throws {
    try await Bench.with { bench in
      let start = bench.time.now()
      let (before, after) = try await waiting(bench) { worker in
        try await bench.queue.prepare([Bench.pool])
        try await bench.dispatch()
        try await worker.drain()
      }
      #expect(bench.time.now() == start)
      #expect(before.headers["etag"] != after.headers["etag"])
      let layers = try after.value(BuildDetail.self).layers
      #expect(layers.contains { $0.state == .available })
    }
  }

  @Test func theAnswerComesInTheEndThoughNothingChanges() async throws {
    try await Bench.with { bench in
      let (before, after) = try await waiting(bench) { _ in bench.time.advance(seconds: 30) }
      #expect(before.headers["etag"] == after.headers["etag"])
      #expect(after.status == 200)
    }
  }

  @Test func aChangeThatNobodyAnnouncedIsSeenSoon() async throws {
    try await Bench.with { bench in
      let start = bench.time.now()
      let (before, after) = try await waiting(bench) { _ in
        try await bench.engine.transaction { _ = try $0.run("UPDATE builds SET problem = 'changed'", []) }
        bench.time.advance(seconds: 5)
      }
      #expect(bench.time.now() == start.advanced(bySeconds: 5))
      #expect(before.headers["etag"] != after.headers["etag"])
    }
  }

  @Test func theTagIsTakenWithItsQuotesToo() async throws {
    try await Bench.with { bench in
      let build = try await bench.submit()
      try await TestAPI.with(bench) { api in
        let tag = try #require(try await api.get("/builds/\(build.id)").headers["etag"])
        let quoted = tag.replacing("\"", with: "%22")
        async let answer = api.get("/builds/\(build.id)?unless=\(quoted)&seconds=30")
        await bench.time.untilSleep(seconds: 5)
        bench.time.advance(seconds: 30)
        let after = try await answer
        #expect(after.headers["etag"] == tag)
      }
    }
  }

  @Test func whoHasSeenSomethingElseIsAnsweredAtOnce() async throws {
    try await Bench.with { bench in
      let build = try await bench.submit()
      try await TestAPI.with(bench) { api in
        for query in ["", "?seconds=30", "?unless=other&seconds=30"] {
          let response = try await api.get("/builds/\(build.id)\(query)")
          #expect(response.status == 200)
        }
      }
    }
  }

  @Test func nobodyWaitsForASettledBuild() async throws {
    try await Bench.with { bench in
      let build = try await bench.run()
      try await TestAPI.with(bench) { api in
        let first = try await api.get("/builds/\(build.summary.id)")
        let tag = try #require(first.headers["etag"]).trimmingCharacters(in: ["\""])
        let again = try await api.get("/builds/\(build.summary.id)?unless=\(tag)&seconds=30")
        #expect(again.body == first.body)
      }
    }
  }
}
