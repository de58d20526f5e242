import Foundation
import HTTPClient
import JobQueue
import JobQueueAMQP
import KilnCoordinator
import KilnExecutor
import Logging
import Model
import Planner
import RecordStore
import RecordStorePostgres
import RecordStoreSQLite
import Registry
import ServiceLifecycle

/// A farm with everything of its own, in this process: a coordinator, and an executor that does
/// nothing until it is given a builder. Made for a measurement, removed after it.
struct BenchFarm: Sendable {
  enum Kind: String, Sendable {
    /// RabbitMQ, Postgres, a registry.
    case services = "farm"
    /// RabbitMQ, Postgres, and an OCI layout folder in the registry's place.
    case withoutRegistry = "farm, no registry"
    /// The in-process queue, SQLite, an OCI layout folder, as `kiln build` has them.
    case embedded
  }

  let coordinator: Coordinator
  var executor: Executor
  private let remove: @Sendable () async throws -> Void

  /// - Parameter adapt: what is to be otherwise in the executor.
  static func with<Value: Sendable>(
    _ kind: Kind, slots: Int, base: SampleBase, folder: URL, adapt: (inout Executor) async throws -> Void = { _ in },
    _ body: @escaping @Sendable (BenchFarm) async throws -> Value
  ) async throws -> Value {
    let identifier = Effects.system().identifier()
    let folder = folder.appendingPathComponent(identifier, isDirectory: true)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let pool = Pool(
      name: PoolName(text: "bench-\(identifier)"), platforms: base.digests.keys.sorted(), slots: slots,
      builder: Pool.Builder(host: try Address.require("KILN_TEST_ENGINE_A")), emulated: true)
    var farm =
      switch kind {
      case .services: try await services(identifier, pool, base, folder, images: try registry(identifier))
      case .withoutRegistry: try await services(identifier, pool, base, folder, images: try layout(folder))
      case .embedded: try await embedded(pool, base, folder)
      }
    let result: Result<Value, any Error>
    do {
      try await adapt(&farm.executor)
      let ready = farm
      result = .success(try await ready.running { try await body(ready) })
    } catch {
      result = .failure(error)
    }
    try await farm.remove()
    try FileManager.default.removeItem(at: folder)
    return try result.get()
  }

  private static func registry(_ identifier: String) throws -> RegistryClient {
    RegistryClient(
      endpoint: RegistryEndpoint(host: try Address.require("KILN_TEST_REGISTRY"), prefix: "kiln-bench/\(identifier)"),
      http: HTTPClient(), effects: .system())
  }

  private static func layout(_ folder: URL) throws -> OCILayoutStore {
    try OCILayoutStore(directory: folder.appendingPathComponent("images", isDirectory: true))
  }

  private static func services(
    _ identifier: String, _ pool: Pool, _ base: SampleBase, _ folder: URL, images: any ImageStore
  ) async throws -> BenchFarm {
    let effects = Effects.system()
    let address = try Address.require("KILN_TEST_AMQP_URL")
    let database = try await BenchDatabase.create(identifier)
    func store(_ role: PostgresConfiguration.Role) throws -> SQLRecordStore<PostgresEngine> {
      let configuration = try PostgresConfiguration(
        url: database.url, applicationName: "kiln-bench", role: role)
      return SQLRecordStore(
        engine: PostgresEngine(configuration: configuration, effects: effects, logger: .bench), effects: effects)
    }
    @Sendable func queue(_ role: AMQPConfiguration.Role) throws -> AMQPJobQueue {
      AMQPJobQueue(
        configuration: try AMQPConfiguration(url: address, role: role, namePrefix: "kilnbench-\(identifier)"),
        effects: effects, logger: .bench)
    }
    let (coordinatorStore, executorStore) = (try store(.coordinator), try store(.executor))
    let (coordinatorQueue, executorQueue) = (try queue(.coordinator), try queue(.executor))
    _ = try await coordinatorStore.migrate(.postgres)
    return BenchFarm(
      coordinator: coordinator(coordinatorStore, coordinatorQueue, images, pool, base),
      executor: executor(executorStore, executorQueue, images, pool, folder)
    ) {
      await executorQueue.close()
      await executorStore.close()
      await coordinatorQueue.close()
      await coordinatorStore.close()
      // With a connection of its own: no consumer is there any more to be told.
      let cleaner = try queue(.coordinator)
      try await cleaner.remove([pool.name])
      await cleaner.close()
      try await database.drop()
    }
  }

