import Catalog
import Foundation
import HTTPClient
import KilnCoordinator
import Model
import RecordStore
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

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

  @Test func whoSendsSlowlyKeepsNobodyWaiting() async throws {
    let intake = Intake(places: 1, maxWaiting: 1)
    try await Bench.with { bench in
      try await TestAPI.with(bench, intake: intake) { api in
        // Their bytes are counted as long as somebody may still send more.
        let uploads = try (0..<5).map { _ in try HalfUpload(to: api.address) }
        try await eventually("their first bytes are here") { intake.held == 5 }
        #expect(try await api.submit().status == 201)
        for upload in uploads { upload.end() }
        try await eventually("what nobody sends on is let go") { intake.held == 0 }
      }
    }
  }

  @Test func whatIsHeldIsBounded() throws {
    let intake = Intake()
    try intake.hold(70, most: 100)
    let problem = #expect(throws: Problem.self) { try intake.hold(31, most: 100) }
    #expect(problem?.status == 503 && problem?.title.hasPrefix(Intake.busy) == true)
    try intake.hold(30, most: 100)
    intake.release(70)
    #expect(intake.held == 30)
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

/// One byte of a catalog of a thousand.
private struct HalfUpload {
  private let descriptor: Int32

  init(to address: String) throws {
    let port = try #require(URL(string: address)?.port.flatMap(UInt16.init(exactly:)))
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var server = sockaddr_in()
    server.sin_family = sa_family_t(AF_INET)
    server.sin_port = port.bigEndian
    server.sin_addr.s_addr = inet_addr("127.0.0.1")
    let connected = withUnsafePointer(to: &server) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    let head = [
      "POST /api/v1/builds HTTP/1.1", "Host: kiln", "Authorization: Bearer \(TestAPI.token)", "Idempotency-Key: half",
      "Content-Length: 1000", "", "x",
    ].joined(separator: "\r\n")
    #expect(connected == 0 && write(descriptor, head, head.utf8.count) == head.utf8.count)
  }

  func end() { close(descriptor) }
}
