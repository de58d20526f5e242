import Foundation
import JobQueue
import Logging
import Model
import RecordStore
import Registry
import TestSupport
import Testing

@testable import KilnExecutor

/// An executor with one slot, all of whose parts can be replaced.
func withExecutor(
  _ store: ScriptedStore, queue: any JobQueue = ScriptedQueue([]), time: any TimeSource,
  _ body: (Executor) async throws -> Void
) async throws {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-attempt-\(UUID().uuidString)")
  defer { try? FileManager.default.removeItem(at: folder) }
  let images = try OCILayoutStore(directory: folder)
  for bytes in [ScriptedStore.config, ScriptedStore.blob] {
    try await images.upload(bytes, digest: Digest(of: bytes), to: "layers")
  }
  try await images.put(ScriptedStore.base, in: "layers", tag: nil)
  let name = ExecutorName(text: "executor")
  let platform = try #require(Platform("linux/amd64"))
  let host = HostFacts(
    executor: name, kilnVersion: "1", engineVersion: "1", builderVersion: "1", platforms: [platform], cpuCount: 1,
    freeBytes: nil)
  // Longer than `ShortSleeps` are short.
  var settings = ExecutorSettings()
  settings.heartbeatSeconds = 10
  try await body(
    Executor(
      name: name, pool: Pool(name: PoolName(text: "pool"), platforms: [platform], slots: 1), host: host,
      store: store, queue: queue, images: images, builder: Waits(), tester: Waits(),
      workFolder: folder, effects: Effects(time: time, random: SeededRandom(seed: 1)),
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, settings: settings))
}

/// Works until it is told to stop.
private struct Waits: LayerBuilder, CellTester {
  private func forever() async throws -> Never {
    let (never, continuation) = AsyncStream<Never>.makeStream()
    for await _ in never {}
    continuation.finish()
    throw CancellationError()
  }
  func build(_ request: LayerBuildRequest, report: any BuildReport) async throws -> BuiltLayer { try await forever() }
  func test(_ request: CellTestRequest, report: any BuildReport) async throws -> [TestResult] { try await forever() }
  func describe(_ request: CellTestRequest, report: any BuildReport) async throws -> URL? { nil }
}

/// Grants every claim, for a cell whose image nobody has, or a layer, and keeps
/// what is written.
// Unchecked: all state is under `lock`; what a test sets, it sets before the attempt.
final class ScriptedStore: AttemptStore, @unchecked Sendable {
  static let config = Data(#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#.utf8)
  static let blob = Data("blob".utf8)
  static let base = Manifest(
    mediaType: MediaType.imageManifest,
    bytes: Data(
      """
      {"schemaVersion":2,"mediaType":"\(MediaType.imageManifest)",\
      "config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"\(Digest(of: config))",\
      "size":\(config.count)},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar",\
      "digest":"\(Digest(of: blob))","size":\(blob.count)}]}
      """.utf8))

  var heartbeatHangs = false
  var isCancelled = false
  var isLayer = false
  /// Of the layer, which it then is.
  var context: BlobReference?
  /// Claims are not answered.
  var isAway = false
  var lostAnswers = 0
  private let lock = NSLock()
  private let generation: Int?
  private var granted = 0
  private var unanswered = 0
  private var written: [String] = []
  private var pieces: [EvidenceChunk] = []
  private var heartbeatEnded = false

  init(generation: Int?) { self.generation = generation }

  var unansweredClaims: Int { lock.withLock { unanswered } }
  var claims: Int { lock.withLock { granted } }
  var ends: [String] { lock.withLock { written } }
  var chunks: [EvidenceChunk] { lock.withLock { pieces.sorted { $0.sequence < $1.sequence } } }
  var isHeartbeatOver: Bool { lock.withLock { heartbeatEnded } }
  func kept(_ stream: EvidenceChunk.Stream) -> String {
    String(decoding: chunks.filter { $0.stream == stream }.flatMap(\.bytes), as: UTF8.self)
  }

  func announce(_ executor: ExecutorName, pool: PoolName, slots: Int, host: HostFacts) async throws {}

  func claim(_ job: JobID, executor: ExecutorName, nonce: String, leaseSeconds: Double) async throws -> ClaimOutcome {
    if isAway {
      lock.withLock { unanswered += 1 }
      throw StoreError(.unavailable, "the store is away")
    }
    lock.withLock { granted += 1 }
    let platform = try #require(Platform("linux/amd64"))
    let base = BaseImage(name: "base", source: "r.example/base", digest: Self.base.digest)
    let spec: JobSpec =
      heartbeatHangs || isCancelled || isLayer || context != nil
      ? .layer(
        PlannedLayer(
          key: LayerKey(text: "layer"), parent: .base(base), fragment: nil, title: "layer", platform: platform,
          dockerfile: "FROM kiln-parent\n", arguments: [:], context: context, secrets: [:], reproducible: true))
      : .finish(
        PlannedCell(
          key: CellKey(text: "cell"), product: "app", productVersion: "1", variant: "",
          target: BuildTarget(platform: platform), manifest: "app",
          template: FragmentVersion(name: "t", version: "1"), fragments: [], base: base,
          path: [LayerKey(text: "layer")], tests: []))
    return .granted(
      Claim(
        fence: Fence(job: job, attempt: 1, nonce: nonce), spec: spec, scope: .release, parentImage: nil,
        parentGeneration: generation, leaseSeconds: leaseSeconds, failures: [:], generation: 1))
  }

  func heartbeat(_ fence: Fence, leaseSeconds: Double) async throws -> HeartbeatOutcome {
    if isCancelled { return .cancelled }
    guard heartbeatHangs else { return .extended }
    let (never, continuation) = AsyncStream<Never>.makeStream()
    for await _ in never {}
    continuation.finish()
    lock.withLock { heartbeatEnded = true }
    throw CancellationError()
  }

  func append(_ chunk: EvidenceChunk, fence: Fence) async throws {
    try lock.withLock {
      // As the real one: what has a number is kept once.
      if !pieces.contains(where: { $0.sequence == chunk.sequence }) { pieces.append(chunk) }
      guard lostAnswers == 0 else {
        lostAnswers -= 1
        throw StoreError(.unavailable, "the answer is lost")
      }
    }
  }

  func completeLayer(_ result: LayerResult, fence: Fence) async throws { end("layer") }
  func completeCell(_ record: CompatibilityRecord, fence: Fence) async throws { end("cell") }
  func fail(_ failure: Failure, decision: RetryPolicy.Decision, record: CompatibilityRecord?, fence: Fence)
    async throws
  { end(failure.code) }
  func giveBack(_ fence: Fence, reason: String) async throws { end("given back") }
  func parentLost(_ fence: Fence, _ lost: LostLayer) async throws {
    end("parent-lost \(lost.key) \(lost.generation)")
  }

  private func end(_ text: String) { lock.withLock { written.append(text) } }
}
