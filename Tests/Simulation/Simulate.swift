import ArgumentParser
import Foundation
import Logging
import Model
import Synchronization

/// `kiln-simulate`: coordinators and executors as they are, on a simulated world. `make simulate` runs it;
/// docs/simulation.md says what it does.
@main
struct Simulate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kiln-simulate",
    abstract: "Coordinators and executors on virtual time, with faults drawn from a seed.",
    discussion: "Ends with 1 where a seed found something, a mutant went unseen, or something was never reached.")

  @Option(help: "How many seeds.") var seeds: UInt64 = 100
  @Option(help: "The first seed.") var first: UInt64 = 1
  @Option(help: "Seeds at the same time; none: as many as there are processors.") var parallel: Int?
  @Flag(help: "Run every mutant until a seed finds it.") var mutants = false
  @Flag(help: "Run every seed twice; both runs must be the same, step by step.") var replay = false
  @Flag(help: "Print what the farm's processes log; for one seed.") var log = false

  func validate() throws {
    guard seeds > 0, parallel ?? 1 > 0 else { throw ValidationError("--seeds and --parallel must be at least 1") }
    if log, seeds > 1 { throw ValidationError("--log is for one seed: --seeds 1 --first SEED") }
  }

  func run() throws {
    let isWell = mutants ? try findMutants() : try runSeeds()
    if !isWell { throw ExitCode(1) }
  }

  private var threads: Int { log ? 1 : parallel ?? ProcessInfo.processInfo.activeProcessorCount }

  // MARK: Seeds

  private struct Totals {
    var jobs = 0
    var kills = 0
    var steps = 0
    var failed: [UInt64] = []
    var reached: Set<Failpoint> = []
    var transitions: Set<String> = []
  }

  private func runSeeds() throws -> Bool {
    let totals = Mutex(Totals())
    let logger = log ? Logger(label: "simulation") { _ in SimulationLog() } : nil
    try Self.inParallel(threads, Array(first..<first + seeds)) { seed in
      let report = try Simulation.run(seed: seed, logger: logger)
      var violations = report.violations
      if replay, try Simulation.run(seed: seed).trace != report.trace {
        violations.append("its second run was another")
      }
      totals.withLock { totals in
        totals.jobs += report.jobs
        totals.kills += report.kills
        totals.steps += report.steps
        totals.reached.formUnion(report.reached)
        totals.transitions.formUnion(report.transitions)
        guard !violations.isEmpty else { return }
        totals.failed.append(seed)
        print("seed \(seed): \(violations.joined(separator: "\n  "))")
      }
    }
    let all = totals.withLock { $0 }
    print(
      "\(seeds) seeds from \(first): \(all.jobs) jobs, \(all.kills) kills, \(Simulation.faults * Int(seeds)) faults, "
        + "\(all.steps) steps, \(all.failed.count) failed")
    for seed in all.failed.sorted().prefix(5) { print("  look at it: kiln-simulate --seeds 1 --first \(seed) --log") }
    let missed = Coverage.missing(all.reached, all.transitions)
    let unknown = Coverage.unexpected(all.transitions)
    print(
      "reached \(all.reached.count) of \(Failpoint.allCases.count) failpoints, "
        + "\(all.transitions.intersection(Coverage.transitions).count) of \(Coverage.transitions.count) transitions, "
        + "\(all.transitions.intersection(Coverage.combined).count) of \(Coverage.combined.count) combined ones")
    for transition in unknown { print("no command was thought to make this: \(transition)") }
    for missing in missed { print("never reached: \(missing)") }
    // A few seeds cannot be everywhere.
    return all.failed.isEmpty && unknown.isEmpty && (missed.isEmpty || seeds < 100)
  }

  // MARK: Mutants

  private func findMutants() throws -> Bool {
    let unseen = Mutex<[String]>([])
    try Self.inParallel(threads, Mutant.all) { mutant in
      for seed in first..<first + UInt64(mutant.seeds) {
        let report = try Simulation.run(seed: seed, mutant: mutant)
        // Where it did not run, it was something else that was found.
        guard report.mutantRan, let violation = report.violations.first,
          try Simulation.run(seed: seed).violations.isEmpty
        else { continue }
        print("\(mutant): found by seed \(seed): \(violation)")
        return
      }
      unseen.withLock { $0.append("\(mutant): not found by \(mutant.seeds) seeds") }
    }
    let lines = unseen.withLock { $0 }
    for line in lines { print(line) }
    print("\(Mutant.all.count - lines.count) of \(Mutant.all.count) mutants found")
    return lines.isEmpty
  }

  // MARK: Threads

  /// A run blocks its thread, so each has a thread of its own. Throws the first error.
  private static func inParallel<Item: Sendable>(
    _ threads: Int, _ items: [Item], _ body: @escaping @Sendable (Item) throws -> Void
  ) throws {
    let left = Mutex(items[...])
    let failure = Mutex<(any Error)?>(nil)
    let group = DispatchGroup()
    for _ in 0..<min(threads, items.count) {
      group.enter()
      let thread = Thread {
        while let item = left.withLock({ $0.popFirst() }) {
          do { try body(item) } catch {
            failure.withLock { $0 = $0 ?? error }
            left.withLock { $0 = [] }
          }
        }
        group.leave()
      }
      thread.stackSize = 8 << 20
      thread.start()
    }
    group.wait()
    if let error = failure.withLock({ $0 }) { throw error }
  }
}

/// One line per event, without wall times: two runs of a seed print the same.
private struct SimulationLog: LogHandler {
  var logLevel: Logger.Level = .debug
  var metadata: Logger.Metadata = [:]

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let facts = metadata.merging(event.metadata ?? [:]) { $1 }.map { "\($0)=\($1)" }.sorted()
    print(([event.level.rawValue, "\(event.message)"] + facts).joined(separator: " "))
  }
}
