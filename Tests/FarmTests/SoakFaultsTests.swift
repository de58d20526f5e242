import Foundation
import Invariants
import JobQueue
import Model
import RecordStore
import Synchronization
import TestSupport
import Testing

/// `make soak`: every fault of docs/failure-modes.md that comes from outside, hundreds of times, one kind after
/// the other and in the end all at the same time, while builds are submitted one after the other. It waits for
/// processes of others by looking again: nothing there tells it.
@Suite("Soak: faults", .serialized, .timeLimit(.minutes(120)))
struct SoakFaultsTests {
  @Test("whatever is done to a farm, and however often: nothing is lost, done twice or written late")
  func everything() async throws {
    let seed = try #require(UInt64(try Services.require("KILN_TEST_SEED")))
    let clock = try WrongClock()
    defer { clock.end() }
    let disks = try await SmallDisks()
    let farm = try await TestFarm(
      run: "soak", platforms: ["linux/amd64"], attempts: 100, tablespace: SmallDisks.tablespace)
    do {
      try await farm.watchInvariants()
      try await Soak(farm, disks, clock, SeededRandom(seed: seed)).run()
    } catch {
      // Whatever was down for a fault: what is to be removed needs it.
      try? await FaultyFarm.services("up")
      await farm.end(failed: true)
      try? await disks.remove()
      throw error
    }
    await farm.end(failed: false)
    try await disks.remove()
  }
}

private final class Soak: Sendable {
  enum Fault: String, CaseIterable {
    case executorKilled = "executor killed"
    case executorAtFailpoint = "executor killed at a failpoint"
    case coordinatorAtFailpoint = "coordinator killed at a failpoint"
    case executorStopped = "executor stopped for longer than its lease"
    case brokerKilled = "broker killed"
    case brokerWiped = "broker killed, its data wiped"
    case storeStopped = "store stopped in immediate mode"
    case connectionsCut = "connections to the store terminated"
    case registryKilled = "registry killed"
    case engineInStep = "engine killed during RUN"
    case engineInExport = "engine killed during export"
    case engineInPush = "engine killed during push"
    case executorDiskFull = "disk of an executor full"
    case registryDiskFull = "disk of the registry full"
    case storeDiskFull = "disk of the store full"
    case poison = "message that nobody understands"
    case duplicate = "message sent again"
  }

  static let coordinatorPoints = Failpoint.allCases.filter { !$0.rawValue.hasPrefix("attempt.") }
  static let executorPoints = Failpoint.allCases.filter { $0.rawValue.hasPrefix("attempt.") }

  /// What is done beside each other, and how often, until there was enough of all of it.
  private struct Phase: Sendable {
    let name: String
    let wanted: [Fault: Int]
    /// Each of them at least so often.
    var points: [Failpoint] = []
    var timesAtEachPoint = 0
    let tasks: [@Sendable (Soak) async throws -> Void]
  }

