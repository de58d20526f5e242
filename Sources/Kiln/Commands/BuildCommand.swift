import ArgumentParser
import Foundation
import KilnCoordinator
import KilnExecutor
import Logging
import Model
import Planner
import RecordStore
import Registry
import ServiceLifecycle
import UnixSignals

struct BuildCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "build",
    abstract: "Build products on this machine alone, with nothing but a container engine.",
    discussion: """
      What was built stays in .kiln beside the catalog (or in KILN_HOME). Interrupted, by Ctrl-C or a kill, \
      the next run goes on where this one stopped.

      Examples:
        kiln build hello --load              the images go into the container engine
        kiln build hello --output ./images   they are written as OCI layouts
        kiln build hello --push HOST:PORT/PREFIX
      """)
  @OptionGroup var catalog: CatalogOptions
  @OptionGroup var request: ProductArguments
  @OptionGroup var output: OutputOptions
  @OptionGroup var log: LogOptions
  @Flag(help: "Load the images into the container engine.") var load = false
  @Option(name: .customLong("output"), help: "Write the images as OCI layouts below this folder.") var outputPath:
    String?
  @Option(help: "Push the images below this registry prefix (HOST:PORT/PREFIX).") var push: String?
  @Option(help: "Jobs at the same time.") var slots = 2
  @Option(help: "The engine's address (default: DOCKER_HOST, else docker's own).") var engine: String?
  @OptionGroup var secrets: SecretOptions
  @Option(help: "The network of RUN steps: default, host (this machine's own, its loopback included) or none.")
  var network = Pool.Network.default

  func run() async throws {
    guard (1...64).contains(slots) else { throw ValidationError("--slots must be from 1 to 64") }
    guard push == nil || request.platformNames.isEmpty else {
      throw ValidationError("--push with --platform would take the other platforms from the pushed tags; leave one out")
    }
    let secretFiles = try secrets.files()
    let loaded = try await catalog.load()
    let work = try Planner.plan(
      catalog: loaded.catalog, lock: loaded.lock,
      request: PlanRequest(products: request.products, platforms: try request.platforms()),
      catalogRevision: await GitRevision.clean(loaded.folder))
    let effects = try Failpointing.effects()
    let logger = try log.logger("kiln", standard: .warning)
    let workFolder = Embedded.folder(for: loaded.folder).appendingPathComponent("work", isDirectory: true)
    // The folder's own name: who starts ends what its predecessor left, and builds of other folders
    // may be at work in the same engine.
    let name = ExecutorName(text: "local-\(Digest(of: Data(workFolder.standardizedFileURL.path.utf8)).short)")
    // The store first: whoever holds it is the one who may end what an executor left in this folder.
    var embedded = try await Embedded(catalog: loaded.folder, effects: effects, logger: logger)
    let host = try await ExecutorHost.open(
      Pool.Builder(host: engine ?? Environment.value("DOCKER_HOST")), executor: name, workFolder: workFolder,
      kilnVersion: KilnVersion.text, logger: logger, time: effects.time)
    let pool = Embedded.pool(host.facts, slots: slots, network: network)
    embedded.coordinator.pools = [pool]
    // What an earlier run left open is asked for again, or is not wanted any more; what it built stays.
    _ = try await embedded.store.cancelOwnerless()
    let executor = try host.executor(
      pool: pool, store: embedded.store, queue: embedded.coordinator.queue, images: embedded.images, syft: Syft.path,
      secretFiles: secretFiles, effects: effects, logger: logger)
    let (accepted, _) = try await embedded.coordinator.submit(
      work,
      Coordinator.Request(
        principal: Principal(text: "local"), idempotencyKey: effects.identifier(), retryFailed: true))
    let detail = try await watch(accepted.id, embedded, executor)
    await embedded.store.close()
    try await finish(detail, embedded, host)
  }

  private func watch(_ build: BuildID, _ embedded: Embedded, _ executor: Executor) async throws -> BuildDetail {
    let watcher = BuildWatcher(build: build, store: embedded.store, quiet: output.json)
    var services = (embedded.coordinator.services() + [ExecutorService(executor)]).map {
      ServiceGroupConfiguration.ServiceConfiguration(service: $0)
    }
    services.append(
      ServiceGroupConfiguration.ServiceConfiguration(
        service: watcher, successTerminationBehavior: .gracefullyShutdownGroup))
    let group = ServiceGroup(
      configuration: ServiceGroupConfiguration(
        services: services, gracefulShutdownSignals: [.sigint, .sigterm], logger: embedded.coordinator.logger))
    try await group.run()
    guard let detail = try await embedded.store.build(build), detail.summary.state.isSettled else {
      Exit.complain("kiln: interrupted; the next 'kiln build' goes on where this one stopped")
      throw ExitCode(Exit.interrupted)
    }
    return detail
  }

  private func finish(_ detail: BuildDetail, _ embedded: Embedded, _ host: ExecutorHost) async throws {
    if output.json { try Output.json(detail) }
    guard detail.summary.state == .passed else {
      for job in detail.jobs where job.state == .dead {
        Exit.complain("kiln: \(job.title): \(job.failure?.message ?? "failed")")
        if let tail = job.failure?.logTail, !tail.isEmpty { Exit.complain(tail) }
        Exit.complain("      its log: kiln logs \(job.id)")
      }
      throw ExitCode(Exit.workFailed)
    }
    let delivery = ImageDelivery(images: embedded.images, folder: embedded.folder)
    for index in detail.published {
      if load { try await delivery.load(index, host.engine) }
      if let outputPath { try await delivery.write(index, to: URL(fileURLWithPath: outputPath, isDirectory: true)) }
      if let push { try await delivery.push(index, to: push) }
      if !output.json {
        for tag in index.tags { Output.write("image  \(index.repository):\(tag) \(index.digest)\n") }
      }
    }
  }
}

extension Pool.Network: ExpressibleByArgument {}

/// Shows a build until it is settled.
struct BuildWatcher: Service {
  let build: BuildID
  let store: any RecordStore
  let quiet: Bool

  func run() async throws {
    try await cancelWhenGracefulShutdown {
      var progress = Progress()
      for try await topic in try await store.notifications() where !topic.hasPrefix("evidence:") {
        guard let detail = try await store.build(build) else { return }
        if !quiet { progress.show(detail) }
        if detail.summary.state.isSettled { return }
      }
    }
  }
}
