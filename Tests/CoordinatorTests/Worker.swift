import Foundation
import JobQueue
import Model
import RecordStore
import RecordStoreSQLite
import Registry
import Testing

/// What executors do, without an engine: a layer's image is its parent's and one blob more.
// Unchecked: `granted` is only touched under `lock`.
final class Worker: @unchecked Sendable {
  static let name = ExecutorName(text: "worker")

  private let bench: Bench
  private let lock = NSLock()
  private var granted: [JobID] = []
  /// Cells for these platforms fail for good.
  private let failing: Set<String>
  /// In every blob: another one, other digests.
  private let salt: String

  init(_ bench: Bench, failing: Set<String> = [], salt: String = "") {
    self.bench = bench
    self.failing = failing
    self.salt = salt
  }

  /// Every job as often as it was given to this worker.
  var claims: [JobID] { lock.withLock { granted } }

  /// Sees through what the queue holds now. Returns how many deliveries it took.
  @discardableResult
  func drain() async throws -> Int {
    let slot = try await bench.queue.openSlot(on: Bench.pool)
    var count = 0
    while try await bench.queue.depth(of: Bench.pool).ready > 0, let delivery = try await slot.next() {
      let message = try JobMessage(body: delivery.body)
      if let claim = try await claim(message.job) { try await finish(claim) }
      try await slot.acknowledge(delivery)
      count += 1
    }
    await slot.close()
    return count
  }

  /// Nil where it is refused.
  func claim(_ job: JobID, leaseSeconds: Double = 30) async throws -> Claim? {
    let outcome = try await bench.store.claim(
      job, executor: Self.name, nonce: UUID().uuidString, leaseSeconds: leaseSeconds)
    guard case .granted(let claim) = outcome else { return nil }
    lock.withLock { granted.append(job) }
    return claim
  }

  func finish(_ claim: Claim) async throws {
    switch claim.spec {
    case .layer(let layer):
      let image = try await buildImage(layer, on: claim.parentImage)
      try await bench.store.completeLayer(
        LayerResult(image: image, addedBytes: 1, steps: [], engineVersion: "1"),
        fence: claim.fence)
    case .finish(let cell):
      if failing.contains(cell.target.platform.description) {
        try await bench.store.fail(
          Failure(.test, code: "test-failed", "no luck"), decision: .dead, record: nil, fence: claim.fence)
      } else {
        try await bench.store.completeCell(try record(cell, claim.parentImage), fence: claim.fence)
      }
    }
  }

  private func record(_ cell: PlannedCell, _ image: Digest?) throws -> CompatibilityRecord {
    let host = HostFacts(
      executor: Self.name, kilnVersion: "1", engineVersion: "1", builderVersion: "1",
      platforms: [cell.target.platform], cpuCount: 1, freeBytes: nil)
    return CompatibilityRecord(
      cell: cell, image: try #require(image), verdict: .passed, tests: [], sbom: nil, host: host,
      finishedAt: bench.time.now())
  }

  private func buildImage(_ layer: PlannedLayer, on parent: Digest?) async throws -> Digest {
    var below: [Descriptor] = []
    if let digest = parent ?? Self.base(of: layer) {
      let found = try await bench.images.manifest(.digest(digest), in: "layers")
      below = try ImageManifest(try #require(found)).blobs
    } else {
      #expect(layer.parent == .scratch)
    }
    let blob = Data("layer \(layer.key) \(salt)\n".utf8)
    let config = Data(
      "{\"os\":\"linux\",\"architecture\":\"\(layer.platform.architecture)\",\"of\":\"\(layer.key)\"}".utf8)
    for bytes in [blob, config] { try await bench.images.upload(bytes, digest: Digest(of: bytes), to: "layers") }
    let own = Descriptor(
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      blob: BlobReference(digest: Digest(of: blob), sizeBytes: Int64(blob.count)))
    let blobs = below + [own]
    func json(_ descriptor: Descriptor) -> String {
      """
      {"mediaType":"\(descriptor.mediaType)","digest":"\(descriptor.digest)","size":\(descriptor.blob.sizeBytes)}
      """
    }
    let configuration = Descriptor(
      mediaType: MediaType.imageConfig,
      blob: BlobReference(digest: Digest(of: config), sizeBytes: Int64(config.count)))
    let image = Manifest(
      mediaType: MediaType.imageManifest,
      bytes: Data(
        """
        {"schemaVersion":2,"mediaType":"\(MediaType.imageManifest)","config":\(json(configuration)),\
        "layers":[\(blobs.map(json).joined(separator: ","))]}
        """.utf8))
    try await bench.images.put(image, in: "layers", tag: nil)
    return image.digest
  }

  private static func base(of layer: PlannedLayer) -> Digest? {
    if case .base(let base) = layer.parent { base.digest } else { nil }
  }
}
