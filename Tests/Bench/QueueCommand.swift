import ArgumentParser
import Foundation
import JobQueue
import JobQueueAMQP
import Logging
import Model
import Synchronization

/// The broker's driver against a C loop that does the same: publishing with confirms, and taking and
/// acknowledging one by one.
struct QueueCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "queue", abstract: "The broker's driver and a C loop.")
  @OptionGroup var options: RoundOptions
  @Option(help: "The C loop, compiled from amqp-loop.c.") var loop: String
  @Option(help: "The broker's data folder, whose disk's flush rate is printed.") var disk: String
  @Option(help: "Messages published in a round.") var messages = 20_000

  func run() async throws {
    let effects = Effects.system()
    let bench = try QueueBench(
      url: try Address.require("KILN_TEST_AMQP_URL"), prefix: "kilnbench-\(effects.identifier())", loop: loop,
      effects: effects)
    do {
      try await bench.queue.prepare([bench.pool])
      try await measure(bench)
    } catch {
      try await bench.remove()
      throw error
    }
    try await bench.remove()
  }

  private func measure(_ bench: QueueBench) async throws {
    let disk = URL(fileURLWithPath: disk, isDirectory: true)
    let flush = Way(name: "flushes") { try await Disk.flushesPerSecond(in: disk) }
    var table = Table("queue (per second)", ["kiln", "C loop", "share", "disk's flushes"])
    func add(_ name: String, _ ways: [Way]) async throws {
      let samples = try await interleaved(rounds: options.rounds, ways + [flush])
      table.add(
        name,
        [
          spread(samples[0]), spread(samples[1]), "\(short(100 * samples[0].median / samples[1].median)) %",
          spread(samples[2]),
        ])
    }
    for batch in [messages, 100] {
      let ahead = min(batch, bench.maxUnconfirmed)
      // Small batches wait for the broker each time: fewer will do.
      let count = batch < messages ? messages / 4 : messages
      try await add(
        batch < messages ? "publish, \(batch) at a time" : "publish \(grouped(batch)), \(grouped(ahead)) ahead",
        [
          Way(name: "kiln") { try await bench.publish(count, batch: batch) },
          Way(name: "C") { try await bench.publishInC(count, batch: batch, ahead: ahead) },
        ])
    }
    for slots in [1, 16] {
      let count = slots == 1 ? messages / 4 : messages
      try await add(
        "take and acknowledge, \(slots) slot\(slots == 1 ? "" : "s")",
        [
          Way(name: "kiln") { try await bench.take(count, slots: slots) },
          Way(name: "C") { try await bench.takeInC(count, slots: slots) },
        ])
    }
    table.print()
  }
}

struct QueueBench: Sendable {
  let pool = PoolName(text: "bench")
  let queue: AMQPJobQueue
  let maxUnconfirmed: Int
  private let url: String
  private let prefix: String
  private let loop: String
  private let effects: Effects

  init(url: String, prefix: String, loop: String, effects: Effects) throws {
    (self.url, self.prefix, self.loop, self.effects) = (url, prefix, loop, effects)
    let configuration = try AMQPConfiguration(url: url, role: .coordinator, namePrefix: prefix)
    maxUnconfirmed = configuration.maxUnconfirmed
    queue = AMQPJobQueue(configuration: configuration, effects: effects, logger: Logger.bench)
  }

  func remove() async throws {
    try await queue.remove([pool])
    await queue.close()
  }

  // MARK: Publishing

  /// The queue is empty again afterwards.
  func publish(_ count: Int, batch: Int) async throws -> Double {
    let batches = stride(from: 0, to: count, by: batch).map { first in
      (first..<min(first + batch, count)).map(message)
    }
    let taken = try await seconds { for batch in batches { try await send(batch) } }
    try await queue.purge(pool)
    return Double(count) / taken
  }

  func publishInC(_ count: Int, batch: Int, ahead: Int) async throws -> Double {
    let rate = try await inC(["publish", "\(prefix).jobs", pool.text, "\(count)", "\(batch)", "\(ahead)"])
    try await queue.purge(pool)
    return rate
  }

  private func send(_ messages: [JobMessage]) async throws {
    let outcomes = try await queue.publish(messages, to: pool, deadlineSeconds: 60)
    guard outcomes.count == messages.count, outcomes.values.allSatisfy({ $0 == .confirmed }) else {
      throw BenchError("not every message was confirmed")
    }
  }

  /// The C loop writes the same.
  private func message(_ number: Int) -> JobMessage {
    let digits = String(number)
    return JobMessage(job: JobID(text: String(repeating: "0", count: 26 - digits.count) + digits), dispatch: 1)
  }

  private func inC(_ arguments: [String]) async throws -> Double {
    let text = try await Tool.run(loop, arguments)
    guard let rate = Double(text.trimmingCharacters(in: .whitespacesAndNewlines)) else {
      throw BenchError("the C loop printed '\(text)'")
    }
    return rate
  }

  // MARK: Taking

  func take(_ count: Int, slots: Int) async throws -> Double {
    try await send((0..<count).map(message))
    let consumer = AMQPJobQueue(
      configuration: try AMQPConfiguration(url: url, role: .executor, namePrefix: prefix), effects: effects,
      logger: Logger.bench)
    let tally = Tally(count)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<slots {
        let slot = try await consumer.openSlot(on: pool)
        group.addTask {
          while let delivery = try await slot.next() {
            tally.begin()
            try await slot.acknowledge(delivery)
            // The slots that wait for more are told that there is none.
            if tally.end() { await consumer.close() }
          }
        }
      }
      try await group.waitForAll()
    }
    try await expectEmpty()
    return tally.rate
  }

  func takeInC(_ count: Int, slots: Int) async throws -> Double {
    try await send((0..<count).map(message))
    let rate = try await inC(["take", "\(prefix).jobs.\(pool).v1", "\(count)", "\(slots)"])
    try await expectEmpty()
    return rate
  }

  /// What was not acknowledged would be there again.
  private func expectEmpty() async throws {
    for _ in 0..<100 {
      let depth = try await queue.depth(of: pool)
      if depth.consumers == 0 {
        guard depth.ready == 0 else { throw BenchError("\(depth.ready) deliveries were not acknowledged") }
        return
      }
      try await effects.time.sleep(seconds: 0.02)
    }
    throw BenchError("consumers stay behind")
  }
}

/// Counts what all slots take, from the first delivery to the last acknowledgement.
private final class Tally: Sendable {
  private struct State {
    var began: ContinuousClock.Instant?
    var ended: ContinuousClock.Instant?
    var left: Int
  }

  private let state: Mutex<State>
  private let count: Int

  init(_ count: Int) {
    self.count = count
    state = Mutex(State(left: count))
  }

  func begin() {
    state.withLock { if $0.began == nil { $0.began = ContinuousClock().now } }
  }

  /// True for the last.
  func end() -> Bool {
    state.withLock {
      $0.left -= 1
      if $0.left == 0 { $0.ended = ContinuousClock().now }
      return $0.left == 0
    }
  }

  var rate: Double {
    state.withLock { state in
      guard let began = state.began, let ended = state.ended else { return 0 }
      return Double(count - 1) / ((ended - began) / .seconds(1))
    }
  }
}

extension Logger {
  /// Warnings are not expected: they are shown, on standard error.
  static var bench: Logger {
    var logger = Logger(label: "kiln-bench") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = .warning
    return logger
  }
}
