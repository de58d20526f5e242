import Foundation
import JobQueue
import Logging
import Model
import RecordStore
import TestSupport
import Testing

@testable import JobQueueAMQP

/// What is done to a farm of real services on purpose.
enum Fault: String, CaseIterable, Sendable {
  case executorKilled, executorStopped, coordinatorKilled
  case brokerKilled, brokerWiped, storeKilled, connectionsTerminated, registryKilled, engineKilled
  case poison
}

/// A farm whose daemons are started again by their names, on services that can be killed.
// Unchecked: `running` is only touched under `lock`.
final class FaultyFarm: @unchecked Sendable {
  let farm: TestFarm
  private let starts: [String: @Sendable () throws -> Process]
  private let lock = NSLock()
  private var running: [String: Process] = [:]
  private var poisoned = 0

  init(_ farm: TestFarm) throws {
    self.farm = farm
    starts = [
      "c1": { try farm.startCoordinator("c1", port: farm.ports[0]) },
      "c2": { try farm.startCoordinator("c2", port: farm.ports[1]) },
      "amd64-1": { try farm.startExecutor("amd64-1", pool: "amd64", engine: farm.engineA) },
      "amd64-2": { try farm.startExecutor("amd64-2", pool: "amd64", engine: farm.engineB) },
    ]
    for (name, start) in starts { running[name] = try start() }
  }

  private func process(_ name: String) throws -> Process {
    try #require(lock.withLock { running[name] })
  }

  /// No daemon ended but by our hand.
  func expectAllRun() {
    for (name, process) in lock.withLock({ running }) {
      #expect(process.isRunning, "\(name) ended with \(process.isRunning ? 0 : process.terminationStatus)")
    }
  }

  private func restart(_ name: String) throws {
    let victim = try process(name)
    kill(victim.processIdentifier, SIGKILL)
    victim.waitUntilExit()
    guard let start = starts[name] else { return }
    let new = try start()
    lock.withLock { running[name] = new }
  }

  /// Applied and over when it returns: what was killed runs again.
  func apply(_ fault: Fault) async throws {
    switch fault {
    case .executorKilled: try restart("amd64-2")
    case .executorStopped:
      // Longer than its lease.
      let victim = try process("amd64-1").processIdentifier
      kill(victim, SIGSTOP)
      try await Task.sleep(for: .seconds(40))
      kill(victim, SIGCONT)
    case .coordinatorKilled: try restart("c1")
    case .brokerKilled: try await services(kill: "rabbitmq")
    case .brokerWiped: try await services(kill: "rabbitmq", wiping: "rabbitmq/base")
    case .storeKilled: try await services(kill: "postgres")
    case .connectionsTerminated: try await farm.terminateConnections()
    case .registryKilled: try await services(kill: "registry")
    case .engineKilled: try await services(kill: "engine-a")
    case .poison: try await poison(20)
    }
  }

  private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  private func services(kill name: String, wiping folder: String? = nil) async throws {
    try await services("kill", name)
    if let folder { try FileManager.default.removeItem(at: Self.root.appendingPathComponent(".farm/\(folder)")) }
    try await services("up", name)
  }

  /// Foundation takes a program for running while anything that it started holds a descriptor of its own; what
  /// Python starts gets none of them.
  private func services(_ words: String...) async throws {
    let script = Self.root.appendingPathComponent("scripts/services").path
    let closing = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    let result = try await farm.kiln.run(
      ["-c", closing, script] + words, program: URL(fileURLWithPath: "/usr/bin/python3"))
    #expect(result.status == 0, "\(result.errors)")
  }

  /// Messages that nobody understands, each another one.
  private func poison(_ count: Int) async throws {
    let url = try Services.require("KILN_TEST_AMQP_URL")
    let configuration = try AMQPConfiguration(url: url, role: .coordinator)
    let queue = AMQPJobQueue(
      configuration: configuration, effects: .system(),
      logger: Logger(label: "poison") { _ in SwiftLogNoOpLogHandler() })
    let names = AMQPNames(prefix: configuration.namePrefix)
    let batch = PublishBatch(
      (0..<count).map { number in
        OutgoingMessage(
          exchange: names.jobs, routingKey: farm.pool("amd64").text, identifier: "poison-\(number)",
          body: Array("poison \(UUID())".utf8))
      }, deadlineSeconds: queue.effects.time.monotonicSeconds() + 10)
    await queue.publisher.submit(batch)
    let outcomes = try await batch.outcomes()
    await queue.close()
    #expect(outcomes.count == count)
    lock.withLock { poisoned += count }
  }

  /// A build of a catalog of its own that is in the middle of its first step: nobody answers the step until
  /// `release`.
  func buildHeld(_ number: Int) async throws -> (catalog: TestCatalog, build: Task<BuildDetail, any Error>) {
    let catalog = try await farm.anotherCatalog(number)
    farm.counter.hold("\(catalog.run)-core")
    let (kiln, folder) = (farm.kiln, catalog.folder.path)
    let build = Task { try await kiln.json(["submit", "--wait", "--json", "--catalog", folder], as: BuildDetail.self) }
    try await eventually("a step of catalog \(number) runs") {
      farm.counter.waiting.contains { $0.hasPrefix("\(catalog.run)-core") }
    }
    return (catalog, build)
  }

  /// Nothing lost, nothing twice: each job succeeded in one attempt, every attempt has ended, each layer's step
  /// ran at most once for each attempt at it, and all that is recorded pulls.
  func expectWell(_ build: BuildDetail, of catalog: TestCatalog) async throws {
    #expect(build.summary.state == .passed, "\(build.summary)")
    var layers: Set<LayerKey> = []
    let counts = farm.counter.all
    for job in build.jobs {
      let detail: JobDetail = try await farm.get("jobs/\(job.id)")
      #expect(detail.attempts.count { $0.outcome == "succeeded" } == 1, "\(detail)")
      #expect(detail.attempts.allSatisfy { $0.endedAt != nil }, "\(detail)")
      guard let layer = detail.layer else { continue }
      #expect(layers.insert(layer).inserted, "a second job for \(detail.summary.title)")
      let count = try #require(counts[catalog.counterName(detail.summary.title)])
      #expect((1...detail.attempts.count).contains(count), "\(detail.summary.title): \(count)")
    }
    #expect(layers.count == 4)
  }

  /// Nothing is dead but what was poison.
  func expectLetters() async throws {
    let poisoned = lock.withLock { self.poisoned }
    try await eventually("all poison is kept") {
      let groups: [DeadLetterGroup] = try await farm.get("dead-letters/groups")
      return groups.map(\.count) == (poisoned == 0 ? [] : [poisoned])
    }
    let groups: [DeadLetterGroup] = try await farm.get("dead-letters/groups")
    #expect(groups.allSatisfy { $0.fingerprint == DeadLetterGroup.undecodable }, "\(groups)")
  }
}
