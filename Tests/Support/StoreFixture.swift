import Foundation
import Model
package import RecordStore
import Testing

/// A store with what a conformance check does to it again and again: submit chains of layers that no
/// catalog knows, take what is ready, claim it and complete it.
struct StoreFixture: Sendable {
  static let pool = PoolName(text: "pool")
  static let executor = ExecutorName(text: "executor-1")
  static let failure = Failure(.build, code: "step-failed", "RUN false: no luck", step: "RUN false", exitCode: 1)

  let store: any RecordStore
  /// Lets that much of the store's time pass.
  let advance: RecordStoreConformance.Advance

  // MARK: Plans

  /// Paths are the layers' names from the base upwards: `["a", "b"]`. Where two paths begin alike, they
  /// share layers. A name that ends in `!` is an independent fragment's: `own("c!")` is grafted there.
  static func layer(_ path: String...) -> LayerKey { layerKey(path[...]) }
  static func cell(_ path: String...) -> CellKey { cellKey(path) }
  static func own(_ name: String) -> LayerKey { LayerKey(text: Digest(of: "own \(name)").hex) }

  static func layerKey(_ path: ArraySlice<String>) -> LayerKey {
    LayerKey(text: Digest(of: "layer " + path.joined(separator: "/")).hex)
  }

  private static func cellKey(_ path: [String]) -> CellKey {
    CellKey(text: Digest(of: "cell " + path.joined(separator: "/")).hex)
  }

  /// What `run` says that a layer or a cell came to.
  static func image(_ key: some Identifier) -> Digest { Digest(of: "image \(key)") }

  static func plan(_ paths: [[String]]) throws -> Plan {
    let platform = try #require(Platform("linux/amd64"))
    let base = BaseImage(name: "base", source: "registry.example/base", digest: Digest(of: "base"))
    var layers: [LayerKey: (depth: Int, layer: PlannedLayer)] = [:]
    for path in paths {
      for (index, name) in path.enumerated() {
        let key = layerKey(path[...index])
        var planned = PlannedLayer(
          key: key, parent: index == 0 ? .base(base) : .layer(layerKey(path[..<index])),
          fragment: FragmentVersion(name: name, version: "1.0.0"), title: "\(name)@1.0.0", platform: platform,
          dockerfile: "FROM kiln-parent\nRUN \(name)\n", arguments: ["NAME": name], context: nil, secrets: [:],
          reproducible: true)
        if name.hasSuffix("!") {
          var own = planned
          (own.key, own.parent) = (Self.own(name), .scratch)
          layers[own.key] = (-1, own)
          planned.graft = PlannedLayer.Graft(layer: own.key, arguments: [])
        }
        layers[key] = (index, planned)
      }
    }
    let cells = paths.map { path in
      PlannedCell(
        key: cellKey(path), product: "app", productVersion: "1.0.0", variant: "path=\(path.joined(separator: "-"))",
        target: BuildTarget(platform: platform), manifest: "app",
        template: FragmentVersion(name: "template", version: "1.0.0"),
        fragments: path.map { FragmentVersion(name: $0, version: "1.0.0") }, base: base,
        path: path.indices.map { layerKey(path[...$0]) },
        tests: [SmokeTest(name: "starts", command: ["true"], timeoutSeconds: 10, expectedOutput: nil)])
    }
    let images = cells.map { cell in
      PlannedImage(
        product: cell.product, productVersion: cell.productVersion, variant: cell.variant, repository: "app",
        tags: ["1.0.0-\(cell.key.short)"],
        cells: [PlannedImage.CellReference(key: cell.key, target: cell.target, required: true)])
    }
    return Plan(
      catalogRevision: nil, catalogDigest: Digest(of: "catalog"), images: images.sorted { $0.variant < $1.variant },
      cells: cells.sorted { $0.key < $1.key },
      layers: layers.values.sorted { ($0.depth, $0.layer.key) < ($1.depth, $1.layer.key) }.map(\.layer))
  }

  /// One cell for each path.
  static func submission(_ id: String, _ paths: [[String]]) throws -> Submission {
    let plan = try Self.plan(paths)
    return Submission(
      id: BuildID(text: id), scope: .release, principal: Principal(text: "somebody"), idempotencyKey: "key of \(id)",
      priority: 0, plan: plan, layerPools: Dictionary(uniqueKeysWithValues: plan.layers.map { ($0.key, pool) }),
      cellPools: Dictionary(uniqueKeysWithValues: plan.cells.map { ($0.key, pool) }), missing: [:], reusable: [],
      retryFailed: false)
  }

  @discardableResult
  func submit(
    _ id: String, _ paths: [[String]], change: (inout Submission) -> Void = { _ in }
  ) async throws -> AcceptedBuild {
    var submission = try Self.submission(id, paths)
    change(&submission)
    return try await store.submit(submission)
  }

  // MARK: Work

  /// What became ready since the last look, as the window hands it out.
  func ready() async throws -> [JobMessage] {
    try await store.takeReady(pool: Self.pool, extra: 1000, publishLeaseSeconds: 600)
  }

  /// The one job that is ready.
  func onlyReady(sourceLocation: SourceLocation = #_sourceLocation) async throws -> JobID {
    let messages = try await ready()
    #expect(messages.count == 1, sourceLocation: sourceLocation)
    return try #require(messages.first, sourceLocation: sourceLocation).job
  }

