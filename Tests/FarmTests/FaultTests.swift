import Foundation
import Model
import RecordStore
import TestSupport
import Testing

/// Faults on real services, each while a step of a build runs: the build passes, and nothing is done twice.
@Suite("Faults", .serialized, .timeLimit(.minutes(15)))
struct FaultTests {
  struct Fault: Sendable {
    let name: String
    let apply: @Sendable (FaultyFarm) async throws -> Void

    init(_ name: String, _ apply: @escaping @Sendable (FaultyFarm) async throws -> Void) {
      (self.name, self.apply) = (name, apply)
    }
  }

  /// Those of one round happen one after the other to the same build.
  static let rounds: [[Fault]] = [
    [
      Fault("an executor is killed") { try $0.restart("amd64-2") },
      Fault("a coordinator is killed") { try $0.restart("c1") },
      Fault("the broker is killed") { _ in try await FaultyFarm.services(kill: "rabbitmq") },
      Fault("messages are poison") { try await $0.poison(20) },
      Fault("connections to the store are cut") { try await $0.farm.terminateConnections() },
      // Last: a daemon whose engine or store goes away while it starts gives up, to be started again.
      Fault("whoever runs the step is told to stop") { try await $0.tellToStop(try await $0.holder()) },
    ],
    [
      Fault("an engine is killed") { _ in try await FaultyFarm.services(kill: "engine-a") },
      Fault("the store is stopped at once") { _ in try await FaultyFarm.services(kill: "postgres") },
      Fault("the registry is killed") { _ in try await FaultyFarm.services(kill: "registry") },
    ],
    [
      Fault("the broker loses its data") { _ in try await FaultyFarm.services(kill: "rabbitmq", wiping: "rabbitmq/base")
      },
      Fault("an executor stands still for longer than its lease") { try await $0.stop("amd64-1", seconds: 40) },
    ],
  ]

  @Test("one of each: whatever is killed in the middle of a step, each build passes")
  func oneOfEach() async throws {
    let farm = try await TestFarm(run: "faults", platforms: ["linux/amd64"], attempts: 100)
    do {
      try await oneOfEach(farm)
    } catch {
      await farm.end(failed: true)
      throw error
    }
    await farm.end(failed: false)
  }

  private func oneOfEach(_ farm: TestFarm) async throws {
    try await farm.watchInvariants()
    let faulty = FaultyFarm(
      farm, executors: [("amd64-1", farm.engineA, [:]), ("amd64-2", farm.engineB, [:])])
    try faulty.startAll()
    try await farm.waitForCoordinators()
    for (number, faults) in Self.rounds.enumerated() {
      let (_, build) = try await submitHeld(number, farm)
      for fault in faults {
        do {
          try await fault.apply(faulty)
        } catch {
          Issue.record(error, "\(fault.name)")
          throw error
        }
      }
      farm.counter.release()
      let detail = try await build.value
      #expect(detail.summary.state == .passed, "\(detail.summary)")
      faulty.expectAllRun()
    }
    try await eventually("all effects are done") { try await farm.rows("SELECT 1 FROM outbox").isEmpty }
    try await farm.expectInvariants()
    try await faulty.expectNoStepTooMany()
    try await faulty.expectLetters()
    try await farm.expectTags()
    try await farm.expectRecordsPull(count: 3 * Self.rounds.count)
  }

  /// A build of one more catalog, in the middle of its first step: nobody answers the step until it is released.
  private func submitHeld(_ number: Int, _ farm: TestFarm) async throws -> (TestCatalog, Task<BuildDetail, any Error>) {
    let catalog = try await farm.anotherCatalog(number)
    farm.counter.hold("\(catalog.run)-core")
    let (kiln, folder) = (farm.kiln, catalog.folder.path)
    let build = Task {
      try await kiln.json(["submit", "--wait", "--json", "--catalog", folder], as: BuildDetail.self)
    }
    try await eventually("a step of catalog \(number) runs") {
      farm.counter.waiting.contains { $0.hasPrefix("\(catalog.run)-core") }
    }
    return (catalog, build)
  }

  // MARK: Disks and engines

  @Test("full disks, engines killed while they export and push, a clock that is an hour off: each build passes")
  func disksAndEngines() async throws {
    let clock = try WrongClock()
    defer { clock.end() }
    let disks = try await SmallDisks()
    let farm = try await TestFarm(
      run: "disks", platforms: ["linux/amd64"], attempts: 100, tablespace: SmallDisks.tablespace)
    var failure: (any Error)?
    do { try await disksAndEngines(farm, disks, clock) } catch { failure = error }
    await farm.end(failed: failure != nil)
    do { try await disks.remove() } catch { failure = failure ?? error }
    if let failure { throw failure }
  }

