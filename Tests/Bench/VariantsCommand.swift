import ArgumentParser
import Foundation
import KilnCoordinator
import Model
import Planner
import RecordStore

/// Three hundred variants on two platforms, on real services, with a builder that does nothing: what is
/// said beforehand is what is built, exactly, or this fails; and how long it takes.
struct VariantsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "variants", abstract: "Many variants.")
  @OptionGroup var options: RoundOptions

  private static let slots = 8

  func run() async throws {
    let folder = options.url.appendingPathComponent("moved-\(UUID().uuidString)", isDirectory: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let base = try await SampleBase.open()
    let moved = try await base.moved(to: folder)
    let steps: [(name: String, catalog: BenchCatalog, base: SampleBase)] = [
      ("the first time", Self.catalog(), base), ("a line in one app", Self.catalog(app: "changed"), base),
      ("a line in the bottom", Self.catalog(app: "changed", bottom: "changed"), base),
      ("another base", Self.catalog(app: "changed", bottom: "changed"), moved),
      ("nothing changed", Self.catalog(app: "changed", bottom: "changed"), moved),
    ]
    // The layout of the moved base holds the first one too.
    let table = try await BenchFarm.with(.services, slots: Self.slots, base: moved, folder: options.url) { farm in
      var table = Table(
        "300 variants on two platforms, \(Self.slots) slots",
        ["forecast: layers", "built", "forecast: cells", "finished", "until all is tagged, s", "jobs per second"])
      for step in steps { table.add(step.name, try await Self.build(try step.catalog.plan(step.base), farm)) }
      return table
    }
    table.print()
  }

  private static func build(_ work: PlannedWork, _ farm: BenchFarm) async throws -> [String] {
    let forecast = try await farm.coordinator.forecast(work.plan, scope: .release)
    let build = try await farm.build(work)
    var layers: Set<LayerKey> = []
    var cells = 0
    for job in build.jobs {
      guard let detail = try await farm.coordinator.store.job(job.id) else { throw BenchError("\(job.id) is gone") }
      if let layer = detail.layer { layers.insert(layer) } else { cells += 1 }
    }
    let expected = work.plan.cells.count - forecast.reusedCells.count
    guard layers == Set(forecast.layersToBuild), build.jobs.count == layers.count + cells, cells == expected else {
      throw BenchError(
        "\(forecast.layersToBuild.count) layers and \(expected) cells were forecast, \(layers.count) and \(cells) built"
      )
    }
    guard let finished = build.summary.finishedAt else { throw BenchError("the build has no end") }
    let seconds = Double(finished.milliseconds - build.summary.createdAt.milliseconds) / 1000
    return [
      "\(forecast.layersToBuild.count)", "\(layers.count)", "\(expected)", "\(cells)", short(seconds),
      build.jobs.isEmpty ? "" : short(Double(build.jobs.count) / seconds),
    ]
  }

  /// Bottom, five, six on each, ten on each of those.
  private static func catalog(app: String = "", bottom: String = "") -> BenchCatalog {
    func numbers(_ count: Int) -> [String] { (1...count).map { "1.0.\($0)" } }
    return BenchCatalog(
      fragments: [
        BenchCatalog.Fragment(name: "bottom", text: "RUN bottom \(bottom)\n"),
        BenchCatalog.Fragment(name: "lower", versions: numbers(5), text: "RUN lower {version}\n"),
        BenchCatalog.Fragment(name: "upper", versions: numbers(6), text: "RUN upper {version}\n"),
        BenchCatalog.Fragment(
          name: "app", versions: numbers(10), text: "RUN app {version}\n", changed: app.isEmpty ? nil : "1.0.4"),
      ], everywhere: true)
  }
}
