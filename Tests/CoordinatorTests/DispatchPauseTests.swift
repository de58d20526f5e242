import JobQueue
import Model
import RecordStore
import RecordStoreSQLite
import Testing

@testable import KilnCoordinator

/// The dispatch loop sleeps until there is something for it: what others see to does not wake it.
@Suite struct DispatchPauseTests {
  @Test func effectsThatAreDueDoNotWakeIt() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      try await bench.submit()
      let worker = Worker(bench)
      for _ in 1...2 {
        try await bench.dispatch()
        try await worker.drain()
      }
      #expect(try await bench.dispatch() == 5)
    }
  }

  @Test func aPublishLeaseThatIsOutDoesNotWakeIt() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      try await bench.submit()
      let kill = KillAt(.publishAfterTake)
      try await bench.dispatch(try bench.coordinator(failpoints: kill))
      bench.time.advance(seconds: 11)
      var catalog = bench.catalog
      catalog.files["fragments/core/1.0.0/Dockerfile.fragment"] = "RUN echo other\n"
      _ = try await bench.coordinator().submit(
        try catalog.work(),
        Coordinator.Request(principal: Principal(text: "urgent"), idempotencyKey: "k", priority: 9))
      #expect(try await bench.dispatch() == 5)
    }
  }
}
