import Foundation
import JobQueue
import Model
import RecordStore
import RecordStoreSQLite
import TestSupport
import Testing

@testable import KilnCoordinator

@Suite struct DeadLetterLoopTests {
  private static let garbage: [UInt8] = [0xFF, 0x00] + Array("{not json".utf8)

  /// Runs the loop until its queue has nothing more, or it is killed.
  private func run(_ bench: Bench, _ failpoints: any Failpoints = NoFailpoints()) async throws {
    try await DeadLetterLoop(coordinator: try bench.coordinator(failpoints: failpoints), pool: Bench.pool).run()
  }

  private func keptBytes(_ bench: Bench) async throws -> [[UInt8]] {
    try await bench.engine.transaction { store in
      try store.run("SELECT bytes FROM dead_letters ORDER BY identifier", []).map { try $0.bytes("bytes") }
    }
  }

  @Test func whatNobodyUnderstandsIsKeptByteForByte() async throws {
    try await Bench.with { bench in
      let box = LetterBox([Self.garbage])
      bench.queue.deliverDeadLetters(from: box)
      try await run(bench)
      #expect(try await keptBytes(bench) == [Self.garbage])
      #expect(box.acknowledged == [1])
      let letter = try #require(try await bench.store.deadLetters(limit: 10).first)
      #expect(letter.identifier == "bytes:\(Digest(of: Data(Self.garbage)).hex)")
      #expect(letter.pool == Bench.pool)
      #expect(letter.job == nil)
      #expect(bench.log.lines.contains { $0.hasPrefix("error dead letter") && $0.contains(letter.identifier) })
    }
  }

  @Test func theSameBytesTwiceAreOneLetter() async throws {
    try await Bench.with { bench in
      let box = LetterBox([Self.garbage, Array("{}".utf8), Self.garbage])
      bench.queue.deliverDeadLetters(from: box)
      try await run(bench)
      #expect(box.acknowledged == [1, 2, 3])
      let letters = try await bench.store.deadLetters(limit: 10)
      #expect(letters.count == 2)
    }
  }

  @Test(arguments: [Failpoint.deadLetterBeforeStore, .deadLetterBeforeAcknowledge])
  func aKillLosesNothing(_ point: Failpoint) async throws {
    try await Bench.with { bench in
      let box = LetterBox([Self.garbage])
      bench.queue.deliverDeadLetters(from: box)
      let kill = KillAt(point)
      try await run(bench, kill)
      #expect(kill.wasReached)
      #expect(box.acknowledged == [])
      #expect(try await keptBytes(bench).count == (point == .deadLetterBeforeStore ? 0 : 1))
      try await run(bench)
      #expect(box.acknowledged == [1])
      #expect(try await keptBytes(bench) == [Self.garbage])
    }
  }

  /// The broker gives a message up; the store does not give its job up.
  @Test func theJobOfAMessageDeliveredTooOftenIsReadyAgain() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      try await bench.submit()
      try await bench.dispatch()
      let slot = try await bench.queue.openSlot(on: Bench.pool)
      let delivery = try #require(try await slot.next())
      await slot.close()
      let job = try JobMessage(body: delivery.body).job
      #expect(try await bench.job(job).summary.state == .queued)
      let box = LetterBox([delivery.body])
      bench.queue.deliverDeadLetters(from: box)
      try await run(bench)
      #expect(try await bench.job(job).summary.state == .ready)
      #expect(try await keptBytes(bench) == [delivery.body])
      #expect(try await bench.store.deadLetters(limit: 10).isEmpty, "nobody has to look at it")
      #expect(box.acknowledged == [1])
    }
  }

  /// The end of a job brings its letter into the store, and by the outbox into the broker, from where it
  /// comes back: it is one letter.
  @Test func theLetterOfADeadJobIsNotKeptTwice() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      try await bench.dispatch()
      let worker = Worker(bench)
      let job = try #require(try await bench.build(build).jobs.first { $0.state == .queued })
      let claim = try #require(try await worker.claim(job.id))
      let failure = Failure(.build, code: "step-failed", "RUN false")
      try await bench.store.fail(failure, decision: .dead, record: nil, fence: claim.fence)
      try await bench.end()
      let slot = try await bench.queue.openDeadLetters(of: Bench.pool)
      let delivery = try #require(try await slot.next())
      await slot.close()
      let box = LetterBox([delivery.body])
      bench.queue.deliverDeadLetters(from: box)
      try await run(bench)
      let letters = try await bench.store.deadLetters(limit: 10)
      #expect(letters.map(\.identifier) == ["dead:\(job.id):1"])
      #expect(letters.first?.failure == failure)
      #expect(letters.first?.job == job.id)
      #expect(try await keptBytes(bench) == [delivery.body])
      #expect(box.acknowledged == [1])
    }
  }
}
