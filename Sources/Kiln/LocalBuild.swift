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

struct LocalBuildOptions: ParsableArguments {
  @Option(help: "Jobs at the same time.") var slots = 2
  @Option(help: "The engine's address (default: DOCKER_HOST, else docker's own).") var engine: String?
  @OptionGroup var secrets: SecretOptions
  @Option(help: "The network of RUN steps: default, host (this machine's own, its loopback included) or none.")
  var network = Pool.Network.default

  func validate() throws {
    guard (1...64).contains(slots) else { throw ValidationError("--slots must be from 1 to 64") }
  }
}

extension Pool.Network: ExpressibleByArgument {}

/// Builds on this machine alone: a farm in this process, and one executor on one engine.
struct LocalBuild {
  let loaded: LoadedCatalog
  let options: LocalBuildOptions
  /// The engine's address; nil: docker's own choice.
  let engine: String?
  let secretFiles: [String: URL]
  let quiet: Bool
  let effects: Effects
  let logger: Logger

  /// A build that has ended, and where its images are.
  struct Outcome {
    let detail: BuildDetail
    let images: OCILayoutStore
    /// The embedded farm's.
    let folder: URL
    let engine: Engine
  }

  init(_ loaded: LoadedCatalog, _ options: LocalBuildOptions, quiet: Bool, log: LogOptions) throws {
    self.loaded = loaded
    self.options = options
    engine = options.engine ?? Environment.value("DOCKER_HOST")
    secretFiles = try options.secrets.files()
    self.quiet = quiet
    effects = try Failpointing.effects()
    logger = try log.logger("kiln", standard: .warning)
  }

  func run(_ work: PlannedWork) async throws -> Outcome {
    let workFolder = Embedded.folder(for: loaded.folder).appendingPathComponent("work", isDirectory: true)
    // The folder's own name: who starts ends what its predecessor left, and builds of other folders
    // may be at work in the same engine.
    let name = ExecutorName(text: "local-\(Digest(of: Data(workFolder.standardizedFileURL.path.utf8)).short)")
    // The store first: whoever holds it is the one who may end what an executor left in this folder.
    var embedded = try await Embedded(catalog: loaded.folder, effects: effects, logger: logger)
    let host = try await ExecutorHost.open(
      Pool.Builder(host: engine), executor: name, workFolder: workFolder, kilnVersion: KilnVersion.text,
      logger: logger, time: effects.time)
    let pool = Embedded.pool(host.facts, slots: options.slots, network: options.network)
    embedded.coordinator.pools = [pool]
    // What an earlier run left open is asked for again, or is not wanted any more; what it built stays.
    _ = try await embedded.store.cancelOwnerless()
    var settings = ExecutorSettings()
    // Whoever presses Ctrl-C waits for nothing.
    settings.drainSeconds = 0
    let executor = try host.executor(
      pool: pool, store: embedded.store, queue: embedded.coordinator.queue, images: embedded.images, syft: Syft.path,
      secretFiles: secretFiles, effects: effects, logger: logger, settings: settings)
    let (accepted, _) = try await embedded.coordinator.submit(
      work,
      Coordinator.Request(
        principal: Principal(text: "local"), idempotencyKey: effects.identifier(), retryFailed: true))
    let detail = try await watch(accepted.id, embedded, executor)
    await embedded.store.close()
    return Outcome(detail: detail, images: embedded.images, folder: embedded.folder, engine: host.engine)
  }

  private func watch(_ build: BuildID, _ embedded: Embedded, _ executor: Executor) async throws -> BuildDetail {
    let watcher = BuildWatcher(build: build, store: embedded.store, quiet: quiet)
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
}

extension LocalBuild.Outcome {
  /// Ends the program where the build failed, with what failed and where its log is.
  func mustHavePassed() throws {
    guard detail.summary.state != .passed else { return }
    FailureReport.complain(detail)
    throw ExitCode(Exit.workFailed)
  }
}

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
