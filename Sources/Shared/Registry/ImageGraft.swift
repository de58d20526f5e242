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
  /// media types and canonical JSON, so that a child has one digest however its parent was handed to
  /// the builder. Everything else of the child's config stays.
  ///
  /// Throws where the parent's blobs, or the commands of its history, are not the child's beginning:
  /// then it was not built on it.
  package static func graft(
    manifest: Manifest, config: Data, ontoManifest parent: Manifest, config parentConfig: Data
  ) throws -> Result {
    let child = try ImageManifest(manifest)
    let base = try ImageManifest(parent)
    var childConfig = try JSONValue.parse(config, what: "config \(child.config.digest)")
    let baseConfig = try JSONValue.parse(parentConfig, what: "config \(base.config.digest)")
    let childDiffs = try diffIDs(childConfig, of: child, manifest)
    let baseDiffs = try diffIDs(baseConfig, of: base, parent)
    guard child.blobs.count >= base.blobs.count else {
      throw notAChild("it has \(child.blobs.count) blobs, its parent \(base.blobs.count)")
    }
    let new = child.blobs.dropFirst(base.blobs.count).map(withoutAnnotations)
    childConfig["rootfs"] = .object([
      "type": .string("layers"), "diff_ids": .array(baseDiffs + childDiffs.dropFirst(baseDiffs.count)),
    ])
    let childHistory = childConfig["history"]?.array ?? []
    let baseHistory = baseConfig["history"]?.array ?? []
    guard childHistory.map(command).starts(with: baseHistory.map(command)) else {
      throw notAChild("its history does not begin with its parent's")
    }
    childConfig["history"] = .array(baseHistory + childHistory.dropFirst(baseHistory.count))
    keepUnknown(of: baseConfig, in: &childConfig)
    let bytes = childConfig.canonicalBytes
    let configDescriptor = Descriptor(
      mediaType: MediaType.imageConfig,
      blob: BlobReference(digest: Digest(of: bytes), sizeBytes: Int64(bytes.count)))
    let document = JSONValue.object([
      "schemaVersion": .integer(2), "mediaType": .string(MediaType.imageManifest), "config": configDescriptor.json,
      "layers": .array((base.blobs + new).map(oci)),
    ])
    return Result(
      manifest: Manifest(mediaType: MediaType.imageManifest, bytes: document.canonicalBytes), config: bytes,
      newBlobs: new)
  }

  private static func diffIDs(_ config: JSONValue, of image: ImageManifest, _ manifest: Manifest) throws -> [JSONValue]
  {
    let ids = config["rootfs"]?["diff_ids"]?.array ?? []
    guard ids.count == image.blobs.count else {
      throw Failure(
        .input, code: "bad-image",
        "\(manifest.digest) has \(image.blobs.count) blobs, but its config \(ids.count) diff IDs")
    }
    return ids
  }

  /// What of an entry of the history stays when timestamps are pinned.
  private static func command(_ entry: JSONValue) -> [JSONValue?] { [entry["created_by"], entry["empty_layer"]] }

  private static func notAChild(_ why: String) -> Failure {
    Failure(.infrastructure, code: "not-a-child", "the built image was not built on its parent: \(why)")
  }

  /// The builder notes there that it rewrote something; the bytes do not depend on it.
  private static func withoutAnnotations(_ descriptor: Descriptor) -> Descriptor {
    var descriptor = descriptor
    descriptor.json["annotations"] = nil
    return descriptor
  }

  private static func oci(_ descriptor: Descriptor) -> JSONValue {
    var json = descriptor.json
    json["mediaType"] = .string(MediaType.ociBlob(descriptor.mediaType))
    return json
  }

  // MARK: What the builder does not know

  /// BuildKit carries over what it understands, by Docker's rules, so that what is absent there was
  /// removed; anything else in the parent's config it silently drops.
  private static func keepUnknown(of base: JSONValue, in child: inout JSONValue) {
    for (name, value) in base.object ?? [:] where !knownFields.contains(name) && child[name] == nil {
      child[name] = value
    }
    guard let old = base["config"]?.object else { return }
    var new = child["config"] ?? .object([:])
    for (name, value) in old where !knownConfigFields.contains(name) && new[name] == nil { new[name] = value }
    child["config"] = new
  }

  private static let knownFields: Set<String> = [
    "architecture", "author", "config", "container", "container_config", "created", "docker_version", "history", "id",
    "os", "os.features", "os.version", "parent", "rootfs", "variant", "moby.buildkit.buildinfo.v1",
    "moby.buildkit.cache.v0",
  ]
  private static let knownConfigFields: Set<String> = [
    "ArgsEscaped", "AttachStderr", "AttachStdin", "AttachStdout", "Cmd", "CpuShares", "Domainname", "Entrypoint",
    "Env", "ExposedPorts", "Healthcheck", "Hostname", "Image", "Labels", "Memory", "MemorySwap", "OnBuild", "OpenStdin",
    "Shell", "StdinOnce", "StopSignal", "Tty", "User", "Volumes", "WorkingDir",
  ]
}
