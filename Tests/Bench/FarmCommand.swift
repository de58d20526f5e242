import ArgumentParser
import Foundation
import KilnCoordinator
import Model
import Planner
import RecordStore

/// Jobs end to end, with a builder that does nothing: what remains is Kiln, its broker, its store and
/// its registry.
struct FarmCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "farm", abstract: "Jobs end to end.")
  @OptionGroup var options: RoundOptions
  @Option(help: "Chains of layers, each with a cell on top.") var chains = 20
  @Option(help: "Layers in a chain.") var length = 4
  @Option(help: "Layers of the single chain that shows the time between a parent's end and its child's claim.")
  var single = 20

  private struct Shape: Hashable {
    var kind: BenchFarm.Kind
    var slots: Int
    var chains: Int
    var length: Int

    var jobs: Int { chains * length + chains }
    var name: String {
      let work = chains == 1 ? "1 chain of \(length)" : "\(chains) chains of \(length)"
      return "\(kind.rawValue), \(slots) slots, \(work)"
    }
  }

  func run() async throws {
    let base = try await SampleBase.open()
    let kinds: [BenchFarm.Kind] = [.services, .withoutRegistry, .embedded]
    let loaded = [4, 16].flatMap { slots in
      kinds.map { Shape(kind: $0, slots: slots, chains: chains, length: length) }
    }
    let free = kinds.map { Shape(kind: $0, slots: 4, chains: 1, length: single) }
    var timings: [Shape: [BuildTiming]] = [:]
    var flushes = Samples()
    // No round to warm up: each has a database, a queue and a repository of its own.
    for _ in 0..<options.rounds {
      for shape in loaded + free {
        let timing = try await measure(shape, base)
        timings[shape, default: []].append(timing)
      }
      flushes.values.append(try await Disk.flushesPerSecond(in: options.url))
    }
    var table = Table(
      "farm",
      [
        "jobs", "jobs per second", "layer's job, ms p50", "parent's end to child's claim, ms p50", "p95",
        "tags after last job, ms",
      ])
    for shape in loaded + free {
      let all = timings[shape] ?? []
      let handovers = Samples(values: all.flatMap(\.handoverMilliseconds))
      let layers = Samples(values: all.flatMap(\.layerMilliseconds))
      table.add(
        shape.name,
        [
          "\(shape.jobs)", spread(Samples(values: all.map(\.jobsPerSecond))), short(layers.median),
          short(handovers.median),
          short(handovers.percentile(0.95)),
          spread(Samples(values: all.map(\.publishMilliseconds))),
        ])
    }
    table.add("disk's flushes per second", ["", spread(flushes)])
    table.print()
  }

  private func measure(_ shape: Shape, _ base: SampleBase) async throws -> BuildTiming {
    let salt = UUID().uuidString
    let work = try BenchCatalog.chains(shape.chains, length: shape.length, salt: salt).plan(base)
    return try await BenchFarm.with(shape.kind, slots: shape.slots, base: base, folder: options.url) { farm in
      let build = try await farm.build(work)
      let timing = try await BuildTiming(build, of: work.plan, in: farm.coordinator.store)
      guard timing.jobs == shape.jobs else { throw BenchError("\(timing.jobs) jobs instead of \(shape.jobs)") }
      return timing
    }
  }
}
