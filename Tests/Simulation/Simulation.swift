import Foundation
import KilnCoordinator
import KilnExecutor
import Logging
import Model
import Planner
import RecordStore
import RecordStoreSQLite
import Registry
import ServiceLifecycle

/// One run: two coordinators, four executors in two pools, five overlapping builds, and twenty faults
/// drawn from the seed. Afterwards the world calms down, and everything accepted must have ended well.
struct Simulation {
  struct Report {
    var violations: [String]
    /// Equal for equal runs.
    var trace: UInt64
    var steps: Int
    var jobs: Int
    var kills: Int
    var reached: Set<Failpoint>
    /// As `job: ready → queued`.
    var transitions: Set<String>
    var virtualSeconds: Int
    /// Whether the mutant's text was met, and its statements were SQL.
    var mutantRan: Bool
  }

  static let faults = 20
  /// Faults fall into this much time; builds are submitted in its first half.
  static let troubledSeconds = 300
  static let patienceSeconds = 1800

  static func run(seed: UInt64, mutant: Mutant? = nil, logger: Logger? = nil) throws -> Report {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-simulation-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    let world = try SimulatedWorld(seed: seed, mutant: mutant)
    let logger = logger ?? Logger(label: "simulation") { _ in SwiftLogNoOpLogHandler() }
    let works = try SimulatedCatalog.works.get()
    let farm = SimulatedFarm(world: world, works: works, folder: folder, logger: logger)
    Task(executorPreference: world.process) { await farm.live() }
    world.scheduler.run(until: { farm.report != nil }, deadline: world.now + Int64(patienceSeconds + 3600) * 1000)
    farm.killAll()
    return farm.report
      ?? Report(
        violations: world.violations + ["the farm stands still"], trace: world.scheduler.trace,
        steps: world.scheduler.steps, jobs: 0, kills: world.kills, reached: world.reached, transitions: [],
        virtualSeconds: 0, mutantRan: world.mutantRan)
  }
}

/// The processes of a run, and who starts them again.
// Unchecked: used by the one thread that runs the scheduler.
final class SimulatedFarm: @unchecked Sendable {
  private let world: SimulatedWorld
  private let works: [PlannedWork]
  private let folder: URL
  private let logger: Logger
  private let time: VirtualTime
  private let troubledUntil: Int64
  private(set) var report: Simulation.Report?
  private var members: [Member] = []
  /// By idempotency key.
  private var accepted: [String: AcceptedBuild] = [:]

  private enum Role: Hashable {
    case coordinator
    case executor(pool: Int)
  }

  private struct Member {
    var name: String
    var role: Role
    var process: SimulatedProcess
    var coordinator: Coordinator?
    /// What a polite signal ends.
    var main: Task<Void, Never>?
  }

  init(world: SimulatedWorld, works: [PlannedWork], folder: URL, logger: Logger) {
    (self.world, self.works, self.folder, self.logger) = (world, works, folder, logger)
    time = VirtualTime(process: world.process)
    troubledUntil = world.now + Int64(Simulation.troubledSeconds) * 1000
  }

  func killAll() {
    for member in members { member.process.kill() }
    world.process.kill()
  }

  func live() async {
    do {
      try await Oracle.install(world.engine)
      for platform in SimulatedCatalog.platforms.compactMap({ Platform($0) }) {
        try world.registry.add(SimulatedRegistry.base(platform), to: "debian")
      }
      for (index, role) in [
        Role.coordinator, .coordinator, .executor(pool: 0), .executor(pool: 0), .executor(pool: 1), .executor(pool: 1),
      ].enumerated() {
        let (name, process) = ("member-\(index)", world.newProcess("none", .world))
        process.kill()
        members.append(Member(name: name, role: role, process: process))
        try start(index)
      }
      await withTaskGroup(of: Void.self) { group in
        group.addTask { await self.supervise() }
        group.addTask { await self.trouble() }
        group.addTask { await self.intervene() }
        group.addTask { await self.askAgain() }
        group.addTask { await self.meddle() }
        for (index, work) in [0, 0, 1, 2, 3].enumerated() { group.addTask { await self.submit(index, work) } }
        // All but the supervisor, who never ends.
        for _ in 0..<9 { await group.next() }
        await self.calm()
        group.cancelAll()
      }
    } catch {
      world.violate("the simulation itself failed: \(error)")
    }
    let transitions = (try? await Oracle.transitions(world.engine)) ?? []
    let jobs = (try? await Oracle.count("jobs", world.engine)) ?? 0
    report = Simulation.Report(
      violations: world.violations, trace: world.scheduler.trace, steps: world.scheduler.steps, jobs: jobs,
      kills: world.kills, reached: world.reached, transitions: transitions,
      virtualSeconds: Int((world.now - 1_700_000_000_000) / 1000), mutantRan: world.mutantRan)
  }

