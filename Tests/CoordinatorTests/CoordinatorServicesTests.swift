import Foundation
import JobQueue
import Model
import RecordStore
import RecordStoreSQLite
import ServiceLifecycle
import Testing

@testable import KilnCoordinator

/// The loops as they run, woken by what happens and never by time.
@Suite(.timeLimit(.minutes(1))) struct CoordinatorServicesTests {
  private func whileRunning(
    _ coordinator: Coordinator, _ body: @escaping @Sendable () async throws -> Void
  ) async throws {
    let services = ServiceGroup(services: coordinator.services(), logger: coordinator.logger)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await services.run() }
      let result: Result<Void, any Error>
      do {
        result = .success(try await body())
      } catch {
        result = .failure(error)
      }
      await services.triggerGracefulShutdown()
      try await group.waitForAll()
      try result.get()
    }
  }

  @Test func aBuildGoesThroughWithoutTimePassing() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let start = bench.time.now()
      try await whileRunning(try bench.coordinator()) {
        let build = try await bench.submit()
        let worker = Worker(bench)
        let slot = try await bench.queue.openSlot(on: Bench.pool)
        for _ in 1...6 {
          let delivery = try #require(try await slot.next())
          let claim = try #require(try await worker.claim(JobMessage(body: delivery.body).job))
          try await worker.finish(claim)
          try await slot.acknowledge(delivery)
        }
        for try await _ in try await bench.store.notifications() {
          if try await bench.build(build).summary.state.isSettled { break }
        }
        #expect(try await bench.build(build).summary.state == .passed)
        await slot.close()
      }
      #expect(bench.time.now() == start)
    }
  }

  @Test func aBrokerThatIsAwayAtTheStartIsWaitedFor() async throws {
    try await Bench.with { bench in
      bench.queue.set(.unavailable, for: Bench.pool)
      try await whileRunning(try bench.coordinator()) {
        try await bench.submit()
        await bench.time.untilSleep(seconds: CoordinatorSettings().publishRetrySeconds)
        #expect(bench.queue.preparations == [])
        bench.queue.set(nil, for: Bench.pool)
        bench.time.advance(seconds: CoordinatorSettings().publishRetrySeconds)
        let slot = try await bench.queue.openSlot(on: Bench.pool)
        _ = try #require(try await slot.next())
        await slot.close()
      }
      #expect(bench.queue.preparations == [Bench.pool])
    }
  }

  @Test func aBrokerThatRefusesEndsTheCoordinator() async throws {
    try await Bench.with { bench in
      bench.queue.set(.refusing, for: Bench.pool)
      let services = ServiceGroup(services: try bench.coordinator().services(), logger: bench.log.logger())
      await #expect(throws: QueueError.self) { try await services.run() }
    }
  }
}
