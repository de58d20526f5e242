import ArgumentParser
import Foundation
import KilnCoordinator
import KilnExecutor
import Logging
import Model
import Planner
import Registry

/// A layer's job against the bare `docker buildx build` of the same Dockerfile with the same output:
/// what Kiln adds is the parent's look-up, the checks, the push and the record.
struct LayerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "layer", abstract: "A layer's job and the bare build.")
  @OptionGroup var options: RoundOptions

  private enum Kind: String, CaseIterable {
    case copy = "COPY"
    case run = "RUN true"

    /// A layer that no cache knows.
    var fragment: BenchCatalog.Fragment {
      let salt = UUID().uuidString
      return switch self {
      case .copy:
        BenchCatalog.Fragment(name: "layer", text: "COPY file.txt /file.txt\n", files: ["file.txt": Data(salt.utf8)])
      case .run: BenchCatalog.Fragment(name: "layer", text: "RUN true \(salt)\n")
      }
    }
  }

  func run() async throws {
    let base = try await SampleBase.open()
    let rounds = options.rounds
    let folder = options.url.appendingPathComponent("bare-\(UUID().uuidString)", isDirectory: true)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let table = try await BenchFarm.with(
      .services, slots: 1, base: base, folder: options.url,
      adapt: Self.giveRealBuilder
    ) { farm in
      let bare = BareBuild(folder: folder, docker: farm.executor.workFolder.appendingPathComponent("docker"))
      var table = Table("layer (ms)", ["bare buildx", "kiln's job", "more", "times"])
      for kind in Kind.allCases {
        let samples = try await interleaved(
          rounds: rounds,
          [
            // First: its first build brings the base into the registry.
            Way(name: "kiln") {
              let work = try BenchCatalog(fragments: [kind.fragment]).plan(base)
              let timing = try await BuildTiming(try await farm.build(work), of: work.plan, in: farm.coordinator.store)
              return timing.layerMilliseconds.reduce(0, +)
            },
            Way(name: "bare") {
              let work = try BenchCatalog(fragments: [kind.fragment]).plan(base)
              return try await bare.milliseconds(work, on: farm.executor.images.location(of: base.digest, in: "layers"))
            },
          ])
        let (job, bare) = (samples[0], samples[1])
        table.add(
          kind.rawValue,
          [spread(bare), spread(job), short(job.median - bare.median), short(job.median / bare.median)])
      }
      return table
    }
    table.print()
  }

  @Sendable static func giveRealBuilder(_ executor: inout Executor) async throws {
    let host = try await ExecutorHost.join(
      executor.pool, executor: executor.name, workFolder: executor.workFolder, login: nil, kilnVersion: "bench",
      logger: .bench,
      time: executor.effects.time)
    executor.builder = try host.executor(
      pool: executor.pool, store: executor.store, queue: executor.queue, images: executor.images, syft: nil,
      effects: executor.effects, logger: .bench
    ).builder
  }
}

/// `docker buildx build`, as a person would call it for what the executor does.
struct BareBuild: Sendable {
  let folder: URL
  /// The client's configuration, which is the executor's.
  let docker: URL

  func milliseconds(_ work: PlannedWork, on parent: ImageLocation) async throws -> Double {
    guard let layer = work.plan.layers.first, work.plan.layers.count == 1, case .registry(let reference) = parent else {
      throw BenchError("not one layer on an image in a registry")
    }
    let from = "FROM \(Recipe.parentContextName)"
    guard layer.dockerfile.contains(from) else { throw BenchError("the layer has no parent") }
    var entries = [
      TarArchive.Entry(
        path: "Dockerfile",
        content: .file(
          Data(layer.dockerfile.replacingOccurrences(of: from, with: "FROM \(reference)").utf8), executable: false))
    ]
    if let context = layer.context, let bytes = work.contexts[context.digest] {
      entries += try TarArchive.read(
        bytes, limits: TarArchive.Limits(maxArchiveBytes: 1 << 20, maxFileBytes: 1 << 20, maxEntries: 10))
    }
    let archive = folder.appendingPathComponent("context.tar")
    try TarArchive.write(entries).write(to: archive)
    var arguments = ["buildx", "build", "--platform", "\(layer.platform)", "--network", "default"]
    for (name, value) in layer.arguments { arguments += ["--build-arg", "\(name)=\(value)"] }
    arguments += [
      "--build-arg", "SOURCE_DATE_EPOCH=\(Recipe.sourceDateEpochSeconds)", "--provenance=false", "--sbom=false",
      "--progress", "rawjson", "--output",
      "type=oci,dest=\(folder.appendingPathComponent("layout").path),tar=false,rewrite-timestamp=true",
      "--metadata-file", folder.appendingPathComponent("metadata.json").path, "-",
    ]
    var environment = ProcessInfo.processInfo.environment
    environment["DOCKER_HOST"] = try Address.require("KILN_TEST_ENGINE_A")
    environment["DOCKER_CONFIG"] = docker.path
    return try await seconds { try await Tool.run("docker", arguments, environment: environment, input: archive) }
      * 1000
  }
}