  // MARK: Processes

  static let attempts = 12

  private static let pools: [Pool] = SimulatedCatalog.platforms.enumerated().map { index, platform in
    var pool = Pool(name: PoolName(text: "pool-\(index)"), platforms: [Platform(platform)].compactMap { $0 }, slots: 1)
    pool.retries.infrastructure.attempts = attempts
    pool.retries.infrastructure.maximumDelaySeconds = 60
    return pool
  }

  private func start(_ index: Int) throws {
    let role = members[index].role
    let process = world.newProcess(members[index].name, role == .coordinator ? .coordinator : .executor)
    members[index].process = process
    let effects = world.effects(of: process)
    let store = SQLRecordStore(engine: SimulatedConnection(world: world, process: process), effects: effects)
    let (queue, images) = (
      SimulatedQueue(world: world, process: process), SimulatedImages(world: world, process: process)
    )
    switch role {
    case .coordinator:
      let coordinator = Coordinator(
        name: process.name, store: store, queue: queue, images: images, pools: Self.pools,
        openSource: { _ in (images, repository: "debian") }, effects: effects, logger: logger)
      members[index].coordinator = coordinator
      members[index].main = Task(executorPreference: process) {
        await withTaskGroup(of: Void.self) { group in
          for loop in coordinator.loops() { group.addTask { try? await loop.loop() } }
          // A service that ends ends the program.
          await group.next()
          group.cancelAll()
        }
        process.kill()
      }
    case .executor(let pool):
      let host = SimulatedHost(world: world, process: process)
      var settings = ExecutorSettings()
      settings.flushSeconds = 3
      let pool = Self.pools[pool]
      let executor = Executor(
        name: ExecutorName(text: process.name), pool: pool,
        host: HostFacts(
          executor: ExecutorName(text: process.name), kilnVersion: "1", engineVersion: "1", builderVersion: "1",
          platforms: pool.platforms, cpuCount: 1, freeBytes: nil),
        store: store, queue: queue, images: images, builder: host, tester: host,
        workFolder: folder.appendingPathComponent("\(process.number)"), effects: effects, logger: logger,
        settings: settings)
      members[index].main = Task(executorPreference: process) {
        try? await ExecutorService(executor).work()
        process.kill()
      }
    }
  }

  /// What ended is started again after a while, as systemd or compose would.
  private func supervise() async {
    while (try? await time.sleep(seconds: Double(2 + world.random.below(30)))) != nil {
      for index in members.indices where !members[index].process.isAlive {
        do { try start(index) } catch { world.violate("not started again: \(error)") }
      }
    }
  }

  // MARK: Faults

  private func trouble() async {
    if world.random.happens(0.3) {
      let titles = works[0].plan.layers.map(\.title)
      world.broken.insert(world.random.pick(titles) ?? "")
    }
    if world.random.happens(0.2) { world.broken.insert("cell \(SimulatedCatalog.platforms[world.random.below(2)])") }
    for member in members where member.role != .coordinator && world.random.happens(0.2) {
      // Somebody's clock is an hour off.
      member.process.skewMilliseconds = world.random.happens(0.5) ? 3_600_000 : -3_600_000
    }
    let pause = Double(Simulation.troubledSeconds) / Double(Simulation.faults)
    for _ in 0..<Simulation.faults {
      try? await time.sleep(seconds: pause * 2 * world.random.fraction())
      await fault()
    }
    // An armed place that nobody reached kills nobody any more.
    world.armed = []
  }

