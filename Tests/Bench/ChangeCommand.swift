import ArgumentParser
import Foundation
import KilnCoordinator
import KilnExecutor
import Model
import Planner
import RecordStore
import Registry

/// One line changed, on a farm that is warm: how long until the image can be pulled, beside
/// `docker buildx bake` with a cache in the registry; and what a fix in the bottom of many variants
/// takes, against what it must take.
struct ChangeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "change", abstract: "One line changed.")
  @OptionGroup var options: RoundOptions
  @Option(help: "Changes of the app that are timed, in each round.") var changes = 4
  @Option(help: "Versions of the app; each with three of what is below.") var versions = 10

  private static let slots = 2

  func run() async throws {
    let base = try await SampleBase.open()
    try await app(base).print()
    var table = Table(
      "one line in the bottom of \(3 * versions) variants, \(Self.slots) slots",
      ["jobs", "wall, s", "critical path, s", "work ÷ slots, s", "wall ÷ bound", "new, KiB", "over loopback, KiB"])
    for independent in [false, true] {
      table.add(independent ? "app is independent" : "app is built", try await bottom(base, independent))
    }
    table.print()
  }

  // MARK: The app

  private func app(_ base: SampleBase) async throws -> Table {
    let (folder, rounds) = (options.url.appendingPathComponent("bake-\(UUID().uuidString)"), options.rounds * changes)
    defer { try? FileManager.default.removeItem(at: folder) }
    let samples = try await BenchFarm.with(
      .services, slots: Self.slots, base: base, folder: options.url, adapt: LayerCommand.giveRealBuilder
    ) { farm in
      guard case .registry(let reference) = farm.executor.images.location(of: base.digest, in: "layers") else {
        throw BenchError("no registry")
      }
      let layers = String(reference.prefix { $0 != "@" })
      let docker = farm.executor.workFolder.appendingPathComponent("docker")
      return try await interleaved(
        rounds: rounds,
        [
          Way(name: "kiln") {
            // The other way's engine has the same layers in its cache: a salt keeps them apart.
            let catalog = Self.product(versions: 1, salt: "kiln", change: UUID().uuidString)
            let clock = ContinuousClock()
            let began = clock.now
            let work = try catalog.plan(base)
            let accepted = try await farm.submit(work)
            let handed = (clock.now - began) / .milliseconds(1)
            let build = try await farm.wait(for: accepted)
            for image in work.plan.images {
              for tag in image.tags
              where try await farm.executor.images.manifest(.tag(tag), in: image.repository) == nil {
                throw BenchError("\(image.repository):\(tag) cannot be pulled")
              }
            }
            guard let finished = build.summary.finishedAt else { throw BenchError("the build has no end") }
            // The store's clock tells to the millisecond; nothing here waits as exactly.
            return handed + Double(finished.milliseconds - build.summary.createdAt.milliseconds)
          },
          Way(name: "bake") {
            let catalog = Self.product(versions: 1, salt: "bake", change: UUID().uuidString)
            let file = try catalog.writeBakeFile(base, baseIn: layers, below: folder)
            let cache = layers.replacing("/layers", with: "/bake-cache")
            let arguments = [
              "buildx", "bake", "--file", file.path, "--progress", "quiet",
              "--set", "*.tags=\(layers.replacing("/layers", with: "/baked")):latest",
              "--set", "*.output=type=registry,registry.insecure=true",
              "--set", "*.cache-from=type=registry,ref=\(cache),registry.insecure=true",
              "--set", "*.cache-to=type=registry,ref=\(cache),mode=max,registry.insecure=true",
            ]
            var environment = ProcessInfo.processInfo.environment
            environment["DOCKER_HOST"] = try Address.require("KILN_TEST_ENGINE_A")
            environment["DOCKER_CONFIG"] = docker.path
            return try await seconds { try await Tool.run("docker", arguments, environment: environment) } * 1000
          },
        ])
    }
    var table = Table("one line of the app, until it can be pulled (ms)", ["p50", "p95", "least", "most"])
    for (name, sample) in zip(["kiln", "bake with a registry cache"], samples) {
      table.add(
        name, [short(sample.median), short(sample.percentile(0.95)), short(sample.least), short(sample.most)])
    }
    return table
  }

  // MARK: The bottom

  private func bottom(_ base: SampleBase, _ independent: Bool) async throws -> [String] {
    let versions = versions
    return try await BenchFarm.with(
      .services, slots: Self.slots, base: base, folder: options.url, adapt: LayerCommand.giveRealBuilder
    ) { farm in
      func work(_ line: String) throws -> BenchCatalog {
        Self.product(versions: versions, salt: "\(independent)", change: "", bottom: line, independent: independent)
      }
      let salt = UUID().uuidString
      _ = try await farm.build(try work(salt).plan(base))
      let (stored, moved) = (try await Self.stored(), try Self.loopback())
      let mended = try work(salt + " mended").plan(base)
      let timing = try await BuildTiming(try await farm.build(mended), of: mended.plan, in: farm.coordinator.store)
      let bound = max(timing.criticalMilliseconds, timing.workMilliseconds / Double(Self.slots))
      return [
        "\(timing.jobs)", short(timing.wallMilliseconds / 1000), short(timing.criticalMilliseconds / 1000),
        short(timing.workMilliseconds / Double(Self.slots) / 1000), short(timing.wallMilliseconds / bound),
        short(Double(try await Self.stored() - stored) / 1024), short(Double(try Self.loopback() - moved) / 1024),
      ]
    }
  }

  /// Bytes in the registry.
  private static func stored() async throws -> Int64 {
    let config = try String(contentsOfFile: try Address.require("KILN_TEST_REGISTRY_CONFIG"), encoding: .utf8)
    guard let line = config.split(separator: "\n").first(where: { $0.contains("rootdirectory:") }),
      let folder = line.split(separator: " ").last,
      let bytes = try await Tool.run("du", ["-sb", String(folder)]).split(separator: "\t").first.flatMap({ Int64($0) })
    else { throw BenchError("where does the registry keep its blobs?") }
    return bytes
  }

  /// Bytes over the loopback interface: registry, broker and store together.
  private static func loopback() throws -> Int64 {
    let table = try String(contentsOfFile: "/proc/net/dev", encoding: .utf8)
    guard let line = table.split(separator: "\n").first(where: { $0.contains("lo:") }),
      let bytes = line.split(whereSeparator: { " :".contains($0) }).dropFirst().first.flatMap({ Int64($0) })
    else { throw BenchError("there is no loopback interface") }
    return bytes
  }

  // MARK: Catalogs

  /// Bottom, three in the middle, and apps on each.
  private static func product(
    versions: Int, salt: String, change: String, bottom: String = "", independent: Bool = false
  ) -> BenchCatalog {
    func numbers(_ count: Int) -> [String] { (1...count).map { "1.0.\($0)" } }
    return BenchCatalog(fragments: [
      BenchCatalog.Fragment(name: "bottom", text: "RUN echo bottom \(salt) \(bottom) > /bottom\n"),
      BenchCatalog.Fragment(
        name: "middle", versions: numbers(versions == 1 ? 1 : 3), text: "RUN echo middle \(salt) {version} > /middle\n"),
      BenchCatalog.Fragment(
        name: "app", versions: numbers(versions),
        text: "COPY \(independent ? "--link " : "")app.txt /app/{version}.txt\n",
        files: ["app.txt": Data("app \(salt) \(change)\n".utf8)], independent: independent),
    ])
  }
}
