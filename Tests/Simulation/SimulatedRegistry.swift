import Foundation
import KilnExecutor
import Model
import Registry

/// A registry in memory.
// Unchecked: used by the one thread that runs the scheduler.
final class SimulatedRegistry: @unchecked Sendable {
  struct TagMove: Hashable {
    var repository: String
    var tag: String
    var digest: Digest
  }

  fileprivate var blobs: [String: [Digest: Data]] = [:]
  fileprivate var manifests: [String: [Digest: Manifest]] = [:]
  fileprivate(set) var tags: [String: [String: Digest]] = [:]
  /// Every tag that was ever put, and when first.
  fileprivate(set) var moves: [TagMove: Int64] = [:]
  /// Taken away behind everybody's back.
  private(set) var lost: Set<Digest> = []
  /// Taken for the manifests themselves, whoever puts them again, and never given out.
  fileprivate var empty: Set<Digest> = []

  fileprivate func put(_ manifest: Manifest, in repository: String, tag: String?, now: Int64 = 0) throws {
    let isIndex = MediaType.isIndex(manifest.mediaType)
    let children = isIndex ? try children(ofIndex: manifest) : try ImageManifest(manifest).allBlobs
    for child in children {
      let size = isIndex ? manifests[repository]?[child.digest]?.bytes.count : blobs[repository]?[child.digest]?.count
      guard size == nil || Int64(size ?? 0) != child.blob.sizeBytes else { continue }
      throw Failure(
        .infrastructure, code: "incomplete", "\(manifest.digest) refers to \(child.digest), which is not there")
    }
    manifests[repository, default: [:]][manifest.digest] = manifest
    guard let tag else { return }
    tags[repository, default: [:]][tag] = manifest.digest
    let move = TagMove(repository: repository, tag: tag, digest: manifest.digest)
    if moves[move] == nil { moves[move] = now }
  }

  private func children(ofIndex manifest: Manifest) throws -> [Descriptor] {
    try (JSONValue.parse(manifest.bytes, what: "index")["manifests"]?.array ?? []).map { try Descriptor($0) }
  }

  /// What of an image, or of an index and its images, is not there.
  func missing(_ digest: Digest, in repository: String) -> Set<Digest> {
    guard let manifest = readable(digest, in: repository) else { return [digest] }
    if MediaType.isIndex(manifest.mediaType) {
      let children = (try? children(ofIndex: manifest)) ?? []
      return Set(children.flatMap { missing($0.digest, in: repository) })
    }
    let all = (try? ImageManifest(manifest).allBlobs) ?? []
    return Set(all.map(\.digest).filter { blobs[repository]?[$0] == nil })
  }

  /// An image's own digest, and those of all that it names.
  func parts(_ digest: Digest, in repository: String) -> Set<Digest> {
    let all = manifests[repository]?[digest].flatMap { try? ImageManifest($0).allBlobs } ?? []
    return Set(all.map(\.digest)).union([digest])
  }

  fileprivate func readable(_ digest: Digest, in repository: String) -> Manifest? {
    empty.contains(digest) ? nil : manifests[repository]?[digest]
  }

  /// As a registry does whose disk is full: what it began to write stays, and is empty. Bytes that it has in any
  /// repository are not written again, but that this one has them. Never a base's.
  fileprivate func breakOff(_ manifest: Manifest, in repository: String) {
    let digest = manifest.digest
    guard manifests["debian"]?[digest] == nil else { return }
    if !manifests.values.contains(where: { $0[digest] != nil }) { empty.insert(digest) }
    if manifests[repository]?.removeValue(forKey: digest) != nil { lost.insert(digest) }
  }

  /// Loses an image, or its topmost blob. Never a base's.
  func lose(_ digest: Digest, in repository: String, onlyBlob: Bool) {
    guard let manifest = manifests[repository]?[digest] else { return }
    lost.insert(digest)
    if onlyBlob, let top = try? ImageManifest(manifest).blobs.last {
      blobs[repository]?[top.digest] = nil
      lost.insert(top.digest)
    } else {
      manifests[repository]?[digest] = nil
    }
  }

  struct Built {
    var manifest: Manifest
    var config: Data
    var blob: Data
  }

  /// One blob more than `parent` has; `text` makes it another one.
  static func image(on parent: (manifest: Manifest, config: Data)?, _ platform: Platform, text: String) throws -> Built
  {
    let blob = Data("blob of \(text)\n".utf8)
    var below: [Descriptor] = []
    var config = JSONValue.object([
      "os": .string(platform.os), "architecture": .string(platform.architecture), "config": .object([:]),
    ])
    if let parent {
      below = try ImageManifest(parent.manifest).blobs
      config = try JSONValue.parse(parent.config, what: "config")
    }
    let ids = config["rootfs"]?["diff_ids"]?.array ?? []
    config["rootfs"] = .object([
      "type": .string("layers"), "diff_ids": .array(ids + [.string(Digest(of: blob).description)]),
    ])
    let history = config["history"]?.array ?? []
    config["history"] = .array(history + [.object(["created_by": .string(text)])])
    let bytes = config.canonicalBytes
    func descriptor(_ type: String, _ data: Data) -> Descriptor {
      Descriptor(mediaType: type, blob: BlobReference(digest: Digest(of: data), sizeBytes: Int64(data.count)))
    }
    let layers = below + [descriptor("application/vnd.oci.image.layer.v1.tar", blob)]
    let manifest = JSONValue.object([
      "schemaVersion": .integer(2), "mediaType": .string(MediaType.imageManifest),
      "config": descriptor(MediaType.imageConfig, bytes).json,
      "layers": .array(layers.map(\.json)),
    ])
    return Built(
      manifest: Manifest(mediaType: MediaType.imageManifest, bytes: manifest.canonicalBytes), config: bytes, blob: blob)
  }

