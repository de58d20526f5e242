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

  /// Asks the engine; throws a `Failure` that says what is missing where it cannot do the work.
  /// `workFolder` is the executor's own: what a predecessor left in it goes.
  package static func open(
    _ builder: Pool.Builder, executor: ExecutorName, workFolder: URL, kilnVersion: String, time: any TimeSource
  ) async throws -> ExecutorHost {
    let files = FileManager.default
    try files.createDirectory(at: workFolder, withIntermediateDirectories: true)
    for name in try files.contentsOfDirectory(atPath: workFolder.path) where name.hasPrefix("attempt-") {
      try files.removeItem(at: workFolder.appendingPathComponent(name))
    }
    let docker = try DockerClient(
      builder: builder, configurationFolder: workFolder.appendingPathComponent("docker"), time: time)
    let engine = Engine(docker: docker, workFolder: workFolder)
    let found = try await engine.facts()
    if let failure = try await engine.liveness() { throw failure }
    let facts = HostFacts(
      executor: executor, kilnVersion: kilnVersion, engineVersion: found.version, builderVersion: found.builderVersion,
      platforms: found.platforms, cpuCount: found.cpuCount, freeBytes: Engine.freeBytes(at: found.localRoot))
    return ExecutorHost(engine: engine, engineFacts: found, facts: facts, workFolder: workFolder, time: time)
  }

  /// An executor that builds with this host's engine.
  package func executor(
    pool: Pool, store: any AttemptStore, queue: any JobQueue, images: any ImageStore, syft: String?,
    secretFiles: [String: URL] = [:], effects: Effects, logger: Logger,
    settings: ExecutorSettings = ExecutorSettings()
  ) throws -> Executor {
    let builder = BuildxBuilder(
      engine: engine, facts: engineFacts, layout: try ExportLayout(folder: workFolder.appendingPathComponent("layout")),
      diskFloorBytes: pool.diskFloorBytes, time: time)
    return Executor(
      name: facts.executor, pool: pool, host: facts, store: store, queue: queue, images: images, builder: builder,
      tester: DockerTester(engine: engine, executor: facts.executor, syft: syft, time: time), workFolder: workFolder,
      secretFiles: secretFiles, effects: effects, logger: logger, settings: settings)
  }
}
