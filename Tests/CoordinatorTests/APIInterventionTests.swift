import Foundation
import HTTPClient
import KilnCoordinator
import Model
import RecordStore
import TestSupport
import Testing

@Suite struct APIInterventionTests {
  private static let failure = Failure(.build, code: "step-failed", "RUN false", exitCode: 1)

  /// A build whose first job is dead, and which has failed of it.
  private func dead(_ bench: Bench) async throws -> (build: BuildID, job: JobID) {
    let (build, claim) = try await bench.claimFirst()
    try await bench.store.fail(Self.failure, decision: .dead, record: nil, fence: claim.fence)
    for job in try await bench.build(build).jobs where job.state == .ready || job.state == .queued {
      let other = try #require(try await Worker(bench).claim(job.id))
      try await bench.store.fail(Self.failure, decision: .dead, record: nil, fence: other.fence)
    }
    _ = try await bench.store.settleBuilds()
    return (build.id, claim.fence.job)
  }

  private func post(_ api: TestAPI, _ path: String) async throws -> HTTPResponse {
    try await api.post(Data(), key: nil, to: path)
  }

  @Test func aBuildIsCancelledByName() async throws {
    try await Bench.with { bench in
      let build = try await bench.submit().id
      try await TestAPI.with(bench) { api in
        for expected in [BuildState.cancelling, .cancelled] {
          let reply: CancelReply = try await self.post(api, "/builds/\(build)/cancel").value()
          #expect(reply.id == build.text && reply.state == expected.rawValue)
          _ = try await bench.store.settleBuilds()
        }
        let detail: BuildDetail = try await api.get("/builds/\(build)").value()
        #expect(detail.summary.problem == "cancelled by somebody")
        #expect(bench.log.lines.contains { $0.contains("build cancelled") && $0.contains("somebody") })
      }
    }
  }

  @Test func aJobIsCancelledWithWhatNeedsIt() async throws {
    try await Bench.with { bench in
      let build = try await bench.submit()
      let job = try #require(try await bench.build(build).jobs.first { $0.state == .ready }).id
      try await TestAPI.with(bench) { api in
        let reply: CancelReply = try await self.post(api, "/jobs/\(job)/cancel").value()
        #expect(reply.state == "cancelled" && (reply.cells ?? 0) > 0)
        let again = try await self.post(api, "/jobs/\(job)/cancel")
        #expect(again.status == 200, "the same answer again")
      }
    }
  }

  @Test(arguments: ["/builds/nothing/cancel", "/builds/nothing/retry", "/jobs/nothing/cancel", "/jobs/nothing/retry"])
  func whatIsNotThereIsNotFound(_ path: String) async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        let response = try await self.post(api, path)
        #expect(response.status == 404)
        #expect(try response.problem().title.contains("nothing"))
        let stranger = try await api.post(Data(), key: nil, to: path, token: nil)
        #expect(stranger.status == 401)
      }
    }
  }

  @Test func whatIsOverIsNotCancelledAndWhatIsWellIsNotRetried() async throws {
    try await Bench.with { bench in
      let build = try await bench.run()
      let job = try #require(build.jobs.first).id
      try await TestAPI.with(bench) { api in
        for path in [
          "/builds/\(build.summary.id)/cancel", "/builds/\(build.summary.id)/retry", "/jobs/\(job)/cancel",
          "/jobs/\(job)/retry",
        ] {
          let response = try await self.post(api, path)
          #expect(response.status == 409, "\(path)")
          #expect(try response.problem().title.contains("nothing"), "\(path)")
        }
      }
    }
  }

  @Test(arguments: ["build", "job", "letter", "fingerprint", "pool", "all"])
  func whatIsDeadIsTriedAgain(_ by: String) async throws {
    try await Bench.with { bench in
      let (build, job) = try await self.dead(bench)
      try await TestAPI.with(bench) { api in
        let path =
          switch by {
          case "build": "/builds/\(build)/retry"
          case "job": "/jobs/\(job)/retry"
          case "letter": "/dead-letters/replay?letter=dead:\(job):1"
          case "fingerprint": "/dead-letters/replay?fingerprint=\(Self.failure.fingerprint)"
          case "pool": "/dead-letters/replay?pool=\(Bench.pool)"
          default: "/dead-letters/replay?all=true"
          }
        let outcome: ReplayOutcome = try await self.post(api, path).value()
        #expect(outcome.replayed.contains { $0.job == job } && outcome.builds == [build])
        let detail: BuildDetail = try await api.get("/builds/\(build)").value()
        #expect(detail.summary.state == .running)
        #expect(
          bench.log.lines.contains { $0.contains("replayed") && $0.contains(job.text) && $0.contains("somebody") })
        let nothing: ReplayOutcome = try await self.post(api, "/dead-letters/replay?letter=\(job)").value()
        #expect(nothing.replayed.isEmpty)
      }
    }
  }

  @Test func aJobThatWaitsForItsNextAttemptWaitsNoLonger() async throws {
    try await Bench.with { bench in
      let (_, claim) = try await bench.claimFirst()
      try await bench.store.fail(
        Self.failure, decision: .retry(afterSeconds: 3600), record: nil, fence: claim.fence)
      try await TestAPI.with(bench) { api in
        let response = try await self.post(api, "/jobs/\(claim.fence.job)/retry")
        #expect(response.status == 200)
        let due = try await bench.store.releaseDue()
        #expect(due == 1)
      }
    }
  }

  @Test func lettersAreReadGroupedAndDroppedWithAReason() async throws {
    try await Bench.with { bench in
      let (build, job) = try await self.dead(bench)
      try await TestAPI.with(bench) { api in
        let all: KilnCoordinator.Page<StoredDeadLetter> = try await api.get("/dead-letters?build=\(build)").value()
        #expect(all.items.contains { $0.job == job && $0.failure == Self.failure })
        let first: KilnCoordinator.Page<StoredDeadLetter> = try await api.get("/dead-letters?limit=1").value()
        #expect(first.items.count == 1)
        let groups: [DeadLetterGroup] = try await api.get("/dead-letters/groups").value()
        #expect(groups.map(\.fingerprint) == [Self.failure.fingerprint] && groups.first?.count == all.items.count)
        for path in [
          "/dead-letters/drop?reason=x", "/dead-letters/drop?all=true", "/dead-letters/drop?all=true&reason=%20",
          "/dead-letters/replay",
        ] {
          let refused = try await self.post(api, path)
          #expect(refused.status == 400, "\(path)")
        }
        let dropped: DropReply = try await self.post(api, "/dead-letters/drop?letter=\(job)&reason=old%20news").value()
        #expect(dropped.dropped == 1)
        let open: KilnCoordinator.Page<StoredDeadLetter> = try await api.get("/dead-letters").value()
        #expect(open.items.count == all.items.count - 1)
        let kept: KilnCoordinator.Page<StoredDeadLetter> = try await api.get("/dead-letters?letter=\(job)&all=true")
          .value()
        #expect(kept.items.map(\.reason) == ["old news"] && kept.items.map(\.settledBy) == ["somebody"])
      }
    }
  }
}