  /// One kind after the other, so that work goes on and each kind meets it in all its states; in the end all
  /// kinds at the same time.
  private static let phases: [Phase] = [
    Phase(
      name: "executors", wanted: [.executorAtFailpoint: 100, .executorStopped: 50], points: executorPoints,
      timesAtEachPoint: 10,
      tasks: [{ try await $0.runLate() }] + Soak.armed.map { name in { try await $0.armExecutors(name) } } + stoppers),
    Phase(name: "broker", wanted: [.brokerKilled: 18, .brokerWiped: 3], tasks: [{ try await $0.harmBroker() }]),
    Phase(
      name: "store and registry", wanted: [.storeStopped: 9, .connectionsCut: 9, .registryKilled: 9],
      tasks: [{ try await $0.harmStore() }, { try await $0.harmRegistry() }]),
    Phase(
      name: "engines", wanted: [.engineInStep: 9, .engineInExport: 9, .engineInPush: 9],
      tasks: [{ try await $0.killEngines() }]),
    Phase(
      name: "disks", wanted: [.executorDiskFull: 5, .registryDiskFull: 5, .storeDiskFull: 5],
      tasks: [{ try await $0.fillDisks() }]),
    Phase(
      name: "coordinators and messages", wanted: [.executorKilled: 90, .poison: 100, .duplicate: 900],
      points: coordinatorPoints, timesAtEachPoint: 20,
      tasks: [
        { try await $0.armCoordinators("c1") }, { try await $0.armCoordinators("c2") },
        { try await $0.armCoordinators("c3") }, { try await $0.killExecutors() }, { try await $0.sendMessages() },
      ]),
    Phase(
      name: "all at once",
      wanted: [
        .executorKilled: 10, .executorAtFailpoint: 3, .coordinatorAtFailpoint: 5, .executorStopped: 4,
        .brokerKilled: 2, .storeStopped: 1, .connectionsCut: 1, .registryKilled: 1, .engineInStep: 1,
        .engineInExport: 1, .engineInPush: 1, .executorDiskFull: 1, .registryDiskFull: 1, .storeDiskFull: 1,
        .poison: 4, .duplicate: 40,
      ],
      tasks: [
        { try await $0.armCoordinators("c1") }, { try await $0.armCoordinators("c2") },
        { try await $0.killExecutors() }, { try await $0.sendMessages() }, { try await $0.harmBroker() },
        { try await $0.harmStore() }, { try await $0.harmRegistry() }, { try await $0.killEngines() },
        { try await $0.fillDisks() },
      ] + Soak.armed.map { name in { try await $0.armExecutors(name) } } + stoppers),
  ]
  private static let stoppers: [@Sendable (Soak) async throws -> Void] = stopped.map { name in
    { try await $0.stopExecutor(name) }
  }

  private let farm: TestFarm
  private let faulty: FaultyFarm
  private let disks: SmallDisks
  private let random: SeededRandom
  /// Names of phases, while one of them is worked on; otherwise all, and what they counted is written.
  private let chosen = ProcessInfo.processInfo.environment["KILN_TEST_PHASES"]?.split(separator: ",").map(String.init)
  private let began = Date()
  private let state = Mutex(State())

  private struct State {
    var counts: [Fault: Int] = [:]
    var reached: [Failpoint: Int] = [:]
    var accepted: Set<BuildID> = []
    var ended = 0
    /// Of the phase that goes on: what the counts must come to.
    var target: [Fault: Int] = [:]
    var points: [Failpoint] = []
    var timesAtEachPoint = 0
    var isPhaseOver = false
    var isOver = false
    /// Daemons that a fault's task starts and ends by itself.
    var owned: Set<String> = []
    var catalogs = 0
    /// Built, and there to be submitted again.
    var built: [TestCatalog] = []
    var keys = 0
  }

  init(_ farm: TestFarm, _ disks: SmallDisks, _ clock: WrongClock, _ random: SeededRandom) {
    (self.farm, self.disks, self.random) = (farm, disks, random)
    let engines = [farm.engineA, farm.engineB]
    var executors: [(name: String, engine: String, adding: [String: String])] = []
    for (index, name) in Self.executors.enumerated() {
      let adding = name == "full" ? ["KILN_HOME": disks.executor.path] : [:]
      executors.append((name, engines[index % 2], Self.bare.merging(adding) { $1 }))
    }
    executors.append(("late", farm.engineA, Self.bare.merging(clock.environment) { $1 }))
    faulty = FaultyFarm(farm, coordinators: 3, executors: executors)
  }

  private static let armed = ["armed-1", "armed-2"]
  private static let stopped = ["stopped-1", "stopped-2", "stopped-3", "stopped-4"]
  private static let executors = armed + stopped + ["full", "steady-1", "steady-2", "steady-3", "steady-4"]
  /// Without SBOMs, which cost more processor time than the builds.
  private static let bare = ["KILN_SYFT": "", "PATH": "/usr/local/bin:/usr/bin:/bin"]

  // MARK: The whole