  private func fault() async {
    let random = world.random
    let seconds = Int64(1 + random.below(40)) * 1000
    switch random.below(15) {
    case 0: kill { $0.role != .coordinator }
    case 1: kill { $0.role == .coordinator }
    case 2, 3, 4:
      if random.happens(0.5) {
        world.armed.append((random.pick(Failpoint.allCases) ?? .attemptAfterClaim, nil))
      } else {
        // Whatever was true before need not be so afterwards.
        world.armed.append((random.pick(Self.stops) ?? .attemptBeforeCommit, Int64(12 + random.below(50)) * 1000))
      }
    case 5: world.storeAwayUntil = world.now + seconds
    case 6: world.brokerAwayUntil = world.now + seconds
    case 7: await world.broker.wipe()
    case 8: await world.broker.cutAll()
    case 9: world.registryAwayUntil = world.now + seconds
    case 10:
      // Long enough to lose its lease, and then it goes on.
      random.pick(members)?.process.frozenUntil = world.now + Int64(5 + random.below(60)) * 1000
    case 11: await world.broker.putPoison(into: Self.pools[random.below(2)].name)
    case 12: random.pick(members)?.main?.cancel()
    default: await loseImage()
    }
  }

  /// Commits come first: nothing tells an attempt any more that its lease is out.
  private static let stops: [Failpoint] = [
    .attemptBeforeCommit, .attemptBeforeCommit, .attemptBeforeCommit, .attemptBeforeCommit, .attemptAfterClaim,
    .attemptAfterPush, .publishAfterTake, .publishAfterConfirm, .publishAfterConfirm, .reapBeforeApply, .tagBeforePut,
  ]

  private func kill(_ isMeant: (Member) -> Bool) {
    guard let victim = world.random.pick(members.filter { isMeant($0) && $0.process.isAlive }) else { return }
    world.kills += 1
    victim.process.kill()
  }

  private func loseImage() async {
    let images = (try? await Oracle.images(world.engine)) ?? []
    guard let digest = world.random.pick(images) else { return }
    world.registry.lose(digest, in: "layers", onlyBlob: world.random.happens(0.5))
  }

  // MARK: Clients

  /// Asks until it has an answer, with the same key each time.
  private func submit(_ index: Int, _ work: Int) async {
    let seconds = Double(world.random.below(Simulation.troubledSeconds / 2))
    try? await time.sleep(seconds: index == 0 ? 0 : seconds)
    await request(index, work)
    if world.random.happens(0.2) { await cancel(index) }
  }

  private func request(_ index: Int, _ work: Int, onlyLayers: Bool = false) async {
    var wanted = works[work]
    if onlyLayers { (wanted.plan.cells, wanted.plan.images) = ([], []) }
    let work = wanted
    var request = Coordinator.Request(principal: Principal(text: "somebody"), idempotencyKey: "key-\(index)")
    request.priority = world.random.below(3)
    request.retryFailed = world.random.happens(0.3)
    let asked = request
    // Half of them ask twice, whatever the first answer was.
    for _ in 0..<(world.random.happens(0.5) ? 2 : 1) {
      let build = await ask { try await $0.submit(work, asked).0 }
      if let known = accepted[asked.idempotencyKey], known.id != build.id {
        world.violate("\(asked.idempotencyKey) was accepted as \(known.id) and as \(build.id)")
      }
      accepted[asked.idempotencyKey] = build
    }
  }

  /// Once something has failed, what it stands on is lost, and somebody asks for all of it again.
  private func askAgain() async {
    guard world.random.happens(0.3), let image = await first({ try await Oracle.imagesUnderFailed($0) }) else { return }
    world.registry.lose(image, in: "layers", onlyBlob: world.random.happens(0.5))
    await request(5, world.random.below(works.count))
  }

  /// Sooner or later; or when a part of the build cannot be had.
  private func cancel(_ index: Int) async {
    guard let build = accepted["key-\(index)"] else { return }
    if world.random.happens(0.5) {
      try? await time.sleep(seconds: Double(world.random.below(60)))
    } else {
      _ = await first { try await Oracle.blockedCells($0, of: build.id) }
    }
    await cancel(build)
  }

  private func cancel(_ build: AcceptedBuild) async {
    world.cancelled.insert(build.id)
    let state = await ask { try await $0.store.cancel(build.id, by: Self.somebody) }
    if state == nil { world.violate("build \(build.id) is not there to be cancelled") }
  }

