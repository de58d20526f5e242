import Foundation
package import Model
import Registry

/// Builds layers with `docker buildx build` on one engine. See `BuildFailure` for what errors mean.
package struct BuildxBuilder: LayerBuilder {
  package let engine: Engine
  package let facts: Engine.Facts
  package let layout: ExportLayout
  /// Below this much free space, a failing step counts as the disk's fault.
  package let diskFloorBytes: Int64
  package let time: any TimeSource

  package init(
    engine: Engine, facts: Engine.Facts, layout: ExportLayout, diskFloorBytes: Int64 = 0, time: any TimeSource
  ) {
    self.engine = engine
    self.facts = facts
    self.layout = layout
    self.diskFloorBytes = diskFloorBytes
    self.time = time
  }

  package func build(_ request: LayerBuildRequest, report: any BuildReport) async throws -> BuiltLayer {
    let parent = try request.parent.map { try LayerImage(manifest: $0.manifest, config: $0.config) }
    // A parent of another platform builds without a word, and the image's config then lies.
    try parent?.require(request.layer.platform, what: "the parent of \(request.layer.title)")
    let deadline = time.monotonicSeconds() + request.deadlineSeconds
    do {
      return try await buildOnce(request, parent, deadline: deadline, report)
    } catch let failure as Failure where failure.code == ExportLayout.damagedCode {
      // The damaged blobs are gone now, and every step is in the builder's cache.
      await report.log(Array("\(failure); exporting again\n".utf8))
      return try await buildOnce(request, parent, deadline: deadline, report)
    } catch let failure as Failure where failure.code == BuildFailure.damagedCacheCode {
      await report.log(Array("\(failure.message); pruning the cache, and building once more without it\n".utf8))
      try await engine.prune(.all)
      var request = request
      request.usesCache = false
      return try await buildOnce(request, parent, deadline: deadline, report)
    }
  }

  private func buildOnce(
    _ request: LayerBuildRequest, _ parent: LayerImage?, deadline: Double, _ report: any BuildReport
  ) async throws -> BuiltLayer {
    // A failed build leaves an earlier one's file in place: this one is new each time.
    let metadata = request.attemptFolder.appendingPathComponent("metadata-\(UUID().uuidString).json")
    let command = BuildxArguments.command(for: request, layout: layout.folder, metadataFile: metadata)
    let context = ContextArchive.withDockerfile(
      archive: request.contextArchive == nil ? nil : Data(), dockerfile: command.dockerfile)
    let monitor = BuildMonitor(
      report: report, time: time, deadline: deadline, noOutputSeconds: request.noOutputSeconds,
      engineFolder: facts.localRoot, diskFloorBytes: diskFloorBytes)
    let program = engine.docker.program(
      command.arguments, input: .bytes(context, then: request.contextArchive), deadlineSeconds: request.deadlineSeconds)
    let result = try await program.run(
      onErrors: { await monitor.feed($0) }, stop: { try await monitor.waitUntilItMustEnd() })
    let (progress, sawDiskFull, sawOutOfMemory) = await monitor.finish()
    guard result.succeeded else {
      throw BuildFailure.classify(
        progress,
        BuildFailure.Facts(
          ending: result.ending, title: request.layer.title, parentDigests: parent?.digests ?? [],
          outOfMemory: sawOutOfMemory, diskFull: sawDiskFull, origins: request.layer.origins ?? []))
    }
    return try collect(request, parent, metadata: metadata, progress)
  }

  /// Reads what was exported, by digest, and puts the new blobs on the parent's own.
  private func collect(
    _ request: LayerBuildRequest, _ parent: LayerImage?, metadata: URL, _ progress: BuildProgress
  ) throws -> BuiltLayer {
    struct Metadata: Decodable {
      var digest: Digest
      enum CodingKeys: String, CodingKey { case digest = "containerimage.digest" }
    }
    guard let bytes = try? Data(contentsOf: metadata),
      let digest = try? JSONDecoder().decode(Metadata.self, from: bytes).digest
    else {
      throw Failure(
        .infrastructure, code: "builder-error", "\(request.layer.title): the builder did not say what it built",
        hint: "this builder may be too old: buildx 0.13 is known to work")
    }
    let manifest = Manifest(mediaType: MediaType.imageManifest, bytes: try layout.read(digest))
    let built = try LayerImage(manifest: manifest) { try layout.read($0) }
    try built.require(request.layer.platform, what: "what was built for \(request.layer.title)")
    let image = try ImageGraft.child(
      ImageGraft.Image(built.manifest, config: built.config),
      of: parent.map { try ImageGraft.Image($0.manifest, config: $0.config) } ?? .nothing)
    let newBlobs = try image.newBlobs.map { new in
      BuiltLayer.NewBlob(blob: new.blob, file: try layout.take(new.blob, into: request.attemptFolder))
    }
    layout.prune()
    return BuiltLayer(
      manifest: image.manifest, config: image.config, newBlobs: newBlobs, steps: progress.timings,
      engineVersion: "\(facts.version) buildx \(facts.builderVersion)")
  }
}
