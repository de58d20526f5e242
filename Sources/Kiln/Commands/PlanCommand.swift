import ArgumentParser
import Foundation
import KilnCoordinator
import Logging
import Model
import Planner
import RecordStore

struct PlanCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract: "Say beforehand what a build would do, and why: nothing is built.",
    discussion: """
      Looks at what this machine's store has; with --catalog-only, at the catalog alone.

      Examples:
        kiln plan hello
        kiln plan hello --format bake > bake.json; docker buildx bake -f bake.json hello
        kiln plan --format dot | dot -Tsvg > layers.svg
      """)
  @OptionGroup var catalog: CatalogOptions
  @OptionGroup var request: ProductArguments
  @OptionGroup var output: OutputOptions
  @OptionGroup var log: LogOptions
  @Flag(help: "Plan as if nothing had been built; the output depends on catalog and lock alone.")
  var catalogOnly = false
  @Option(help: "table, json, bake (for docker buildx bake), github (a job matrix) or dot (for graphviz).")
  var format: Format?

  enum Format: String, ExpressibleByArgument, CaseIterable {
    case table, json, bake, github, dot
  }

  func run() async throws {
    let loaded = try await catalog.load()
    let work = try Planner.plan(
      catalog: loaded.catalog, lock: loaded.lock,
      request: PlanRequest(products: request.products, platforms: try request.platforms()),
      catalogRevision: await GitRevision.clean(loaded.folder))
    if output.json, let format, format != .json {
      throw ValidationError("--json and --format \(format.rawValue) contradict each other")
    }
    switch format ?? (output.json ? .json : .table) {
    case .json where catalogOnly: Output.write(String(decoding: try work.plan.canonicalBytes(), as: UTF8.self) + "\n")
    case .json: try Output.json(ForecastReport(try await forecast(work.plan, loaded)))
    case .table: print(try await forecast(work.plan, loaded), work)
    case .bake: try printBakeFile(work, loaded)
    case .github: Output.write(try work.plan.jobMatrix())
    case .dot:
      let forecast = try await forecast(work.plan, loaded)
      let fates =
        forecast.layers.map { ($0.key.text, $0.value.words.what) }
        + forecast.cells.map { ($0.key.text, $0.value.words.what) }
      let notes = Dictionary(fates, uniquingKeysWith: { first, _ in first })
      Output.write(work.plan.dot { notes[$0] })
    }
  }

  private func printBakeFile(_ work: PlannedWork, _ loaded: LoadedCatalog) throws {
    let here = URL(fileURLWithPath: FileManager.default.currentDirectoryPath).standardizedFileURL.path + "/"
    let path = loaded.folder.path
    let bake = try BakeFile(
      work, catalog: loaded.catalog, lock: loaded.lock,
      catalogPath: path.hasPrefix(here) ? String(path.dropFirst(here.count)) : path)
    Output.write(try bake.text())
    for reason in bake.leftOut { Exit.complain("kiln: not in the bake file: \(reason)") }
  }

  private func forecast(_ plan: Plan, _ loaded: LoadedCatalog) async throws -> Forecast {
    let store = Embedded.storeFile(in: Embedded.folder(for: loaded.folder))
    guard !catalogOnly, FileManager.default.fileExists(atPath: store.path) else {
      return Forecast(plan: plan, known: KnownResults(), missing: [:])
    }
    let embedded = try await Embedded(
      catalog: loaded.folder, reading: true, effects: .system(), logger: try log.logger("kiln", standard: .warning))
    let forecast = try await embedded.coordinator.forecast(plan, scope: .release)
    await embedded.store.close()
    return forecast
  }

  private func print(_ forecast: Forecast, _ work: PlannedWork) {
    var layers = Table("LAYER", "PLATFORM", "KEY", "WHAT", "WHY")
    for layer in forecast.plan.layers {
      let (what, why) = (forecast.layers[layer.key] ?? .notNeeded).words
      layers.add(layer.title, layer.platform.description, layer.key.short, what, why)
    }
    var cells = Table("CELL", "TARGET", "KEY", "WHAT", "WHY")
    for cell in forecast.plan.cells {
      let (what, why) = (forecast.cells[cell.key] ?? .notNeeded).words
      cells.add(
        cell.product + (cell.variant.isEmpty ? "" : " [\(cell.variant)]"), cell.target.platform.description,
        cell.key.short, what, why)
    }
    Output.write(layers.text + "\n" + cells.text + "\n")
    for impossible in work.impossible {
      Output.write(
        "left out: \(impossible.product) [\(impossible.variant)] \(impossible.target.platform): \(impossible.reason)\n")
    }
    Output.write(
      "\(forecast.plan.layers.count) layers, \(forecast.layersToBuild.count) to build; "
        + "\(forecast.plan.cells.count) cells, \(forecast.reusedCells.count) reused; "
        + "\(forecast.plan.images.count) images\n")
  }
}

extension Forecast.Fate {
  var words: (what: String, why: String) {
    switch self {
    case .build(let reason): ("build", reason)
    case .reuse(let reason): ("reuse", reason)
    case .attach: ("wait", "a job is at it already")
    case .notNeeded: ("-", "not needed: everything above it is reused")
    }
  }
}

/// A forecast as JSON.
struct ForecastReport: Encodable {
  struct Entry: Encodable {
    var key: String
    var title: String
    var platform: String
    var what: String
    var why: String
  }
  var layers: [Entry]
  var cells: [Entry]

  init(_ forecast: Forecast) {
    layers = forecast.plan.layers.map { layer in
      let (what, why) = (forecast.layers[layer.key] ?? .notNeeded).words
      return Entry(key: layer.key.text, title: layer.title, platform: layer.platform.description, what: what, why: why)
    }
    cells = forecast.plan.cells.map { cell in
      let (what, why) = (forecast.cells[cell.key] ?? .notNeeded).words
      return Entry(
        key: cell.key.text, title: cell.product + (cell.variant.isEmpty ? "" : " [\(cell.variant)]"),
        platform: cell.target.platform.description, what: what, why: why)
    }
  }
}