  func run() async throws {
    for name in ["c1", "c2", "c3"] + Self.executors { try faulty.start(name) }
    try await farm.waitForCoordinators()
    let began = ContinuousClock.now
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<8 { group.addTask { try await self.submitBuilds() } }
      for _ in 0..<4 { group.addTask { try await self.submitAgain() } }
      group.addTask { try await self.supervise() }
      group.addTask {
        for phase in Self.phases where self.chosen?.contains(phase.name) ?? true { try await self.go(through: phase) }
        self.state.withLock { $0.isOver = true }
      }
      try await group.waitForAll()
    }
    let minutes = Int((ContinuousClock.now - began) / .seconds(60))
    try await FaultyFarm.services("up")
    try await eventually("all that was accepted ends", seconds: 600) {
      try await farm.rows(Invariants.openWork).isEmpty
    }
    try await expectWell()
    if chosen == nil { try await write(minutes: minutes) }
  }

  private func go(through phase: Phase) async throws {
    let began = ContinuousClock.now
    state.withLock { state in
      state.target = phase.wanted
      for (fault, count) in state.counts { state.target[fault]? += count }
      (state.points, state.timesAtEachPoint, state.isPhaseOver) = (phase.points, phase.timesAtEachPoint, false)
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for task in phase.tasks { group.addTask { try await task(self) } }
      group.addTask { await self.report(phase.name) }
      try await group.waitForAll()
    }
    print("\(phase.name): \(Int((ContinuousClock.now - began) / .seconds(1))) s")
  }

  private var isOver: Bool { state.withLock { $0.isOver } }
  private var isPhaseOver: Bool { state.withLock { $0.isPhaseOver } }

  /// Counts a fault that is over. When there were enough of each, the phase's tasks end.
  private func count(_ fault: Fault, _ many: Int = 1) {
    state.withLock { state in
      state.counts[fault, default: 0] += many
      state.isPhaseOver =
        state.target.allSatisfy { state.counts[$0] ?? 0 >= $1 }
        && state.points.allSatisfy { state.reached[$0] ?? 0 >= state.timesAtEachPoint }
    }
  }

  /// Shorter where the phase ends.
  private func pause(_ seconds: ClosedRange<Double>) async {
    let end = ContinuousClock.now.advanced(
      by: .seconds(seconds.lowerBound + (seconds.upperBound - seconds.lowerBound) * random.fraction()))
    while ContinuousClock.now < end, !isPhaseOver { try? await Task.sleep(for: .milliseconds(100)) }
  }

  private func report(_ phase: String) async {
    while !isPhaseOver {
      await pause(30...30)
      let state = state.withLock { $0 }
      let missing = state.target.compactMap { fault, wanted in
        let there = state.counts[fault] ?? 0
        return there < wanted ? "\(fault.rawValue) \(there)/\(wanted)" : nil
      }
      let points = state.points.compactMap { point in
        let there = state.reached[point] ?? 0
        return there < state.timesAtEachPoint ? "\(point.rawValue) \(there)" : nil
      }
      print("\(phase), \(state.ended) builds; to do: \((missing.sorted() + points).joined(separator: ", "))")
    }
  }

  /// While `work` goes on, nobody else starts or ends these.
  private func owning(_ names: [String], _ work: () async throws -> Void) async throws {
    state.withLock { $0.owned.formUnion(names) }
    try await work()
    for name in names { try faulty.restart(name) }
    state.withLock { $0.owned.subtract(names) }
  }

  // MARK: Builds

  private func submitBuilds() async throws {
    while !isOver {
      let number = state.withLock { state in
        state.catalogs += 1
        return state.catalogs
      }
      let catalog = try TestCatalog(
        in: farm.kiln.folder, base: "\(farm.registry)/base", port: farm.counter.port, run: "\(number)",
        platforms: ["linux/amd64"])
      while try await farm.kiln.run(["lock", "--catalog", catalog.folder.path]).status != 0 {
        try await Task.sleep(for: .seconds(1))
      }
      try await submit(catalog)
      state.withLock { $0.built.append(catalog) }
    }
  }

  /// What was built needs no executor: it is settled, and its tags move.
  private func submitAgain() async throws {
    while !isOver {
      let built = state.withLock { $0.built }
      if built.isEmpty {
        try await Task.sleep(for: .seconds(1))
      } else {
        try await submit(built[Int(random.fraction() * Double(built.count))])
      }
    }
  }

  /// Until it has ended, one way or the other; how is asked for when all is calm.
  private func submit(_ catalog: TestCatalog) async throws {
    let key = state.withLock { state in
      state.keys += 1
      return "key-\(state.keys)"
    }
    struct Reply: Decodable {
      struct Build: Decodable { var id: BuildID }
      var build: Build
    }
    var build: BuildID?
    while build == nil {
      // As a client does: the same key, until there is an answer, from whichever coordinator.
      let address = faulty.addresses[Int(random.fraction() * 3)]
      let words = ["submit", "--json", "--key", key, "--coordinator", address, "--catalog", catalog.folder.path]
      build = try? await farm.kiln.json(words, as: Reply.self).build.id
      if build == nil { try await Task.sleep(for: .milliseconds(300)) }
    }
    let id = try #require(build)
    _ = state.withLock { $0.accepted.insert(id) }
    let ended = "SELECT 1 FROM builds WHERE id = '\(id)' AND state NOT IN ('accepted', 'running', 'publishing')"
    while (try? await farm.rows(ended))?.isEmpty ?? true { try await Task.sleep(for: .seconds(3)) }
    // Nobody waits for an hour to be told.
    let failed = try? await farm.rows("SELECT problem FROM builds WHERE id = '\(id)' AND state = 'failed'")
    try #require(failed?.isEmpty ?? true, "build \(id) failed: \(failed ?? [])")
    state.withLock { $0.ended += 1 }
  }

  // MARK: Faults

  /// Any that is nobody's, every other time one that has work; it is started again by `supervise`.
  private func killExecutors() async throws {
    let running = "SELECT executor FROM jobs WHERE state = 'running' AND executor IS NOT NULL ORDER BY random()"
    while !isPhaseOver {
      await pause(2...6)
      let owned = state.withLock { $0.owned }
      let candidates = Self.executors.filter { !owned.contains($0) }
      var victim = candidates[Int(random.fraction() * Double(candidates.count))]
      if random.fraction() < 0.5 {
        let busy = (try? await farm.rows(running))?.compactMap { row in
          candidates.first { row[0].hasPrefix("\($0)-") }
        }
        guard let first = busy?.first else { continue }
        victim = first
      }
      guard try faulty.process(victim).isRunning else { continue }
      try faulty.end(victim)
      count(.executorKilled)
    }
  }

  private func armExecutors(_ name: String) async throws {
    try await owning([name]) {
      while !isPhaseOver {
        if try await dies(name, at: open(Self.executorPoints)) { count(.executorAtFailpoint) }
      }
    }
  }

  private func armCoordinators(_ name: String) async throws {
    try await owning([name]) {
      while !isPhaseOver {
        if try await dies(name, at: open(Self.coordinatorPoints)) { count(.coordinatorAtFailpoint) }
      }
    }
  }

  /// Half of those that were reached too seldom, or else nothing would come past the first ones; of all, where the
  /// phase asks for none of them.
  private func open(_ points: [Failpoint]) -> [Failpoint] {
    let open = state.withLock { state in
      points.filter { state.points.contains($0) && state.reached[$0] ?? 0 < state.timesAtEachPoint }
    }
    let candidates = open.isEmpty ? points : open
    let half = candidates.filter { _ in random.fraction() < 0.5 }
    return half.isEmpty ? candidates : half
  }

  /// Starts a daemon that kills itself at whichever failpoint it reaches first; false where it did not come to any
  /// before long, and is killed.
  private func dies(_ name: String, at points: [Failpoint]) async throws -> Bool {
    try faulty.end(name)
    let said = (try? faulty.log(of: name).utf8.count) ?? 0
    try faulty.start(name, adding: ["KILN_FAILPOINT": points.map(\.rawValue).joined(separator: ",")])
    let process = try faulty.process(name)
    let end = ContinuousClock.now.advanced(by: .seconds(30))
    while process.isRunning, ContinuousClock.now < end, !isPhaseOver { try await Task.sleep(for: .milliseconds(50)) }
    guard !process.isRunning else {
      try faulty.end(name)
      return false
    }
    guard process.terminationReason == .uncaughtSignal, process.terminationStatus == SIGKILL else {
      // Without store or broker at its start it ends by itself, as a daemon that is started again may.
      await pause(1...2)
      return false
    }
    // Other threads may say something between these words and the end.
    let words = String(decoding: try faulty.log(of: name).utf8.dropFirst(said), as: UTF8.self)
    let place = words.matches(of: /killed at failpoint ([a-z.-]+)/).last.map { String($0.1) }
    let point = try #require(place.flatMap(Failpoint.init(rawValue:)), "\(name) was killed by somebody else: \(words)")
    state.withLock { $0.reached[point, default: 0] += 1 }
    return true
  }

  /// The one whose clock is an hour off. With libfaketime its timers take a whole processor: no longer than need be.
  private func runLate() async throws {
    try faulty.start("late")
    while !isPhaseOver { await pause(1...1) }
    try faulty.end("late")
  }

  private func stopExecutor(_ name: String) async throws {
    try await owning([name]) {
      let running = "SELECT 1 FROM jobs WHERE state = 'running' AND executor LIKE '\(name)-%'"
      while !isPhaseOver {
        while !isPhaseOver, (try? await farm.rows(running))?.isEmpty ?? true { await pause(1...2) }
        if isPhaseOver { return }
        // One that ended by itself has nothing to stop.
        guard try faulty.process(name).isRunning else {
          try faulty.start(name)
          continue
        }
        try await faulty.stop(name, seconds: 33 + 7 * random.fraction())
        count(.executorStopped)
        await pause(5...10)
      }
    }
  }

  private func harmBroker() async throws {
    var number = 0
    while !isPhaseOver {
      await pause(10...20)
      number += 1
      if number % 7 == 0 {
        try await FaultyFarm.services(kill: "rabbitmq", wiping: "rabbitmq/base")
        count(.brokerWiped)
      } else {
        try await FaultyFarm.services(kill: "rabbitmq")
        count(.brokerKilled)
      }
    }
  }

  private func harmStore() async throws {
    while !isPhaseOver {
      await pause(6...14)
      try await FaultyFarm.services(kill: "postgres")
      count(.storeStopped)
      await pause(6...14)
      try? await farm.terminateConnections()
      count(.connectionsCut)
    }
  }

  private func harmRegistry() async throws {
    while !isPhaseOver {
      await pause(8...16)
      try await FaultyFarm.services(kill: "registry")
      count(.registryKilled)
    }
  }

  /// A step of the catalogs takes a second from its call of the counter; then comes the export, then the push.
  private func killEngines() async throws {
    let phases: [(Fault, ClosedRange<Double>)] = [
      (.engineInStep, 0...0.8), (.engineInExport, 1.0...1.4), (.engineInPush, 1.5...2.0),
    ]
    let running = """
      SELECT a.executor FROM attempts a JOIN jobs j ON j.id = a.job_id
      WHERE j.state = 'running' AND j.kind = 'layer' AND a.ended_at IS NULL ORDER BY a.started_at DESC LIMIT 1
      """
    var number = 0
    while !isPhaseOver {
      await pause(6...12)
      let before = farm.counter.all.values.reduce(0, +)
      while !isPhaseOver, farm.counter.all.values.reduce(0, +) == before {
        try await Task.sleep(for: .milliseconds(20))
      }
      let (fault, delay) = phases[number % phases.count]
      // Its engine, and none that has nothing to do.
      guard let busy = (try? await farm.rows(running))?.first?.first,
        let index = Self.executors.firstIndex(where: { busy.hasPrefix("\($0)-") })
      else { continue }
      await pause(delay)
      try await FaultyFarm.services(kill: index % 2 == 0 ? "engine-a" : "engine-b")
      number += 1
      count(fault)
    }
  }

  private func fillDisks() async throws {
    while !isPhaseOver {
      for (fault, disk) in [
        (Fault.executorDiskFull, disks.executor), (.registryDiskFull, disks.registry), (.storeDiskFull, disks.store),
      ] {
        await pause(4...8)
        try await disks.whileFull(disk) { await pause(8...8) }
        count(fault)
      }
    }
  }

  /// What nobody understands, and what was said before: each job's message again, current or long past.
  private func sendMessages() async throws {
    while !isPhaseOver {
      await pause(2...4)
      try await faulty.poison(2)
      count(.poison, 2)
      let jobs = (try? await farm.rows("SELECT id, dispatch FROM jobs ORDER BY random() LIMIT 20")) ?? []
      let messages = jobs.compactMap { row in Int(row[1]).map { JobMessage(job: JobID(text: row[0]), dispatch: $0) } }
      guard let bodies = try? messages.map({ try $0.body }), (try? await faulty.send(bodies)) != nil else { continue }
      count(.duplicate, messages.count)
    }
  }

  /// What ended is started again, as systemd or compose would.
  private func supervise() async throws {
    while !isOver {
      for name in ["c1", "c2", "c3"] + Self.executors where !state.withLock({ $0.owned.contains(name) }) {
        if try !faulty.process(name).isRunning { try faulty.start(name) }
      }
      try await Task.sleep(for: .seconds(1))
    }
  }

  // MARK: The end

  private func expectWell() async throws {
    try await farm.expectInvariants()
    let accepted = state.withLock { $0.accepted }
    let builds = try await farm.rows("SELECT id, state FROM builds")
    #expect(Set(builds.map { $0[0] }) == Set(accepted.map(\.text)), "each accepted once, none lost")
    #expect(builds.allSatisfy { ["passed", "superseded"].contains($0[1]) }, "\(builds)")
    let dead = try await farm.rows("SELECT id, title FROM jobs WHERE state <> 'succeeded'")
    #expect(dead.isEmpty, "\(dead)")
    try await faulty.expectNoStepTooMany()
    try await faulty.expectLetters()
    // It is there while executors are killed.
    if chosen?.contains("executors") ?? true {
      let late = try await farm.rows(
        "SELECT count(*) FROM attempts WHERE executor LIKE 'late-%' AND outcome = 'succeeded'")
      #expect(late != [["0"]], "the executor whose clock is an hour off did nothing")
      try faulty.expectAnHourOff("late", since: began)
    }
    try await farm.expectTags()
    try await farm.expectRecordsPull(count: 3 * state.withLock { $0.catalogs })
  }

  /// For docs/soak.md.
  private func write(minutes: Int) async throws {
    let (counts, reached) = state.withLock { ($0.counts, $0.reached) }
    var text = "| fault | times |\n| --- | --- |\n"
    for fault in Fault.allCases { text += "| \(fault.rawValue) | \(counts[fault] ?? 0) |\n" }
    text += "\n| killed at | times |\n| --- | --- |\n"
    for point in Failpoint.allCases { text += "| `\(point.rawValue)` | \(reached[point] ?? 0) |\n" }
    let numbers = try await farm.rows(
      """
      SELECT (SELECT count(*) FROM builds), (SELECT count(*) FROM jobs), (SELECT count(*) FROM attempts),
        (SELECT count(*) FROM records), (SELECT sum(dispatch) FROM jobs)
      """)
    text += "\n\(minutes) minutes of faults. Builds, jobs, attempts, records, messages published: "
    text += "\(numbers.first?.joined(separator: ", ") ?? "").\n\n| attempts ended with | |\n| --- | --- |\n"
    for row in try await farm.rows(
      """
      SELECT coalesce(failure::json->>'code', outcome), count(*) FROM attempts GROUP BY 1 ORDER BY 2 DESC
      """)
    { text += "| \(row[0]) | \(row[1]) |\n" }
    try Data(text.utf8).write(to: FaultyFarm.root.appendingPathComponent(".farm/soak-faults.md"))
    print(text)
  }
}
