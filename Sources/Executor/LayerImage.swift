import Foundation
import Model
import Registry

/// One image's manifest and config, as far as a layer's build looks into them.
struct LayerImage {
  let manifest: Manifest
  let config: Data
  let blobs: [BlobReference]
  /// Everything that the image consists of.
  let digests: Set<Digest>
  private let platform: Platform?

  init(manifest: Manifest, config: Data) throws {
    try self.init(manifest: manifest) { _ in config }
  }

  /// `read` gets the config's digest.
  init(manifest: Manifest, config read: (Digest) throws -> Data) throws {
    let parts = try ImageManifest(manifest)
    config = try read(parts.config.digest)
    self.manifest = manifest
    blobs = parts.blobs.map(\.blob)
    digests = Set(parts.allBlobs.map(\.digest)).union([manifest.digest])
    let document = try JSONValue.parse(config, what: "config \(parts.config.digest)")
    platform = Platform(
      os: document["os"]?.string ?? "", architecture: document["architecture"]?.string ?? "",
      platformVariant: document["variant"]?.string)
  }

  func require(_ wanted: Platform, what: String) throws {
    guard platform == wanted else {
      throw Failure(
        .input, code: "platform-mismatch",
        "\(what) is for \(platform.map { "\($0)" } ?? "an unknown platform"), not \(wanted)",
        hint: "lock the catalog again: a base's digest must be that of the platform's own image")
    }
  }
}
