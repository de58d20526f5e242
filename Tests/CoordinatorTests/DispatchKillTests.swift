import Foundation
import JobQueue
import Model
import RecordStore
import RecordStoreSQLite
import Testing

@testable import KilnCoordinator

/// A coordinator is killed at each place between two effects, and another one goes on.
@Suite struct DispatchKillTests {
  private static let points: [Failpoint] = [.publishAfterTake, .publishAfterConfirm, .publishAfterMark]

  /// What the first one published is delivered before the other one comes, or after.
  @Test(arguments: points, [true, false])
  func everyJobIsBuiltOnce(_ point: Failpoint, _ deliveredBefore: Bool) async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      let kill = KillAt(point)
      let worker = Worker(bench)
      try await bench.dispatch(try bench.coordinator(failpoints: kill))
      #expect(kill.wasReached)
      #expect(try await bench.queue.depth(of: Bench.pool).ready == (point == .publishAfterTake ? 0 : 2))
      if deliveredBefore { try await worker.drain() }
      bench.time.advance(seconds: CoordinatorSettings().publishLeaseSeconds)
      try await bench.finish(build, worker: worker)
      let detail = try await bench.build(build)
      #expect(detail.summary.state == .passed)
      #expect(worker.claims.count == 6)
      #expect(Set(worker.claims) == Set(detail.jobs.map(\.id)))
    }
  }

  /// Two at once on one store: what one has taken the other leaves alone.
  @Test func twoCoordinatorsPublishEachJobOnce() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      try await bench.submit()
      let other = Interruption {
        try await bench.dispatch(try bench.coordinator())
      }
      try await bench.dispatch(try bench.coordinator(failpoints: other))
      #expect(try await bench.queue.depth(of: Bench.pool).ready == 2)
    }
  }

  /// Something else happens while a message waits for its confirmation.
  private struct Interruption: Failpoints {
    let body: @Sendable () async throws -> Void
    func reach(_ point: Failpoint) async throws { if point == .publishAfterTake { try await body() } }
  }

  @Test(arguments: [Failpoint.submitBeforeContexts, .submitBeforeTransaction, .submitAfterTransaction])
  func aSubmissionThatWasCutOffIsMadeAgainByItsKey(_ point: Failpoint) async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let kill = KillAt(point)
      await #expect(throws: CancellationError.self) {
        try await bench.submit(with: try bench.coordinator(failpoints: kill))
      }
      let again = try await bench.submit()
      #expect(again.isNew == (point != .submitAfterTransaction))
      #expect(try await bench.store.builds(limit: 10, before: nil).map(\.id) == [again.id])
      try await bench.finish(again, worker: Worker(bench))
      #expect(try await bench.build(again).summary.state == .passed)
    }
  }
}