  private static func embedded(_ pool: Pool, _ base: SampleBase, _ folder: URL) async throws -> BenchFarm {
    let effects = Effects.system()
    let engine = try SQLiteEngine(path: folder.appendingPathComponent("store.sqlite").path, time: effects.time)
    let store = SQLRecordStore(engine: engine, effects: effects)
    _ = try await store.migrate(.sqlite)
    let images = try layout(folder)
    let queue = InProcessJobQueue()
    return BenchFarm(
      coordinator: coordinator(store, queue, images, pool, base),
      executor: executor(store, queue, images, pool, folder)
    ) {
      await queue.close()
      await store.close()
    }
  }

  private static func coordinator(
    _ store: any RecordStore, _ queue: any JobQueue, _ images: any ImageStore, _ pool: Pool, _ base: SampleBase
  ) -> Coordinator {
    Coordinator(
      name: "bench", store: store, queue: queue, images: images, pools: [pool],
      openSource: { _ in (try OCILayoutStore(directory: base.layout), "") }, effects: .system(), logger: .bench)
  }

  private static func executor(
    _ store: any AttemptStore, _ queue: any JobQueue, _ images: any ImageStore, _ pool: Pool, _ folder: URL
  ) -> Executor {
    let name = ExecutorName(text: "bench")
    return Executor(
      name: name, pool: pool,
      host: HostFacts(
        executor: name, kilnVersion: "bench", engineVersion: "none", builderVersion: "none", platforms: pool.platforms,
        cpuCount: ProcessInfo.processInfo.activeProcessorCount, freeBytes: nil),
      store: store, queue: queue, images: images, builder: IdleBuilder(), tester: IdleTester(),
      workFolder: folder.appendingPathComponent("work", isDirectory: true), effects: .system(), logger: .bench)
  }

  // MARK: Running

  /// Runs coordinator and executor for as long as `body` runs.
  private func running<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
    try await withThrowingTaskGroup(of: Value?.self) { group in
      for service in coordinator.services() + [ExecutorService(executor)] {
        group.addTask {
          try await service.run()
          return nil
        }
      }
      group.addTask {
        try await untilSlotsStand()
        return try await body()
      }
      defer { group.cancelAll() }
      guard let first = try await group.next(), let value = first else { throw BenchError("a service ended by itself") }
      return value
    }
  }

  private func untilSlotsStand() async throws {
    let pool = executor.pool
    for _ in 0..<500 {
      if try await coordinator.queue.depth(of: pool.name).consumers >= pool.slots { return }
      try await coordinator.effects.time.sleep(seconds: 0.02)
    }
    throw BenchError("the executor's slots do not stand")
  }

  /// Hands the plan in and returns when the build has passed.
  func build(_ work: PlannedWork) async throws -> BuildDetail {
    try await wait(for: submit(work))
  }

  func submit(_ work: PlannedWork) async throws -> BuildID {
    let request = Coordinator.Request(
      principal: Principal(text: "bench"), idempotencyKey: coordinator.effects.identifier())
    return try await coordinator.submit(work, request).0.id
  }

  /// Returns when it has passed.
  func wait(for id: BuildID) async throws -> BuildDetail {
    // The store keeps the times: this poll need not be quick.
    while try await coordinator.store.builds(limit: 1, before: nil).first?.state.isSettled != true {
      try await coordinator.effects.time.sleep(seconds: 0.05)
    }
    guard let build = try await coordinator.store.build(id), build.summary.state == .passed else {
      throw BenchError("build \(id) did not pass")
    }
    return build
  }
}
