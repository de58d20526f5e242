import Foundation
import Model
import RecordStore
import Registry

/// The work itself: a layer is fetched, built and pushed; a cell is tested, described and recorded.
struct JobWork {
  let executor: Executor
  let claim: Claim
  let evidence: EvidenceWriter

  private var repository: String { Repositories.layers(claim.scope) }

  func run() async throws -> AttemptEnd {
    let folder = executor.workFolder.appendingPathComponent("attempt-\(claim.fence.job)-\(claim.fence.attempt)")
    try? FileManager.default.removeItem(at: folder)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    switch claim.spec {
    case .layer(let layer): return .layer(try await build(layer, in: folder))
    case .finish(let cell): return try await finish(cell, in: folder)
    }
  }

  // MARK: A layer

  private func build(_ layer: PlannedLayer, in folder: URL) async throws -> LayerResult {
    let (location, parent) = try await parent(of: layer)
    var archive: URL?
    if let context = layer.context {
      let file = folder.appendingPathComponent("context.tar")
      try await executor.images.download(context, in: repository, to: file)
      archive = file
    }
    try await executor.effects.failpoints.reach(.attemptBeforeBuild)
    let limits = executor.pool.limits
    let built = try await executor.builder.build(
      LayerBuildRequest(
        layer: layer, contextArchive: archive, parent: location, parentImage: parent, attemptFolder: folder,
        network: executor.pool.network, deadlineSeconds: Double(limits.layerSeconds),
        noOutputSeconds: Double(limits.noOutputSeconds), secretFiles: try secrets(of: layer)),
      report: evidence)
    try await executor.effects.failpoints.reach(.attemptAfterBuild)
    for new in built.newBlobs {
      try await executor.images.upload(file: new.file, blob: new.blob, to: repository, mountFrom: nil)
    }
    try await executor.images.upload(built.config, digest: Digest(of: built.config), to: repository)
    do {
      try await executor.images.put(built.manifest, in: repository, tag: nil)
    } catch let failure as Failure where failure.code == "incomplete" {
      // What is new was just pushed: the engine had in its cache what the registry has lost.
      throw Failure(.infrastructure, code: "parent-lost", "a blob of the parent is gone: \(failure.message)")
    }
    try await executor.effects.failpoints.reach(.attemptAfterPush)
    return LayerResult(
      image: built.manifest.digest, addedBytes: built.addedBytes, steps: built.steps,
      engineVersion: built.engineVersion)
  }

  /// Where the builder finds the parent, and its own manifest and config.
  private func parent(of layer: PlannedLayer) async throws -> (ImageLocation, ParentImage) {
    let digest: Digest
    switch layer.parent {
    case .base(let base):
      digest = base.digest
    case .layer(let key):
      guard let image = claim.parentImage else {
        throw Failure(
          .infrastructure, code: "parent-lost", "layer \(key.short), on which this one stands, has no image")
      }
      digest = image
    }
    guard let manifest = try await executor.images.manifest(.digest(digest), in: repository) else {
      if case .base(let base) = layer.parent {
        throw Failure(
          .infrastructure, code: "base-gone", "base \(base.name)@\(digest) is gone from the registry",
          hint: "the next submission brings it again")
      }
      throw Failure(.infrastructure, code: "parent-lost", "the parent's image \(digest) is gone from the registry")
    }
    let descriptor = try ImageManifest(manifest).config
    do {
      let config = try await executor.images.blob(descriptor.digest, in: repository, maxBytes: 8 << 20)
      return (executor.images.location(of: digest, in: repository), ParentImage(manifest: manifest, config: config))
    } catch let failure as Failure where failure.code == "not-found" {
      throw Failure(
        .infrastructure, code: "parent-lost", "the parent's config \(descriptor.digest) is gone: \(failure.message)")
    }
  }

  private func secrets(of layer: PlannedLayer) throws -> [String: URL] {
    var files: [String: URL] = [:]
    for id in layer.secrets.keys.sorted() {
      guard let file = executor.secretFiles[id] else {
        throw Failure(
          .input, code: "secret-missing",
          "\(layer.title) needs secret '\(id)', which executor \(executor.name) does not have",
          hint: "give the executor --secret \(id)=FILE")
      }
      files[id] = file
    }
    return files
  }

  // MARK: A cell

  private func finish(_ cell: PlannedCell, in folder: URL) async throws -> AttemptEnd {
    guard let image = claim.parentImage else {
      throw Failure(.infrastructure, code: "parent-lost", "the cell's last layer has no image")
    }
    guard let manifest = try await executor.images.manifest(.digest(image), in: repository) else {
      throw Failure(.infrastructure, code: "parent-lost", "the cell's image \(image) is gone from the registry")
    }
    for blob in try ImageManifest(manifest).allBlobs.map(\.digest) {
      guard try await executor.images.blobSize(blob, in: repository) == nil else { continue }
      throw Failure(
        .infrastructure, code: "parent-lost", "blob \(blob) of the cell's image \(image) is gone from the registry")
    }
    let request = CellTestRequest(
      job: claim.fence.job, image: executor.images.location(of: image, in: repository), imageDigest: image,
      platform: cell.target.platform, tests: cell.tests, accelerator: cell.target.accelerator, attemptFolder: folder,
      deadlineSeconds: Double(executor.pool.limits.finishSeconds))
    let results = try await executor.tester.test(request, report: evidence)
    await evidence.add(results)
    let failed = results.filter { !$0.passed }
    var sbom: BlobReference?
    if failed.isEmpty, let file = try await executor.tester.describe(request, report: evidence) {
      let bytes = try Data(contentsOf: file)
      let digest = Digest(of: bytes)
      try await executor.images.upload(bytes, digest: digest, to: repository)
      sbom = BlobReference(digest: digest, sizeBytes: Int64(bytes.count))
    }
    try await executor.effects.failpoints.reach(.attemptAfterPush)
    let record = CompatibilityRecord(
      cell: cell, image: image, verdict: failed.isEmpty ? .passed : .failed, tests: results, sbom: sbom,
      host: executor.host, finishedAt: executor.effects.time.now())
    guard let first = failed.first else { return .cell(record) }
    return .failed(
      Failure(
        .test, code: "test-failed",
        "test '\(first.name)' \(first.exitCode.map { "exited with \($0)" } ?? "did not end in time")"
          + (failed.count > 1 ? ", and \(failed.count - 1) more failed" : ""),
        step: first.name, exitCode: first.exitCode, logTail: first.outputTail),
      record: record)
  }
}
