import Foundation
import Model
import Registry

/// Puts what a build added onto the parent's own blobs, manifest entries and config.
///
/// The builder may have rewritten the parent's blobs (it does whenever it pins their timestamps); what
/// it wrote there is left aside. The result is written in one canonical form, so that the same layer
/// has the same digest however its parent was handed to the builder.
extension LayerImage {
  func grafted(onto parent: LayerImage) throws -> LayerImage {
    let (builtLayers, builtConfig) = try documents(self)
    let (parentLayers, parentConfig) = try documents(parent)
    let builtIDs = try Self.diffIDs(builtConfig), parentIDs = try Self.diffIDs(parentConfig)
    let builtHistory = builtConfig["history"] as? [Any] ?? [], parentHistory = parentConfig["history"] as? [Any] ?? []
    guard builtLayers.count == builtIDs.count, parentLayers.count == parentIDs.count,
      builtLayers.count >= parentLayers.count, builtHistory.count >= parentHistory.count
    else {
      throw Failure(
        .infrastructure, code: "builder-error",
        "the built image has \(builtLayers.count) blobs and \(builtIDs.count) diff IDs over a parent's \(parentLayers.count)")
    }
    var config = builtConfig
    config["rootfs"] = ["type": "layers", "diff_ids": parentIDs + builtIDs[parentIDs.count...]] as [String: Any]
    config["history"] = parentHistory + builtHistory[parentHistory.count...]
    Self.keepUnknown(of: parentConfig, in: &config, known: Self.knownFields)
    if let old = parentConfig["config"] as? [String: Any] {
      var new = config["config"] as? [String: Any] ?? [:]
      Self.keepUnknown(of: old, in: &new, known: Self.knownConfigFields)
      config["config"] = new
    }
    let configBytes = try Self.canonical(config)
    let added = builtLayers[parentLayers.count...].map { $0.filter { $0.key != "annotations" } }
    let document: [String: Any] = [
      "schemaVersion": 2, "mediaType": Self.manifestType,
      "config": [
        "mediaType": "application/vnd.oci.image.config.v1+json", "digest": "\(Digest(of: configBytes))",
        "size": configBytes.count,
      ] as [String: Any],
      "layers": parentLayers.map(Self.asOCI) + added,
    ]
    return try LayerImage(manifest: Manifest(mediaType: Self.manifestType, bytes: try Self.canonical(document)), config: configBytes)
  }

  private static let manifestType = "application/vnd.oci.image.manifest.v1+json"

  /// What BuildKit understands and carries over by Docker's rules: absent from what it wrote means
  /// removed. Anything else in the parent's config it silently drops.
  private static let knownFields: Set<String> = [
    "architecture", "author", "config", "container", "container_config", "created", "docker_version", "history", "id",
    "os", "os.features", "os.version", "parent", "rootfs", "variant", "moby.buildkit.buildinfo.v1", "moby.buildkit.cache.v0",
  ]
  private static let knownConfigFields: Set<String> = [
    "ArgsEscaped", "AttachStderr", "AttachStdin", "AttachStdout", "Cmd", "CpuShares", "Domainname", "Entrypoint", "Env",
    "ExposedPorts", "Healthcheck", "Hostname", "Image", "Labels", "Memory", "MemorySwap", "OnBuild", "OpenStdin", "Shell",
    "StdinOnce", "StopSignal", "Tty", "User", "Volumes", "WorkingDir",
  ]

  private static func keepUnknown(of old: [String: Any], in new: inout [String: Any], known: Set<String>) {
    for (name, value) in old where !known.contains(name) && new[name] == nil { new[name] = value }
  }

  /// A Docker image's blobs by their names in OCI manifests: the bytes are the same.
  private static func asOCI(_ descriptor: [String: Any]) -> [String: Any] {
    var descriptor = descriptor
    switch descriptor["mediaType"] as? String {
    case "application/vnd.docker.image.rootfs.diff.tar.gzip"?:
      descriptor["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
    case "application/vnd.docker.image.rootfs.diff.tar"?:
      descriptor["mediaType"] = "application/vnd.oci.image.layer.v1.tar"
    default: break
    }
    return descriptor
  }

  private func documents(_ image: LayerImage) throws -> (layers: [[String: Any]], config: [String: Any]) {
    guard let manifest = try JSONSerialization.jsonObject(with: image.manifest.bytes) as? [String: Any],
      let layers = manifest["layers"] as? [[String: Any]],
      let config = try JSONSerialization.jsonObject(with: image.config) as? [String: Any]
    else { throw Failure(.input, code: "not-an-image", "\(image.manifest.digest) is not an image manifest") }
    return (layers, config)
  }

  private static func diffIDs(_ config: [String: Any]) throws -> [String] {
    guard let ids = (config["rootfs"] as? [String: Any])?["diff_ids"] as? [String] else {
      throw Failure(.input, code: "not-an-image", "an image config lists no diff IDs")
    }
    return ids
  }

  private static func canonical(_ document: [String: Any]) throws -> Data {
    try JSONSerialization.data(withJSONObject: document, options: [.sortedKeys, .withoutEscapingSlashes])
  }
}
