import Foundation
import KilnCoordinator
import Model
import RecordStore
import TestSupport
import Testing

@Suite struct ExplanationTests {
  private func explain(_ bench: Bench, _ job: JobID) async throws -> Explanation {
    let context = try await bench.store.context(of: job)
    return Explanation(try #require(context))
  }

  private func job(_ build: BuildDetail, _ title: String, _ kind: JobKind = .layer) throws -> JobID {
    try #require(build.jobs.first { $0.title.hasPrefix(title) && $0.title.hasSuffix("amd64") && $0.kind == kind }).id
  }

  @Test func whatWaitsSaysForWhat() async throws {
    try await Bench.with { bench in
      let build = try await bench.build(try await bench.submit())
      let finish = try await explain(bench, job(build, "hello", .finish))
      #expect(finish.state == .waiting && finish.because.count == 2)
      #expect(finish.because[0].contains("app@1.0.0, which is building") && finish.because[0].contains("is waiting"))
      #expect(finish.because[1].contains("core@1.0.0, which is building") && finish.because[1].contains("is ready"))
      #expect(finish.cause == ["no such cell was finished before"])
      let ready = try await explain(bench, job(build, "core"))
      #expect(ready.because == ["no executor of pool pool has been seen for a minute"])
      #expect(ready.cause == ["no layer of core@1.0.0 was built for linux/amd64 before"])
    }
  }

  @Test func whatStandsInLineSaysBehindWhom() async throws {
    try await Bench.with { bench in
      let build = try await bench.build(try await bench.submit())
      let platform = try #require(Platform("linux/amd64"))
      try await bench.store.announce(
        Worker.name, pool: Bench.pool, slots: 1,
        host: HostFacts(
          executor: Worker.name, kilnVersion: "1", engineVersion: "1", builderVersion: "1", platforms: [platform],
          cpuCount: 1, freeBytes: nil))
      let jobs = build.jobs.filter { $0.state == .ready }.map(\.id).sorted()
      try #require(jobs.count == 2)
      let last = try await explain(bench, jobs[1])
      #expect(last.because == ["0 of 1 slots of pool pool are busy; 1 jobs go before it"])
      let claim = try #require(try await Worker(bench).claim(jobs[0]))
      let running = try await explain(bench, jobs[0])
      #expect(running.because == ["at worker, attempt 1"])
      try await bench.store.fail(
        Failure(.build, code: "step-failed", "no luck", hint: "luck"), decision: .retry(afterSeconds: 60), record: nil,
        fence: claim.fence)
      let delayed = try await explain(bench, jobs[0])
      #expect(delayed.because.first?.contains("waits until 20") == true && delayed.because.last == "luck")
    }
  }

  @Test func whatIsBlockedNamesTheDeadJob() async throws {
    try await Bench.with { bench in
      let (build, claim) = try await bench.claimFirst()
      try await bench.store.fail(
        Failure(.build, code: "step-failed", "no luck"), decision: .dead, record: nil, fence: claim.fence)
      let waiting = try #require(
        try await bench.build(build).jobs.first { job in
          job.kind == .finish && job.title.hasSuffix(claim.spec.platform.description)
        })
      let blocked = try await explain(bench, waiting.id)
      #expect(blocked.because.contains("build: no luck"))
      #expect(blocked.because.last == "'kiln retry \(claim.fence.job)' tries it again")
    }
  }

  /// As a builder tells of it, with what is not the Dockerfile's among it.
  private func steps(_ cached: Bool...) -> [StepTiming] {
    [
      StepTiming(name: "[internal] load build definition from Dockerfile", seconds: 0, cached: false),
      StepTiming(name: "[1/3] FROM base", seconds: 0, cached: true),
    ]
      + zip(["[2/3] COPY a b", "[core-made 3/3] RUN make"], cached).map {
        StepTiming(name: $0, seconds: 1, cached: $1)
      } + [StepTiming(name: "exporting to oci image format", seconds: 1, cached: false)]
  }

  /// Claims the first layer that there is to build, tells of its steps, in two pieces, and finishes it.
  private func buildFirst(_ bench: Bench, _ build: AcceptedBuild, _ name: String, _ steps: [StepTiming]) async throws
    -> JobID
  {
    let id = try job(await bench.build(build), "core")
    let outcome = try await bench.store.claim(
      id, executor: ExecutorName(text: name), nonce: UUID().uuidString, leaseSeconds: 30)
    guard case .granted(let claim) = outcome else { throw Failure(.input, code: "refused", "\(outcome)") }
    let bytes = Array(try JSONEncoder().encode(steps))
    for (sequence, piece) in [bytes.prefix(20), bytes.dropFirst(20)].enumerated() {
      try await bench.store.append(
        EvidenceChunk(stream: .steps, sequence: sequence, bytes: Array(piece)), fence: claim.fence)
    }
    try await Worker(bench).finish(claim)
    return id
  }

  @Test func whatABuilderRanSaysWhyItsCacheHadItNot() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let first = try await bench.submit()
      let waiting = try job(await bench.build(first), "core")
      #expect(try await explain(bench, waiting).cache == [])
      let new = try await explain(bench, buildFirst(bench, first, "one", steps(true, false)))
      let found = "1 of its 2 steps were in the cache of one's builder"
      #expect(new.cache == ["\(found); not [core-made 3/3] RUN make: no builder had finished this layer before"])
      try await bench.finish(first, worker: Worker(bench))
      // Its image is lost three times, and it is built again by others.
      let reasons = [
        (
          "two", steps(false, false),
          "0 of its 2 steps were in the cache of two's builder; not [2/3] COPY a b: it was built before by one; builders do not share their caches"
        ),
        (
          "one", steps(true, false),
          "\(found); not [core-made 3/3] RUN make: it built this layer before, and has forgotten it since: pruned, or made anew"
        ),
        ("two", steps(true, true), "2 of its 2 steps were in the cache of two's builder"),
      ]
      for (number, (name, steps, expected)) in reasons.enumerated() {
        let built = try await bench.build(first).layers.first {
          $0.title.hasPrefix("core") && $0.platform.description == Bench.amd64
        }
        try bench.delete(try #require(built?.image))
        let again = try await bench.submit(key: "again-\(number)")
        let job = try await buildFirst(bench, again, name, steps)
        #expect(try await explain(bench, job).cache == [expected])
        try await bench.finish(again, worker: Worker(bench))
      }
    }
  }

  @Test func whatIsBuiltOtherwiseThanBeforeSaysHow() async throws {
    try await Bench.with { bench in
      _ = try await bench.run()
      bench.time.advance(seconds: 5)
      var catalog = bench.catalog
      catalog.changeApp("changed")
      let files = try await bench.build(try await bench.submit(catalog, key: "files"))
      let app = try await explain(bench, job(files, "app"))
      #expect(app.cause == ["before, it was built otherwise: its files changed"])
      catalog.files["fragments/core/1.0.0/Dockerfile.fragment"] = "# a word\nRUN echo core\nRUN echo more\n"
      bench.time.advance(seconds: 5)
      let text = try await bench.build(try await bench.submit(catalog, key: "text"))
      let core = try await explain(bench, job(text, "core"))
      let place = "fragments/core/1.0.0/Dockerfile.fragment:2"
      #expect(core.cause == ["before, it was built otherwise: its text changed at \(place)"])
      let above = try await explain(bench, job(text, "app"))
      #expect(above.cause == ["before, it was built otherwise: on another layer of core@1.0.0"], "\(above.cause)")
    }
  }
}
