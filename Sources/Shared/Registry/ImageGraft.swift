package import Foundation
import Model

/// A child image keeps its parent's blobs exactly. Where a builder rewrote them, the child's own new
/// blobs are grafted onto the parent's image manifest and config. Pure.
package enum ImageGraft {
  package struct Result: Sendable {
    package var manifest: Manifest
    package var config: Data
    /// What the child added, in the image's order.
    package var newBlobs: [Descriptor]
  }

  /// `manifest` and `config` are the child's as the builder made them; the result is always OCI's
  /// media types and canonical JSON, so that both ways give the same bytes.
  ///
  /// Throws where the child has not the parent's history as its beginning: it is not a child.
  package static func graft(
    manifest: Manifest, config: Data, ontoManifest parent: Manifest, config parentConfig: Data
  ) throws -> Result {
    let child = try ImageManifest(manifest)
    let base = try ImageManifest(parent)
    var childConfig = try JSONValue.parse(config, what: "config \(child.config.digest)")
    let baseConfig = try JSONValue.parse(parentConfig, what: "config \(base.config.digest)")
    let childDiffs = childConfig["rootfs"]?["diff_ids"]?.array ?? []
    let baseDiffs = baseConfig["rootfs"]?["diff_ids"]?.array ?? []
    guard childDiffs.count == child.blobs.count, baseDiffs.count == base.blobs.count else {
      throw Failure(.input, code: "bad-image", "\(manifest.digest) or its parent has not one diffID for each blob")
    }
    guard child.blobs.count >= base.blobs.count else {
      throw Failure(
        .infrastructure, code: "not-a-child",
        "the built image has \(child.blobs.count) blobs, its parent \(base.blobs.count): it was not built on it")
    }
    let new = Array(child.blobs.dropFirst(base.blobs.count))
    childConfig["rootfs"]?["diff_ids"] = .array(baseDiffs + childDiffs.dropFirst(baseDiffs.count))
    if let history = grafted(childConfig["history"]?.array, baseConfig["history"]?.array) {
      childConfig["history"] = .array(history)
    }
    let bytes = childConfig.canonicalBytes
    let configDescriptor = Descriptor(
      mediaType: MediaType.imageConfig,
      blob: BlobReference(digest: Digest(of: bytes), sizeBytes: Int64(bytes.count)))
    let layers = (base.blobs + new).map { descriptor in
      JSONValue.object([
        "mediaType": .string(ociType(descriptor.mediaType)), "digest": .string(descriptor.digest.description),
        "size": .integer(descriptor.blob.sizeBytes),
      ])
    }
    let document = JSONValue.object([
      "schemaVersion": .integer(2), "mediaType": .string(MediaType.imageManifest), "config": configDescriptor.json,
      "layers": .array(layers),
    ])
    return Result(
      manifest: Manifest(mediaType: MediaType.imageManifest, bytes: document.canonicalBytes), config: bytes,
      newBlobs: new)
  }

  /// The parent's own entries, then what the child added; nil where one of them keeps no history.
  private static func grafted(_ child: [JSONValue]?, _ parent: [JSONValue]?) -> [JSONValue]? {
    guard let child, let parent, child.count >= parent.count else { return nil }
    return parent + child.dropFirst(parent.count)
  }

  private static func ociType(_ type: String) -> String {
    switch type {
    case "application/vnd.docker.image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip"
    case "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar"
    default: type
    }
  }
}
