package import Foundation
package import JobQueue
package import Logging
package import Model
package import RecordStore
package import Registry

/// A build host as an executor finds it: its engine, asked once, and what works on it.
package struct ExecutorHost: Sendable {
  package let engine: Engine
  package let engineFacts: Engine.Facts
  package let facts: HostFacts
  let workFolder: URL
  /// Nobody else works in `workFolder` under this name while it is held.
  let lock: FileLock
  let time: any TimeSource

  /// Takes the work folder for itself: two executors of one name would end each other's work.
  private static func own(_ workFolder: URL, _ executor: ExecutorName) throws -> FileLock {
    try FileManager.default.createDirectory(at: workFolder, withIntermediateDirectories: true)
    do throws(FileLock.Problem) {
      return try FileLock(path: workFolder.appendingPathComponent("lock").path)
    } catch {
      switch error {
      case .held(let owner):
        throw Failure(
          .input, code: "executor-runs",
          "executor \(executor) runs already, as process \(owner ?? "(unknown)"), with the work folder \(workFolder.path)",
          hint: "end it, or give this one another name by --name")
      case .unusable(let reason): throw Failure(.infrastructure, code: "work-folder", reason)
      }
    }
  }

  /// Reaches the engine with a client configuration of its own in `workFolder`.
  private static func engine(
    _ builder: Pool.Builder, executor: ExecutorName, workFolder: URL, login: RegistryLogin?, time: any TimeSource
  ) throws -> Engine {
    let docker = try DockerClient(
      builder: builder, configurationFolder: workFolder.appendingPathComponent("docker"), login: login, time: time)
    return Engine(docker: docker, workFolder: workFolder)
  }

  /// For one machine on its own: whatever its engine can build. Throws a `Failure` that says what is
  /// missing.
  package static func open(
    _ builder: Pool.Builder, executor: ExecutorName, workFolder: URL, kilnVersion: String, logger: Logger,
    time: any TimeSource
  ) async throws -> ExecutorHost {
    let lock = try own(workFolder, executor)
    let engine = try engine(builder, executor: executor, workFolder: workFolder, login: nil, time: time)
    let pool = Pool(
      name: PoolName(text: "local"), platforms: try await engine.facts().platforms, builder: builder, emulated: true)
    return try await join(pool, engine, executor, workFolder, lock, kilnVersion, logger, time)
  }

  /// For a farm: refuses, with every reason, where the host does not meet the pool's file. `login` is for
  /// the farm's registry, which the engine's client reaches by itself.
  package static func join(
    _ pool: Pool, executor: ExecutorName, workFolder: URL, login: RegistryLogin?, kilnVersion: String, logger: Logger,
    time: any TimeSource
  ) async throws -> ExecutorHost {
    let lock = try own(workFolder, executor)
    let engine = try engine(pool.builder, executor: executor, workFolder: workFolder, login: login, time: time)
    return try await join(pool, engine, executor, workFolder, lock, kilnVersion, logger, time)
  }

  private static func join(
    _ pool: Pool, _ engine: Engine, _ executor: ExecutorName, _ workFolder: URL, _ lock: FileLock,
    _ kilnVersion: String, _ logger: Logger, _ time: any TimeSource
  ) async throws -> ExecutorHost {
    let (facts, engineFacts) = try await HostCheck.check(
      pool, engine: engine, executor: executor, kilnVersion: kilnVersion)
    let orphans = Orphans(
      executor: executor, engine: engine, facts: engineFacts, workFolder: workFolder, logger: logger)
    _ = try await orphans.end()
    // Only now, when no client of a predecessor writes there any more.
    let files = FileManager.default
    for name in try files.contentsOfDirectory(atPath: workFolder.path) where name.hasPrefix("attempt-") {
      try? files.removeItem(at: workFolder.appendingPathComponent(name))
    }
    return ExecutorHost(
      engine: engine, engineFacts: engineFacts, facts: facts, workFolder: workFolder, lock: lock, time: time)
  }

  /// An executor that builds with this host's engine. `syft` makes the SBOMs; nil: none are made.
  package func executor(
    pool: Pool, store: any AttemptStore, queue: any JobQueue, images: any ImageStore, syft: String?,
    secretFiles: [String: URL] = [:], effects: Effects, logger: Logger,
    settings: ExecutorSettings = ExecutorSettings()
  ) throws -> Executor {
    let builder = BuildxBuilder(
      engine: engine, facts: engineFacts, layout: try ExportLayout(folder: workFolder.appendingPathComponent("layout")),
      diskFloorBytes: pool.diskFloorBytes, time: time)
    var tests = DockerCellTester.Settings()
    tests.syft = syft
    let (engine, root) = (self.engine, engineFacts.localRoot)
    let orphans = Orphans(
      executor: facts.executor, engine: engine, facts: engineFacts, workFolder: workFolder, logger: logger)
    let check = HostWatch(
      freeBytes: { Engine.freeBytes(at: root) }, floorBytes: pool.diskFloorBytes,
      prune: { try await engine.prune($0) },
      liveness: {
        if let problem = try await engine.liveness() { return problem }
        // It may have been killed, and be there again. What cannot be ended keeps no host from its work.
        let steps = (try? await orphans.endSteps()) ?? 0
        if steps > 0 { logger.notice("ended steps of an engine that was killed", metadata: ["steps": "\(steps)"]) }
        return nil
      })
    return Executor(
      name: facts.executor, pool: pool, host: facts, store: store, queue: queue, images: images, builder: builder,
      tester: DockerCellTester(engine: engine, executor: facts.executor, settings: tests, time: time),
      workFolder: workFolder, lock: lock, watch: check, secretFiles: secretFiles, effects: effects, logger: logger,
      settings: settings)
  }
}
