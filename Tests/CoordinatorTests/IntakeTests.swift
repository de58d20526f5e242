import Catalog
import Foundation
import HTTPClient
import KilnCoordinator
import Model
import RecordStore
import TestSupport
import Testing

/// More submissions at once than a coordinator takes.
@Suite(.timeLimit(.minutes(1))) struct IntakeTests {
  @Test func whoIsTurnedAwayIsToldWhenToComeAgainAndThenAcceptedOnce() async throws {
    let intake = Intake(places: 2, maxWaiting: 3)
    try await Bench.with { bench in
      try await TestAPI.with(bench, intake: intake) { api in
        // Two catalogs that are being read for as long as the test likes.
        let (held, release) = AsyncStream<Void>.makeStream()
        let holders = (0..<2).map { _ in
          Task { try await intake.admit { for await _ in held {} } }
        }
        let answers = try await withThrowingTaskGroup(of: (Int, Int, String?).self) { group in
          for number in 0..<30 {
            group.addTask {
              let response = try await api.submit(key: "key-\(number)")
              return (number, response.status, response.headers["retry-after"])
            }
          }
          // Those who wait are answered only after the two are done.
          var answers: [(Int, Int, String?)] = []
          while answers.count < 27, let answer = try await group.next() { answers.append(answer) }
          #expect(answers.allSatisfy { $0.1 == 503 && $0.2 == "2" }, "\(answers)")
          let plan = try await api.post(try bench.catalog.tree().tar(), key: nil, to: "/plan")
          #expect(plan.status == 503)
          #expect(try plan.problem().title.hasPrefix(Intake.busy))
          release.finish()
          while let answer = try await group.next() { answers.append(answer) }
          return answers
        }
        for holder in holders { try await holder.value }
        #expect(answers.suffix(3).allSatisfy { $0.1 == 201 }, "\(answers)")
        for answer in answers where answer.1 == 503 {
          #expect(try await api.submit(key: "key-\(answer.0)").status == 201)
        }
        #expect(try await bench.store.builds(limit: 100, before: nil).count == 30)
      }
    }
  }

  @Test func whoGivesUpWaitingLeavesTheLine() async throws {
    let intake = Intake(places: 1, maxWaiting: 1)
    let (held, release) = AsyncStream<Void>.makeStream()
    let holder = Task { try await intake.admit { for await _ in held {} } }
    let waiter = Task { try await intake.admit {} }
    try await eventually("one waits") { intake.waitingCount == 1 }
    await #expect(throws: Problem.self) { try await intake.admit {} }
    waiter.cancel()
    await #expect(throws: CancellationError.self) { try await waiter.value }
    let next = Task { try await intake.admit { 7 } }
    release.finish()
    try await holder.value
    #expect(try await next.value == 7)
  }
}
