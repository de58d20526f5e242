import JobQueue
import Model
import RecordStore
import RecordStoreSQLite

/// What is outside of every process (store, broker, registry, hosts) and what goes wrong there.
// Unchecked: used by the one thread that runs the scheduler.
final class SimulatedWorld: @unchecked Sendable {
  let scheduler: VirtualScheduler
  /// Runs whatever belongs to no process of the farm; is never killed.
  let process: SimulatedProcess
  let engine: SQLiteEngine
  let registry = SimulatedRegistry()
  let mutant: Mutant?
  private(set) lazy var broker = SimulatedBroker(world: self)

  /// Nobody gets an answer until then.
  var storeAwayUntil: Int64 = 0
  var brokerAwayUntil: Int64 = 0
  var registryAwayUntil: Int64 = 0
  /// Whether single calls fail, answers get lost, hints are dropped, messages are delivered twice.
  var isTroubled = true
  /// Who reaches one of them next is killed there, or stopped for so long.
  var armed: [(point: Failpoint, stopMilliseconds: Int64?)] = []
  private(set) var reached: Set<Failpoint> = []
  /// Titles of layers and cells that fail whenever they are tried.
  var broken: Set<String> = [] { didSet { everBroken.formUnion(broken) } }
  private(set) var everBroken: Set<String> = []
  /// How often each layer's steps were begun, counted where they run.
  var builds: [LayerKey: Int] = [:]
  /// That a client wanted to end.
  var cancelled: Set<BuildID> = []
  private(set) var violations: [String] = []
  var kills = 0
  private var mutantWasMet = false
  private var mutantIsBroken = false
  var mutantRan: Bool { mutantWasMet && !mutantIsBroken }
  private var processes = 0

  init(seed: UInt64, mutant: Mutant?) throws {
    scheduler = VirtualScheduler(seed: seed)
    self.mutant = mutant
    process = SimulatedProcess("world", .world, number: 0, scheduler: scheduler)
    engine = try SQLiteEngine(path: nil, time: VirtualTime(process: process))
  }

  var random: SimulatedRandom { scheduler.random }
  var now: Int64 { scheduler.milliseconds }

  func violate(_ what: String) {
    if violations.count < 20 { violations.append("at \(now - 1_700_000_000_000) ms: \(what)") }
  }

  /// What becomes of a statement or a procedure in the mutant's world.
  fileprivate func mutated(_ statement: String) -> String {
    guard let mutant, mutant.procedure == nil, !mutant.text.isEmpty, statement.contains(mutant.text) else {
      return statement
    }
    mutantWasMet = true
    return statement.replacing(mutant.text, with: mutant.replacement)
  }

  fileprivate func mutated(_ original: Procedure) -> Procedure {
    guard let mutant, mutant.procedure == original.name else { return original }
    var mutated = original
    mutated.statements = original.statements.map { $0.replacing(mutant.text, with: mutant.replacement) }
    mutantWasMet = mutantWasMet || mutated.statements != original.statements
    return mutated
  }

  /// A statement that fails is a mistake of Kiln's, or of the mutant's.
  fileprivate func note(_ error: StoreError) {
    guard error.code == .statement else { return }
    if mutant == nil { violate("a statement failed: \(error)") } else { mutantIsBroken = true }
  }

  func meetMutant() { mutantWasMet = true }

  func newProcess(_ name: String, _ kind: SimulatedProcess.Kind) -> SimulatedProcess {
    processes += 1
    return SimulatedProcess(name, kind, number: processes, scheduler: scheduler)
  }

  func effects(of process: SimulatedProcess) -> Effects {
    Effects(
      time: VirtualTime(process: process), random: random,
      failpoints: SimulatedFailpoints(world: self, process: process))
  }

  /// A small fault, now?
  func isUnlucky(_ probability: Double = 0.01) -> Bool { isTroubled && random.happens(probability) }

  /// What a call takes.
  func latency() -> Int64 {
    let draw = random.below(200)
    return draw == 0 ? 3000 : draw < 20 ? 200 : Int64(draw % 10)
  }

  fileprivate func reach(_ point: Failpoint, by process: SimulatedProcess) {
    reached.insert(point)
    guard let index = armed.firstIndex(where: { $0.point == point }) else { return }
    if let stop = armed.remove(at: index).stopMilliseconds {
      process.frozenUntil = now + stop
    } else {
      kills += 1
      process.kill()
    }
  }
}

private struct SimulatedFailpoints: Failpoints {
  let world: SimulatedWorld
  let process: SimulatedProcess

  func reach(_ point: Failpoint) async throws {
    // What the world itself does at a failpoint (it audits with the farm's code) ends nobody.
    guard process.kind != .world else { return }
    if point == .attemptAfterCommit { process.isAttemptOpen = false }
    world.reach(point, by: process)
    // For whoever was killed there is nothing after this, and for whoever is stopped nothing until then.
    await process.pause(milliseconds: 0)
  }
}

/// A process's way to the store: the real embedded store, behind a network.
struct SimulatedConnection: SQLEngine {
  let world: SimulatedWorld
  let process: SimulatedProcess

  func transaction<Value: Sendable>(_ body: @escaping @Sendable (any SQLTransaction) throws -> Value) async throws
    -> Value
  {
    try await before()
    let world = self.world
    let value: Value
    do {
      value = try await world.engine.transaction { transaction in
        try body(world.mutant == nil ? transaction : MutatedTransaction(base: transaction, world: world))
      }
    } catch let error as StoreError {
      world.note(error)
      throw error
    }
    try await after()
    return value
  }

  func call(_ procedure: Procedure, _ arguments: [SQLValue]) async throws -> [SQLRow] {
    try await before()
    let rows: [SQLRow]
    do {
      rows = try await world.engine.call(world.mutated(procedure), arguments)
    } catch let error as StoreError {
      world.note(error)
      throw error
    }
    if procedure.name == Procedure.claim.name, case .text(let job) = arguments[0], case .text(let nonce) = arguments[2]
    {
      process.asked.insert(JobID(text: job))
      // Asked again after the lease was out, it may be refused: then there is nothing to write any more.
      process.isAttemptOpen =
        rows.first?.optionalText("state") == "running" && rows.first?.optionalText("holder_nonce") == nonce
    }
    try await after()
    return rows
  }

  private func before() async throws {
    await process.pause(milliseconds: world.latency())
    if world.now < world.storeAwayUntil || world.isUnlucky() {
      throw StoreError(.unavailable, "the store does not answer")
    }
  }

  /// What was committed stays so, whether or not anybody hears of it.
  private func after() async throws {
    if world.random.happens(0.3) { await process.pause(milliseconds: world.latency()) }
    if world.isUnlucky() { throw StoreError(.unavailable, "the connection broke before the answer came") }
  }

  func notify(_ topic: String) async {
    if world.now >= world.storeAwayUntil, !world.isUnlucky(0.05) { await world.engine.notify(topic) }
  }

  func notifications() async throws -> AsyncThrowingStream<String, any Error> {
    try await before()
    return try await world.engine.notifications()
  }

  func migrate(_ migrations: [Migration], procedures: [Procedure]) async throws -> [Int] {
    try await world.engine.migrate(migrations, procedures: procedures)
  }
  func checkSchema(_ migrations: [Migration]) async throws { try await world.engine.checkSchema(migrations) }
  func close() async {}
}

private struct MutatedTransaction: SQLTransaction {
  let base: any SQLTransaction
  let world: SimulatedWorld

  func run(_ statement: String, _ arguments: [SQLValue]) throws -> [SQLRow] {
    try base.run(world.mutated(statement), arguments)
  }
}
