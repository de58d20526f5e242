import Foundation
import JobQueue
import Logging
import Model
import Planner
import RecordStore
import RecordStoreSQLite
import Registry
import TestSupport
import Testing

@testable import KilnCoordinator

/// A store, a queue and an image store that outlive their coordinators, all in this process, and time
/// that only the test moves.
struct Bench: Sendable {
  static let pool = PoolName(text: "pool")
  static let amd64 = "linux/amd64"
  static let arm64 = "linux/arm64"

  let folder: URL
  let time = HeldTime()
  let queue = FaultyQueue()
  let random = SeededRandom(seed: 2)
  let log = TestLog()
  let engine: SQLiteEngine
  let store: SQLRecordStore<SQLiteEngine>
  let images: OCILayoutStore
  /// Where the base comes from.
  let outside: OCILayoutStore
  let bases: [Platform: Digest]

  var imageFolder: URL { folder.appendingPathComponent("images") }

  private init(_ folder: URL) async throws {
    self.folder = folder
    engine = try SQLiteEngine(path: nil, time: time)
    store = SQLRecordStore(engine: engine, effects: Effects(time: time, random: SeededRandom(seed: 1)))
    _ = try await store.migrate(.sqlite)
    images = try OCILayoutStore(directory: folder.appendingPathComponent("images"))
    outside = try OCILayoutStore(directory: folder.appendingPathComponent("outside"))
    var bases: [Platform: Digest] = [:]
    for text in [Self.amd64, Self.arm64] {
      let base = ImageStoreConformance.SampleImage(platform: text, blobs: 1)
      try await base.push(to: outside, "debian")
      bases[try #require(Platform(text))] = base.manifest.digest
    }
    self.bases = bases
  }

  /// Runs `body` on a bench of its own, of which nothing stays.
  static func with(_ body: (Bench) async throws -> Void) async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-coordinator-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    let bench = try await Bench(folder)
    try await body(bench)
    await bench.store.close()
  }

  var catalog: CatalogFiles { CatalogFiles(bases: bases) }

  static func pool(_ name: String = "pool", platforms: String...) throws -> Pool {
    Pool(
      name: PoolName(text: name),
      platforms: try (platforms.isEmpty ? [amd64, arm64] : platforms).map { try #require(Platform($0)) })
  }

  /// A new coordinator on what is there.
  func coordinator(
    failpoints: any Failpoints = NoFailpoints(), pools: [Pool]? = nil, images: (any ImageStore)? = nil
  ) throws -> Coordinator {
    Coordinator(
      name: "coordinator", store: store, queue: queue, images: images ?? self.images, pools: try pools ?? [Self.pool()],
      openSource: { [outside] _ in (outside, repository: "debian") },
      effects: Effects(time: time, random: random, failpoints: failpoints), logger: log.logger())
  }

  @discardableResult
  func submit(
    _ catalog: CatalogFiles? = nil, key: String = "key", with coordinator: Coordinator? = nil
  ) async throws -> AcceptedBuild {
    let (accepted, _) = try await (coordinator ?? self.coordinator()).submit(
      try (catalog ?? self.catalog).work(),
      Coordinator.Request(principal: Principal(text: "somebody"), idempotencyKey: key))
    return accepted
  }

  func build(_ build: AcceptedBuild) async throws -> BuildDetail {
    let detail = try await store.build(build.id)
    return try #require(detail)
  }

  func job(_ id: JobID) async throws -> JobDetail {
    let detail = try await store.job(id)
    return try #require(detail)
  }

  /// A build's first job, queued and then claimed by a worker.
  func claimFirst() async throws -> (build: AcceptedBuild, claim: Claim) {
    try await queue.prepare([Self.pool])
    let build = try await submit()
    try await dispatch()
    let job = try #require(try await self.build(build).jobs.first { $0.state == .queued }).id
    let claim = try await Worker(self).claim(job)
    return (build, try #require(claim))
  }

  /// One round of the dispatch loop. Returns how long it would sleep.
  @discardableResult
  func dispatch(_ coordinator: Coordinator? = nil, looks: inout [PoolName: Int]) async throws -> Double {
    return await DispatchLoop(coordinator: try coordinator ?? self.coordinator(), bell: Bell()).pass(&looks)
  }

  @discardableResult
  func dispatch(_ coordinator: Coordinator? = nil) async throws -> Double {
    var looks: [PoolName: Int] = [:]
    return try await dispatch(coordinator, looks: &looks)
  }

  @discardableResult
  func end(_ coordinator: Coordinator? = nil) async throws -> Double {
    await EndingLoop(coordinator: try coordinator ?? self.coordinator(), bell: Bell()).pass()
  }

  /// The farm goes on, with time, until the build is settled or a hundred rounds have passed.
  func finish(
    _ build: AcceptedBuild, worker: Worker, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    for _ in 0..<100 {
      try await dispatch()
      try await worker.drain()
      try await end()
      if try await self.build(build).summary.state.isSettled { return }
      time.advance(seconds: 5)
    }
    Issue.record("build \(build.id) does not end", sourceLocation: sourceLocation)
  }

  /// The executors see through all that can be built for `platform`, and nothing else.
  func finishOnly(_ platform: String, of build: AcceptedBuild, worker: Worker) async throws {
    while let open = try await self.build(build).jobs.first(where: {
      $0.state == .ready && $0.title.hasSuffix(platform)
    }) {
      try await worker.finish(try #require(try await worker.claim(open.id)))
    }
  }

  /// The executors go on until each cell of the build passed or failed; nobody ends the build.
  func settleCells(
    of build: AcceptedBuild, worker: Worker, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    for _ in 0..<100 {
      if try await self.build(build).cells.allSatisfy({ [.passed, .failed].contains($0.state) }) { return }
      try await dispatch()
      try await worker.drain()
    }
    Issue.record("the cells of build \(build.id) do not settle", sourceLocation: sourceLocation)
  }

  /// Submits and sees it through.
  @discardableResult
  func run(_ catalog: CatalogFiles? = nil, key: String = "key") async throws -> BuildDetail {
    try await queue.prepare([Self.pool])
    let accepted = try await submit(catalog, key: key)
    try await finish(accepted, worker: Worker(self))
    return try await build(accepted)
  }

  /// Deletes a manifest or a blob behind the store's back.
  func delete(_ digest: Digest) throws {
    try FileManager.default.removeItem(at: imageFolder.appendingPathComponent("blobs/sha256/\(digest.hex)"))
  }
}
