import ArgumentParser
import Catalog
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
      Looks at what this machine's store has; with --coordinator, at what a farm has; with --catalog-only, at
      the catalog alone.

      Examples:
        kiln plan hello
        kiln plan hello --format bake > bake.json; docker buildx bake -f bake.json hello
        kiln plan --format dot | dot -Tsvg > layers.svg
        kiln plan --coordinator http://HOST:PORT    what a farm would build
        kiln plan --plan NAME            what a test plan would explore
        kiln plan --against HEAD~1       what rebuilds since a commit, why, and how long that takes
        kiln plan --against old.lock     the same since another lock (an existing file is a lock)
      """)
  @OptionGroup var catalog: CatalogOptions
  @OptionGroup var request: ProductArguments
  @OptionGroup var output: OutputOptions
  @OptionGroup var log: LogOptions
  @Flag(help: "Plan as if nothing had been built; the output depends on catalog and lock alone.")
  var catalogOnly = false
  @Option(
    name: .customLong("coordinator"),
    help: "Ask this coordinator what its farm would do (http://HOST:PORT, with KILN_TOKEN_FILE).")
  var coordinator: String?
  @Option(help: "What would rebuild, and why, compared with the catalog at a git revision, or with a lock file.")
  var against: String?
  @Option(help: "table, json, bake (for docker buildx bake), github (a job matrix) or dot (for graphviz).")
  var format: Format?

  enum Format: String, ExpressibleByArgument, CaseIterable {
    case table, json, bake, github, dot
  }

  func run() async throws {
    let loaded = try await catalog.load()
    let state = await CatalogState.look(loaded)
    let asked = try request.request(state)
    let work = try Planner.plan(
      catalog: loaded.catalog, lock: loaded.lock, request: asked, catalogRevision: state.revision)
    if let warning = state.warning { Exit.complain("kiln: \(warning)") }
    if output.json, let format, format != .json {
      throw ValidationError("--json and --format \(format.rawValue) contradict each other")
    }
    if coordinator != nil, catalogOnly || against != nil || format == .bake || format == .github {
      throw ValidationError("--coordinator tells what a farm has: not with --catalog-only, --against, bake or github")
    }
    if let against {
      guard [nil, .table, .json].contains(format) else { throw ValidationError("--against prints a table or JSON") }
      let report = try await comparison(against, work, asked, loaded)
      if output.json || format == .json { try Output.json(report) } else { Output.write(report.text) }
      return
    }
    switch format ?? (output.json ? .json : .table) {
    case .json where catalogOnly: Output.write(String(decoding: try work.plan.canonicalBytes(), as: UTF8.self) + "\n")
    case .json: try Output.json(try await report(work, loaded, state))
    case .table: print(try await report(work, loaded, state), work)
    case .bake: try printBakeFile(work, loaded)
    case .github: Output.write(try work.plan.jobMatrix())
    case .dot:
      let report = try await report(work, loaded, state)
      let fates = (report.layers + report.cells).map { ($0.key, $0.what) }
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

  private func report(
    _ work: PlannedWork, _ loaded: LoadedCatalog, _ state: CatalogState
  ) async throws -> ForecastReport {
    guard let coordinator else { return ForecastReport(try await known(work.plan, loaded) { _ in }.0) }
    return try await ClientOptions.client(coordinator).plan(
      loaded.tree.tar(), products: request.products, testPlan: request.testPlan, platforms: request.platforms(),
      state: state)
  }

  /// The forecast, and what `ask` finds in this machine's store; nil where there is none.
  private func known<Value>(
    _ plan: Plan, _ loaded: LoadedCatalog, _ ask: (any RecordStore) async throws -> Value
  ) async throws -> (Forecast, Value?) {
    let store = Embedded.storeFile(in: Embedded.folder(for: loaded.folder))
    guard !catalogOnly, FileManager.default.fileExists(atPath: store.path) else {
      return (Forecast(plan: plan, known: KnownResults(), missing: [:]), nil)
    }
    let embedded = try await Embedded(
      catalog: loaded.folder, reading: true, effects: .system(), logger: try log.logger("kiln", standard: .warning))
    let forecast = try await embedded.coordinator.forecast(plan, scope: .release)
    let answer = try await ask(embedded.store)
    await embedded.store.close()
    return (forecast, answer)
  }

  private func comparison(
    _ other: String, _ work: PlannedWork, _ request: PlanRequest, _ loaded: LoadedCatalog
  ) async throws -> ComparisonReport {
    let old = try await OtherCatalog.side(other, request, loaded)
    let comparison = PlanComparison(of: PlanComparison.Side(work, loaded.lock), against: old)
    let (forecast, history) = try await known(work.plan, loaded) { store in
      let layers = comparison.layers.flatMap { [$0.key] + ($0.previous.map { [$0] } ?? []) }
      return try await store.history(of: layers, scope: .release)
    }
    return ComparisonReport(comparison, work.plan, forecast, history ?? LayerHistory())
  }

  private func print(_ report: ForecastReport, _ work: PlannedWork) {
    var layers = Table("LAYER", "PLATFORM", "KEY", "WHAT", "WHY")
    var cells = Table("CELL", "TARGET", "KEY", "WHAT", "WHY")
    for layer in report.layers {
      layers.add(layer.title, layer.platform, LayerKey(text: layer.key).short, layer.what, layer.why)
    }
    for cell in report.cells {
      cells.add(cell.title, cell.platform, CellKey(text: cell.key).short, cell.what, cell.why)
    }
    Output.write(layers.text + "\n" + cells.text + "\n")
    for impossible in work.impossible {
      Output.write(
        "left out: \(impossible.product) [\(impossible.variant)] \(impossible.target.platform): \(impossible.reason)\n")
    }
    Output.write(
      "\(report.layers.count) layers, \(report.layers.count(where: \.isBuilt)) to build; "
        + "\(report.cells.count) cells, \(report.cells.count(where: \.isReused)) reused; \(report.images) images\n")
  }
}