  private func disksAndEngines(_ farm: TestFarm, _ disks: SmallDisks, _ clock: WrongClock) async throws {
    try await farm.watchInvariants()
    let home = ["KILN_HOME": disks.executor.path]
    let executors = [
      (name: "amd64-1", engine: farm.engineA, adding: home),
      (name: "amd64-2", engine: farm.engineB, adding: home.merging(clock.environment) { $1 }),
    ]
    let faulty = FaultyFarm(farm, executors: executors)
    try faulty.startAll()
    try await farm.waitForCoordinators()
    // Each with a step in hand, which goes on meanwhile.
    let faults: [(String, (_ step: String, _ goOn: () -> Void) async throws -> Void)] = [
      (
        "disk of the executors",
        { _, goOn in try await disks.whileFull(disks.executor) { try await Self.giveTime(goOn) } }
      ),
      (
        "disk of the registry",
        { _, goOn in try await disks.whileFull(disks.registry) { try await Self.giveTime(goOn) } }
      ),
      ("disk of the store", { _, goOn in try await disks.whileFull(disks.store) { try await Self.giveTime(goOn) } }),
      // The step takes one more second; then comes the export, then the push.
      ("export", { _, goOn in try await Self.killEngine(faulty, after: 1.2, goOn) }),
      ("push", { _, goOn in try await Self.killEngine(faulty, after: 1.7, goOn) }),
      (
        "a step that outlives its engine",
        { step, goOn in
          let engine = try await Self.engine(faulty)
          try await FaultyFarm.services("kill", engine)
          try await FaultyFarm.services("up", "--keep-orphans", engine)
          try await eventually("the step runs again, and what was left of it is ended", seconds: 90) {
            farm.counter.all[step] == 2 && farm.counter.waiting.count == 1
          }
          goOn()
        }
      ),
    ]
    for (number, (name, apply)) in faults.enumerated() {
      let (catalog, build) = try await submitHeld(number, farm)
      try await apply("\(catalog.run)-core-x86_64") { farm.counter.release() }
      let detail = try await build.value
      #expect(detail.summary.state == .passed, "\(name): \(detail.summary)")
      faulty.expectAllRun()
    }
    let failed = try await farm.rows(
      "SELECT DISTINCT failure::json->>'failureClass' FROM attempts WHERE outcome = 'failed'")
    #expect(failed == [["infrastructure"]], "\(failed)")
    try await eventually("all effects are done") { try await farm.rows("SELECT 1 FROM outbox").isEmpty }
    try await farm.expectInvariants()
    try await faulty.expectNoStepTooMany()
    try await faulty.expectLetters()
    try await farm.expectTags()
    try await farm.expectRecordsPull(count: 3 * faults.count)
    try faulty.expectAnHourOff("amd64-2", since: began)
  }

  private static func giveTime(_ goOn: () -> Void) async throws {
    goOn()
    // Long enough for an attempt to end in vain; what is refused leaves no trace that could be waited for.
    try await Task.sleep(for: .seconds(6))
  }

  /// Whose step is in hand.
  private static func engine(_ faulty: FaultyFarm) async throws -> String {
    try await faulty.holder() == "amd64-1" ? "engine-a" : "engine-b"
  }

  private static func killEngine(_ faulty: FaultyFarm, after seconds: Double, _ goOn: () -> Void) async throws {
    let engine = try await engine(faulty)
    goOn()
    // Nothing outside tells when a builder exports or pushes.
    try await Task.sleep(for: .seconds(seconds))
    try await FaultyFarm.services(kill: engine)
  }

  private let began = Date()

  // MARK: The broker's patience

  @Test("a build that outlasts the broker's acknowledgement time-out succeeds once")
  func outlastsTheBrokersPatience() async throws {
    let farm = try await TestFarm(run: "patience", platforms: ["linux/amd64"])
    let faulty = FaultyFarm(
      farm, executors: [("amd64-1", farm.engineA, [:]), ("amd64-2", farm.engineB, [:])])
    var failure: (any Error)?
    do {
      try await FaultyFarm.services(kill: "rabbitmq", setting: ["BROKER_PATIENCE_MS": "2000"])
      try await outlastTheBroker(farm, faulty)
    } catch {
      failure = error
    }
    // Before the restart: a broker that has just begun may lose all its queues where one is deleted.
    await farm.end(failed: failure != nil)
    do { try await FaultyFarm.services(kill: "rabbitmq") } catch { failure = failure ?? error }
    if let failure { throw failure }
  }

  private func outlastTheBroker(_ farm: TestFarm, _ faulty: FaultyFarm) async throws {
    try await farm.watchInvariants()
    try faulty.startAll()
    try await farm.waitForCoordinators()
    farm.counter.hold("-core")
    let build = Task { try await farm.submit() }
    try await eventually("the broker takes the delivery back") {
      try ["amd64-1", "amd64-2"].contains { try faulty.log(of: $0).contains("the broker closed a slot's channel") }
    }
    // Whoever gets it now finds the job taken.
    try await Task.sleep(for: .seconds(4))
    farm.counter.release()
    let detail = try await build.value
    #expect(detail.summary.state == .passed)
    #expect(farm.counter.all.values.allSatisfy { $0 == 1 }, "\(farm.counter.all)")
    let attempts = try await farm.rows("SELECT outcome FROM attempts")
    #expect(attempts == Array(repeating: ["succeeded"], count: detail.jobs.count))
    try await eventually("all effects are done") { try await farm.rows("SELECT 1 FROM outbox").isEmpty }
    try await farm.expectInvariants()
    faulty.expectAllRun()
  }
}