  /// The layers and cells whose jobs became ready since the last look.
  func readyWork() async throws -> Set<String> {
    var work: Set<String> = []
    for message in try await ready() {
      let job = try await self.job(message.job)
      work.insert(job.layer?.text ?? job.cell?.text ?? "neither layer nor cell")
    }
    return work
  }

  /// Claims a job, which must be granted. Every call has a nonce of its own.
  func claim(
    _ job: JobID, leaseSeconds: Double = 600, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws -> Claim {
    let outcome = try await store.claim(
      job, executor: Self.executor, nonce: UUID().uuidString, leaseSeconds: leaseSeconds)
    guard case .granted(let claim) = outcome else {
      Issue.record("\(outcome)", sourceLocation: sourceLocation)
      throw Refused(job: job)
    }
    return claim
  }

  struct Refused: Error { let job: JobID }

  func isRefused(_ job: JobID, nonce: String = UUID().uuidString) async throws -> Bool {
    let outcome = try await store.claim(job, executor: Self.executor, nonce: nonce, leaseSeconds: 600)
    if case .refused = outcome { return true } else { return false }
  }

  func complete(_ claim: Claim) async throws {
    switch claim.spec {
    case .layer(let layer): try await store.completeLayer(Self.result(Self.image(layer.key)), fence: claim.fence)
    case .finish(let cell): try await store.completeCell(try Self.record(cell), fence: claim.fence)
    }
  }

  @discardableResult
  func run(_ job: JobID, sourceLocation: SourceLocation = #_sourceLocation) async throws -> Claim {
    let claim = try await self.claim(job, sourceLocation: sourceLocation)
    try await complete(claim)
    return claim
  }

  /// Runs what is ready, and what that makes ready, until nothing is.
  @discardableResult
  func runAll() async throws -> [JobID] {
    var done: [JobID] = []
    while true {
      let messages = try await ready()
      if messages.isEmpty { return done }
      for message in messages {
        try await run(message.job)
        done.append(message.job)
      }
    }
  }

  /// Ends the one build that is decided by now, with its tags.
  func publish(_ id: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let settled = try await store.settleBuilds()
    #expect(settled == [BuildID(text: id)], sourceLocation: sourceLocation)
    let taken = try await store.takePublishing(leaseSeconds: 600)
    #expect(taken?.id == BuildID(text: id), sourceLocation: sourceLocation)
    try await store.finishPublishing(BuildID(text: id), .tagsAgree, indexes: [], problem: nil)
  }

  static func result(_ image: Digest) -> LayerResult {
    LayerResult(
      image: image, addedBytes: 1234,
      steps: [StepTiming(name: "RUN", seconds: 0.5, cached: false)], engineVersion: "1")
  }

  static func record(
    _ cell: PlannedCell, verdict: CompatibilityRecord.Verdict = .passed
  ) throws -> CompatibilityRecord {
    let test = TestResult(
      name: "starts", passed: verdict == .passed, exitCode: verdict == .passed ? 0 : 1, seconds: 0.25,
      outputTail: "ok\n")
    return CompatibilityRecord(
      cell: cell, image: image(cell.key), verdict: verdict, tests: [test], sbom: nil, host: try host(),
      finishedAt: Timestamp(milliseconds: 1_700_000_000_000))
  }

  static func host() throws -> HostFacts {
    HostFacts(
      executor: executor, kilnVersion: "1", engineVersion: "2", builderVersion: "3",
      platforms: [try #require(Platform("linux/amd64"))], cpuCount: 8, freeBytes: nil)
  }

  // MARK: Looking

  func job(_ id: JobID, sourceLocation: SourceLocation = #_sourceLocation) async throws -> JobDetail {
    let job = try await store.job(id)
    return try #require(job, sourceLocation: sourceLocation)
  }

  func build(_ id: String, sourceLocation: SourceLocation = #_sourceLocation) async throws -> BuildDetail {
    let build = try await store.build(BuildID(text: id))
    return try #require(build, sourceLocation: sourceLocation)
  }

  func layer(
    _ key: LayerKey, in id: String, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws -> LayerStatus {
    let build = try await self.build(id, sourceLocation: sourceLocation)
    return try #require(build.layers.first { $0.key == key }, sourceLocation: sourceLocation)
  }

  func cell(
    _ key: CellKey, in id: String, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws -> CellStatus {
    let build = try await self.build(id, sourceLocation: sourceLocation)
    return try #require(build.cells.first { $0.key == key }, sourceLocation: sourceLocation)
  }

  /// The job of a layer's newest generation.
  func jobID(
    _ key: LayerKey, in id: String, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws -> JobID {
    let status = try await layer(key, in: id, sourceLocation: sourceLocation)
    return try #require(status.job, sourceLocation: sourceLocation)
  }
}

extension RecordStore {
  /// The open ones.
  package func deadLetters(limit: Int) async throws -> [StoredDeadLetter] {
    try await deadLetters(DeadLetterSelection(), limit: limit, after: nil)
  }
}

extension Claim {
  package var failureCount: Int { failures.values.reduce(0, +) }

  /// What the job stands on, as if its image were gone.
  var lostParent: LostLayer {
    LostLayer(key: spec.standsOn ?? LayerKey(text: "none"), generation: parentGeneration ?? 0)
  }

  /// What it is to graft.
  var lostGraft: LostLayer {
    guard case .layer(let layer) = spec, let graft = layer.graft else { return lostParent }
    return LostLayer(key: graft.layer, generation: graftGeneration ?? 0)
  }
}
