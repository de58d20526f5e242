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
    case .layer(let layer):
      if let graft = layer.graft { return .layer(try await put(graft, of: layer)) }
      return .layer(try await build(layer, in: folder))
    case .finish(let cell): return try await finish(cell, in: folder)
    }
  }

  // MARK: A layer

  private func build(_ layer: PlannedLayer, in folder: URL) async throws -> LayerResult {
    let parent = try await parent(of: layer)
    var archive: URL?
    if let context = layer.context {
      let file = folder.appendingPathComponent("context.tar")
      do {
        try await executor.images.download(context, in: repository, to: file)
      } catch let failure as Failure where failure.code == "not-found" {
        throw Failure(
          .infrastructure, code: "context-gone", "the context of \(layer.title) is gone: \(failure.message)",
          hint: "submit the catalog again: that brings it")
      }
      archive = file
    }
    try await executor.effects.failpoints.reach(.attemptBeforeBuild)
    let limits = executor.pool.limits
    let built = try await executor.builder.build(
      LayerBuildRequest(
        layer: layer, contextArchive: archive, parent: parent, attemptFolder: folder,
        network: executor.pool.network, deadlineSeconds: Double(limits.layerSeconds),
        noOutputSeconds: Double(limits.noOutputSeconds), secretFiles: try secrets(of: layer)),
      report: evidence)
    try await executor.effects.failpoints.reach(.attemptAfterBuild)
    for new in built.newBlobs {
      try await executor.images.upload(file: new.file, blob: new.blob, to: repository, mountFrom: nil)
    }
    let image = try await push(config: built.config, built.manifest)
    return LayerResult(
      image: image, addedBytes: built.addedBytes, steps: built.steps,
      engineVersion: built.engineVersion)
  }

  /// The last of an image, when its new blobs are there. Returns the digest by which it can be had.
  private func push(config: Data, _ manifest: Manifest) async throws -> Digest {
    try await executor.images.upload(config, digest: Digest(of: config), to: repository)
    let held: Manifest
    do {
      held = try await executor.images.putReadable(manifest, in: repository)
    } catch let failure as Failure where failure.code == "incomplete" {
      // What is new is there: the engine had in its cache what the registry has lost.
      throw Failure(.infrastructure, code: "parent-lost", "a blob of the parent is gone: \(failure.message)")
    }
    if held.digest != manifest.digest {
      await evidence.log(
        Array("kiln: the registry holds manifest \(manifest.digest) damaged; pushed again as \(held.digest)\n".utf8))
    }
    try await executor.effects.failpoints.reach(.attemptAfterPush)
    return held.digest
  }

  /// An independent layer's blobs, put on the parent: a config and a manifest are written, no blob moves.
  private func put(_ graft: PlannedLayer.Graft, of layer: PlannedLayer) async throws -> LayerResult {
    let start = executor.effects.time.monotonicSeconds()
    guard let digest = claim.graftImage, let below = try await parent(of: layer) else {
      throw Failure(.infrastructure, code: "graft-lost", "layer \(graft.layer.short), to be grafted, has no image")
    }
    let source = try await image(digest, lost: "graft-lost", "the image to be grafted,")
    for (image, what) in [(below, "the parent of \(layer.title)"), (source, "what is grafted for \(layer.title)")] {
      try LayerImage(manifest: image.manifest, config: image.config).require(layer.platform, what: what)
    }
    let (parent, own) = (
      try ImageGraft.Image(below.manifest, config: below.config),
      try ImageGraft.Image(source.manifest, config: source.config)
    )
    let result = try ImageGraft.independent(own, on: parent, arguments: graft.arguments, title: layer.title)
    for blob in result.newBlobs {
      guard try await executor.images.blobSize(blob.digest, in: repository) == nil else { continue }
      throw Failure(
        .infrastructure, code: "graft-lost", "blob \(blob.digest), to be grafted, is gone from the registry")
    }
    try await executor.effects.failpoints.reach(.attemptAfterBuild)
    let image = try await push(config: result.config, result.manifest)
    let seconds = executor.effects.time.monotonicSeconds() - start
    return LayerResult(
      image: image, addedBytes: 0, steps: [StepTiming(name: "graft", seconds: seconds, cached: false)],
      engineVersion: "")
  }

  /// Nil where it stands on nothing.
  private func parent(of layer: PlannedLayer) async throws -> ParentImage? {
    switch layer.parent {
    case .scratch: return nil
    case .base(let base):
      do {
        return try await image(base.digest, lost: "base-gone", "base \(base.name)")
      } catch var failure as Failure where failure.code == "base-gone" {
        failure.hint = "the next submission brings it again"
        throw failure
      }
    case .layer(let key):
      guard let digest = claim.parentImage else {
        throw Failure(
          .infrastructure, code: "parent-lost", "layer \(key.short), on which this one stands, has no image")
      }
      return try await image(digest, lost: "parent-lost", "the parent's image")
    }
  }

  /// An image's manifest and config, or a failure with the code `lost`.
  private func image(_ digest: Digest, lost code: String, _ what: String) async throws -> ParentImage {
    guard let manifest = try await executor.images.manifest(.digest(digest), in: repository) else {
      throw Failure(.infrastructure, code: code, "\(what) \(digest) is gone from the registry")
    }
    let descriptor = try ImageManifest(manifest).config
    do {
      let config = try await executor.images.blob(descriptor.digest, in: repository, maxBytes: 8 << 20)
      return ParentImage(
        location: executor.images.location(of: digest, in: repository), manifest: manifest, config: config)
    } catch let failure as Failure where failure.code == "not-found" {
      throw Failure(
        .infrastructure, code: code, "the config \(descriptor.digest) of \(what) \(digest) is gone: \(failure.message)")
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
      deadline: executor.effects.time.monotonicSeconds() + Double(executor.pool.limits.finishSeconds))
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