  /// The image from which everything starts.
  static func base(_ platform: Platform) throws -> Built { try image(on: nil, platform, text: "base for \(platform)") }

  func add(_ image: Built, to repository: String) throws {
    for bytes in [image.config, image.blob] { blobs[repository, default: [:]][Digest(of: bytes)] = bytes }
    try put(image.manifest, in: repository, tag: nil)
  }
}

/// A process's way to the registry.
struct SimulatedImages: ImageStore {
  let world: SimulatedWorld
  let process: SimulatedProcess

  private var registry: SimulatedRegistry { world.registry }

  private func call() async throws {
    await process.pause(milliseconds: world.latency())
    try Task.checkCancellation()
    if world.now < world.registryAwayUntil || world.isUnlucky(0.003) {
      throw Failure(.infrastructure, code: "registry", "the registry answers 503")
    }
  }

  func blobSize(_ digest: Digest, in repository: String) async throws -> Int64? {
    try await call()
    return registry.blobs[repository]?[digest].map { Int64($0.count) }
  }

  func blob(_ digest: Digest, in repository: String, maxBytes: Int) async throws -> Data {
    try await call()
    guard let bytes = registry.blobs[repository]?[digest] else {
      throw Failure(.input, code: "not-found", "blob \(digest) is not there")
    }
    return bytes
  }

  func download(_ blob: BlobReference, in repository: String, to file: URL) async throws {
    try await self.blob(blob.digest, in: repository, maxBytes: .max).write(to: file)
  }

  func upload(_ bytes: Data, digest: Digest, to repository: String) async throws {
    try await call()
    registry.blobs[repository, default: [:]][digest] = bytes
    if world.isUnlucky(0.003) { throw Failure(.infrastructure, code: "registry", "the answer got lost") }
  }

  func upload(file: URL, blob: BlobReference, to repository: String, mountFrom: String?) async throws {
    try await upload(try Data(contentsOf: file), digest: blob.digest, to: repository)
  }

  func mount(_ blob: BlobReference, from source: String, to repository: String) async throws -> Bool {
    try await call()
    guard let bytes = registry.blobs[source]?[blob.digest] else { return false }
    registry.blobs[repository, default: [:]][blob.digest] = bytes
    return true
  }

  func manifest(_ reference: ManifestReference, in repository: String) async throws -> Manifest? {
    try await call()
    switch reference {
    case .digest(let digest): return registry.readable(digest, in: repository)
    case .tag(let tag): return registry.tags[repository]?[tag].flatMap { registry.readable($0, in: repository) }
    }
  }

  func put(_ manifest: Manifest, in repository: String, tag: String?) async throws {
    try await call()
    if world.isUnlucky(0.003) {
      registry.breakOff(manifest, in: repository)
      throw Failure(.infrastructure, code: "registry-500", "the registry has no room")
    }
    try registry.put(manifest, in: repository, tag: tag, now: world.now)
    if world.isUnlucky(0.003) { throw Failure(.infrastructure, code: "registry", "the answer got lost") }
  }

  func location(of digest: Digest, in repository: String) -> ImageLocation { .registry("sim/\(repository)@\(digest)") }
}

/// A build host without an engine: a layer takes its time, and never comes out the same twice.
struct SimulatedHost: LayerBuilder, CellTester {
  let world: SimulatedWorld
  let process: SimulatedProcess

  private var time: VirtualTime { VirtualTime(process: process) }

  func build(_ request: LayerBuildRequest, report: any BuildReport) async throws -> BuiltLayer {
    let layer = request.layer
    let count = (world.builds[layer.key] ?? 0) + 1
    world.builds[layer.key] = count
    await report.log(Array("building \(layer.title)\n".utf8))
    try await time.sleep(seconds: Double(1 + world.random.below(world.random.happens(0.1) ? 60 : 15)))
    if world.broken.contains(layer.title) {
      throw Failure(.build, code: "step-failed", "a step of \(layer.title) failed", exitCode: 1)
    }
    if world.isUnlucky(0.02) { throw Failure(.infrastructure, code: "engine-gone", "the engine went away") }
    let image = try SimulatedRegistry.image(
      on: request.parent.map { ($0.manifest, $0.config) }, layer.platform,
      text: "\(layer.key) \(process.number) \(count)")
    let file = request.attemptFolder.appendingPathComponent("blob")
    try image.blob.write(to: file)
    let blob = BlobReference(digest: Digest(of: image.blob), sizeBytes: Int64(image.blob.count))
    return BuiltLayer(
      manifest: image.manifest, config: image.config, newBlobs: [BuiltLayer.NewBlob(blob: blob, file: file)], steps: [],
      engineVersion: "1")
  }

  func test(_ request: CellTestRequest, report: any BuildReport) async throws -> [TestResult] {
    try await time.sleep(seconds: Double(1 + world.random.below(8)))
    if world.isUnlucky(0.02) { throw Failure(.infrastructure, code: "engine-gone", "the engine went away") }
    let isBroken = world.broken.contains("cell \(request.platform)")
    return [TestResult(name: "runs", passed: !isBroken, exitCode: isBroken ? 1 : 0, seconds: 1, outputTail: "")]
  }

  func describe(_ request: CellTestRequest, report: any BuildReport) async throws -> URL? { nil }
}