  private static let somebody = Principal(text: "somebody")

  /// One of them, as soon as there are some; nil where there are none while anything goes wrong.
  private func first<Value>(_ read: (SQLiteEngine) async throws -> [Value]) async -> Value? {
    while world.now < troubledUntil {
      if let value = world.random.pick((try? await read(world.engine)) ?? []) { return value }
      try? await time.sleep(seconds: 1)
    }
    return nil
  }

  /// Somebody cancels a job, in whatever state or in one that is soon over, and mends what was broken; twice at
  /// once, for they are two, what is dead is tried again.
  private func intervene() async {
    try? await time.sleep(seconds: Double(world.random.below(Simulation.troubledSeconds)))
    if world.random.happens(0.4) {
      let open = JobState.allCases.filter { !$0.isFinal }
      let states = world.random.pick([open, [.queued], [.delayed]]) ?? open
      if let job = await first({ try await Oracle.jobs($0, in: states) }) {
        _ = await ask { try await $0.store.cancel(job, by: Self.somebody) }
      }
    }
    try? await time.sleep(seconds: Double(world.random.below(Simulation.troubledSeconds)))
    if world.random.happens(0.5) { world.broken = [] }
    guard world.random.happens(0.7) else { return }
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<2 {
        group.addTask { _ = await self.ask { try await $0.store.replay(DeadLetterSelection(), by: Self.somebody) } }
      }
    }
  }

  /// In some runs somebody does one thing after the other, whatever comes of it.
  private func meddle() async {
    guard world.random.happens(0.3) else { return }
    let times = 10
    for number in 0..<times {
      try? await time.sleep(seconds: Double(world.random.below(2 * Simulation.troubledSeconds / times)))
      switch world.random.below(6) {
      case 0, 1:
        let open = try? await Oracle.jobs(world.engine, in: JobState.allCases.filter { !$0.isFinal })
        guard let job = world.random.pick(open ?? []) else { continue }
        _ = await ask { try await $0.store.cancel(job, by: Self.somebody) }
      case 2:
        let dead = try? await Oracle.jobs(world.engine, in: [.dead])
        guard let job = world.random.pick(dead ?? []) else { continue }
        _ = await ask { try await $0.store.replay(DeadLetterSelection(letter: job.text), by: Self.somebody) }
      case 3:
        let onlyLayers = world.random.happens(0.4)
        await request(10 + number, world.random.below(works.count), onlyLayers: onlyLayers)
      case 4: await loseImage()
      default:
        guard let key = world.random.pick(accepted.keys.sorted()), let build = accepted[key] else { continue }
        await cancel(build)
      }
    }
  }

  /// What one of the coordinators answers, asked again until one does.
  private func ask<Value: Sendable>(_ question: @escaping @Sendable (Coordinator) async throws -> Value) async -> Value
  {
    while true {
      let answer = Answer<Value>()
      let alive = members.filter { $0.coordinator != nil && $0.process.isAlive }
      if let member = world.random.pick(alive), let coordinator = member.coordinator {
        Task(executorPreference: member.process) {
          answer.value = try? await question(coordinator)
          answer.isThere = true
        }
      }
      for _ in 0..<30 where !answer.isThere { try? await time.sleep(seconds: 1) }
      if let value = answer.value { return value }
    }
  }

  // Unchecked: used by the one thread that runs the scheduler.
  private final class Answer<Value>: @unchecked Sendable {
    var value: Value?
    var isThere = false
  }

  // MARK: The end

  /// No more faults: all that was accepted ends.
  private func calm() async {
    world.isTroubled = false
    (world.storeAwayUntil, world.brokerAwayUntil, world.registryAwayUntil) = (0, 0, 0)
    let deadline = world.now + Int64(Simulation.patienceSeconds) * 1000
    do {
      while try await Oracle.isOpen(world.engine) {
        guard world.now < deadline else {
          try await Oracle.check(world, accepted: [])
          for open in try await Oracle.open(world.engine) { world.violate("does not end: \(open)") }
          return
        }
        try await time.sleep(seconds: 5)
      }
      try await Oracle.check(world, accepted: accepted.values.map(\.id).sorted())
    } catch {
      world.violate("the oracle failed: \(error)")
    }
  }
}
