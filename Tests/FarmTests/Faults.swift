import Foundation
import JobQueue
import Logging
import Model
import RecordStore
import TestSupport
import Testing

@testable import JobQueueAMQP

/// A farm whose daemons are started again by their names, on services that can be killed.
// Unchecked: all that varies is only touched under `lock`.
final class FaultyFarm: @unchecked Sendable {
  let farm: TestFarm
  /// Of the coordinators.
  let addresses: [String]
  private let starts: [String: @Sendable ([String: String]) throws -> Process]
  private let lock = NSLock()
  private var running: [String: Process] = [:]
  /// By what they are known in the store.
  private var poisoned: Set<String> = []

  /// Coordinators `c1`, `c2` and so on, executors by their names, each with what its environment has besides.
  /// Nothing runs yet.
  init(_ farm: TestFarm, coordinators: Int = 2, executors: [(name: String, engine: String, adding: [String: String])]) {
    self.farm = farm
    var starts: [String: @Sendable ([String: String]) throws -> Process] = [:]
    // The last one is whom the farm's own clients ask.
    let ports = (0..<coordinators - 1).map { farm.ports[0] + 2 * $0 } + [farm.ports[1]]
    addresses = ports.map { "http://127.0.0.1:\($0)" }
    for (number, port) in zip(1..., ports) {
      starts["c\(number)"] = { try farm.startCoordinator("c\(number)", port: port, adding: $0) }
    }
    for (name, engine, adding) in executors {
      starts[name] = {
        try farm.startExecutor(name, pool: "amd64", engine: engine, adding: adding.merging($0) { _, new in new })
      }
    }
    self.starts = starts
  }

  // MARK: Daemons

  func startAll() throws { for name in starts.keys.sorted() { try start(name) } }

  func start(_ name: String, adding: [String: String] = [:]) throws {
    let launch = try #require(starts[name], "no daemon is called \(name)")
    let process = try launch(adding)
    lock.withLock { running[name] = process }
  }

