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
  let time: any TimeSource

  /// Reaches the engine with a client configuration of its own in `workFolder`, and ends what a
  /// predecessor of this name left in the engine and in that folder.
  private static func engine(
    _ builder: Pool.Builder, executor: ExecutorName, workFolder: URL, time: any TimeSource
  ) throws -> Engine {
    let files = FileManager.default
    try files.createDirectory(at: workFolder, withIntermediateDirectories: true)
    for name in try files.contentsOfDirectory(atPath: workFolder.path) where name.hasPrefix("attempt-") {
      try files.removeItem(at: workFolder.appendingPathComponent(name))
    }
    let docker = try DockerClient(
      builder: builder, configurationFolder: workFolder.appendingPathComponent("docker"), time: time)
    return Engine(docker: docker, workFolder: workFolder)
  }

  /// For one machine on its own: whatever its engine can build. Throws a `Failure` that says what is
  /// missing.
  package static func open(
    _ builder: Pool.Builder, executor: ExecutorName, workFolder: URL, kilnVersion: String, logger: Logger,
    time: any TimeSource
  ) async throws -> ExecutorHost {
    let engine = try engine(builder, executor: executor, workFolder: workFolder, time: time)
    let pool = Pool(
      name: PoolName(text: "local"), platforms: try await engine.facts().platforms, builder: builder, emulated: true)
    return try await join(pool, engine, executor, workFolder, kilnVersion, logger, time)
  }

  /// For a farm: refuses, with every reason, where the host does not meet the pool's file.
  package static func join(
    _ pool: Pool, executor: ExecutorName, workFolder: URL, kilnVersion: String, logger: Logger, time: any TimeSource
  ) async throws -> ExecutorHost {
    let engine = try engine(pool.builder, executor: executor, workFolder: workFolder, time: time)
    return try await join(pool, engine, executor, workFolder, kilnVersion, logger, time)
  }

  private static func join(
    _ pool: Pool, _ engine: Engine, _ executor: ExecutorName, _ workFolder: URL, _ kilnVersion: String,
    _ logger: Logger, _ time: any TimeSource
  ) async throws -> ExecutorHost {
    let (facts, engineFacts) = try await HostCheck.check(
      pool, engine: engine, executor: executor, kilnVersion: kilnVersion)
    let orphans = Orphans(
      executor: executor, engine: engine, facts: engineFacts, workFolder: workFolder, logger: logger)
    _ = try await orphans.end()
    return ExecutorHost(engine: engine, engineFacts: engineFacts, facts: facts, workFolder: workFolder, time: time)
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
    return Executor(
      name: facts.executor, pool: pool, host: facts, store: store, queue: queue, images: images, builder: builder,
      tester: DockerCellTester(engine: engine, executor: facts.executor, settings: tests, time: time),
      workFolder: workFolder, secretFiles: secretFiles, effects: effects, logger: logger, settings: settings)
  }
}