  func process(_ name: String) throws -> Process { try #require(lock.withLock { running[name] }) }

  /// All that a daemon has said so far, in all its lives.
  func log(of name: String) throws -> String {
    let file = addresses.indices.contains { name == "c\($0 + 1)" } ? "\(name).log" : "executor-\(name).log"
    return try String(contentsOf: farm.kiln.folder.appendingPathComponent(file), encoding: .utf8)
  }

  /// No daemon ended but by our hand.
  func expectAllRun() {
    for (name, process) in lock.withLock({ running }) {
      #expect(process.isRunning, "\(name) ended with \(process.isRunning ? 0 : process.terminationStatus)")
    }
  }

  func end(_ name: String) throws {
    let victim = try process(name)
    guard victim.isRunning else { return }
    kill(victim.processIdentifier, SIGKILL)
    victim.waitUntilExit()
  }

  func restart(_ name: String) throws {
    try end(name)
    try start(name)
  }

  /// Which executor runs something.
  func holder() async throws -> String {
    let row = try await farm.rows("SELECT executor FROM jobs WHERE state = 'running'").first
    let executor = try #require(row?.first)
    return try #require(lock.withLock { running.keys.first { executor.hasPrefix($0 + "-") } })
  }

  /// As systemd does; it runs again when it has ended well.
  func tellToStop(_ name: String) async throws {
    let process = try process(name)
    process.terminate()
    try await eventually("\(name) has ended", seconds: 30) { !process.isRunning }
    #expect(process.terminationReason == .exit && process.terminationStatus == 0)
    try start(name)
  }

  /// Stopped, as a machine that swaps or is suspended.
  func stop(_ name: String, seconds: Double) async throws {
    let victim = try process(name).processIdentifier
    kill(victim, SIGSTOP)
    try? await Task.sleep(for: .seconds(seconds))
    kill(victim, SIGCONT)
  }

  func expectAnHourOff(_ name: String, since began: Date) throws {
    let first = try #require(ISO8601DateFormatter().date(from: log(of: name).prefix(19) + "Z"))
    #expect(first.timeIntervalSince(began) > 3000, "the clock of \(name) was right: \(first)")
  }

  // MARK: Services

  /// Runs again when it returns.
  static func services(kill name: String, wiping folder: String? = nil, setting: [String: String] = [:]) async throws {
    try await services("kill", name)
    if let folder { try FileManager.default.removeItem(at: root.appendingPathComponent(".farm/\(folder)")) }
    try await services("up", name, setting: setting)
  }

  /// A program counts as running while anything that it started holds a descriptor of its own; what Python starts
  /// gets none of them.
  static func services(_ words: String..., setting: [String: String] = [:]) async throws {
    let script = root.appendingPathComponent("scripts/services").path
    let closing = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    try await OutsideTool("python3", environment: setting).run(["-c", closing, script] + words)
  }

  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  // MARK: Messages

  /// Messages that nobody understands, each another one; they are in the store when it returns. One that a
  /// broker lost with its data is sent again.
  func poison(_ count: Int) async throws {
    let bodies = (0..<count).map { _ in "poison \(UUID())" }
    let letters = bodies.map { "bytes:\(Digest(of: $0).hex)" }
    lock.withLock { poisoned.formUnion(letters) }
    let listed = letters.map { "'\($0)'" }.joined(separator: ", ")
    while true {
      try? await send(bodies.map { Array($0.utf8) })
      for _ in 0..<20 {
        try await Task.sleep(for: .milliseconds(500))
        let known = try? await farm.rows("SELECT identifier FROM dead_letters WHERE identifier IN (\(listed))")
        if known?.count == count { return }
      }
    }
  }

  /// Puts messages into the pool's queue past every coordinator.
  func send(_ bodies: [[UInt8]]) async throws {
    let configuration = try AMQPConfiguration(url: Services.require("KILN_TEST_AMQP_URL"), role: .coordinator)
    let queue = AMQPJobQueue(
      configuration: configuration, effects: .system(),
      logger: Logger(label: "outsider") { _ in SwiftLogNoOpLogHandler() })
    let names = AMQPNames(prefix: configuration.namePrefix)
    let batch = PublishBatch(
      bodies.enumerated().map { number, body in
        OutgoingMessage(
          exchange: names.jobs, routingKey: farm.pool("amd64").text, identifier: "outsider-\(number)", body: body)
      }, deadlineSeconds: queue.effects.time.monotonicSeconds() + 10)
    await queue.publisher.submit(batch)
    _ = try await batch.outcomes()
    await queue.close()
  }

  /// Nothing waits for a person but what was poison.
  func expectLetters() async throws {
    let poisoned = lock.withLock { self.poisoned }
    let open = try await farm.rows("SELECT identifier FROM dead_letters WHERE state = 'open'")
    #expect(Set(open.map { $0[0] }) == poisoned)
    let groups: [DeadLetterGroup] = try await farm.get("dead-letters/groups")
    #expect(groups.map(\.count) == (poisoned.isEmpty ? [] : [poisoned.count]))
    #expect(groups.allSatisfy { $0.fingerprint == DeadLetterGroup.undecodable }, "\(groups)")
  }

  // MARK: Layers

  /// No step ran but in an attempt that the store knows, and once in each: counted where the steps run. An attempt
  /// that met a damaged cache says in its log that it built once more.
  func expectNoStepTooMany() async throws {
    var attempts: [String: Int] = [:]
    for row in try await farm.rows(
      """
      SELECT substring(s.spec FROM '127[.]0[.]0[.]1:\(farm.counter.port)/([0-9A-Za-z]+)-'), j.title, max(j.generation),
        count(a.attempt) + (SELECT count(*) FROM evidence e WHERE e.job_id = min(j.id)
          AND position('building once more without it' IN encode(e.bytes, 'escape')) > 0)
      FROM jobs j JOIN job_specs s ON s.job_id = j.id JOIN attempts a ON a.job_id = j.id
      WHERE j.layer_key IS NOT NULL GROUP BY 1, j.title, j.layer_key
      """)
    {
      #expect(row[2] == "1", "a layer was built again: \(row)")
      attempts["\(row[0])-\(TestCatalog.stepName(row[1]))", default: 0] += Int(row[3]) ?? 0
    }
    let begun = farm.counter.all
    #expect(!begun.isEmpty && begun.keys.sorted() == attempts.keys.sorted())
    for (name, count) in begun {
      #expect(count <= attempts[name] ?? 0, "\(name) ran \(count) times in \(attempts[name] ?? 0) attempts")
    }
  }
}
