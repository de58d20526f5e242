import Foundation
import Model
import Registry

/// One image's manifest and config, as far as a layer's build looks into them.
struct LayerImage {
  let manifest: Manifest
  let config: Data
  let blobs: [BlobReference]
  private let configDigest: Digest
  private let platform: Platform?

  private struct ManifestFields: Decodable {
    struct Descriptor: Decodable {
      var digest: Digest
      var size: Int64
    }
    var config: Descriptor
    var layers: [Descriptor]
  }

  private struct ConfigFields: Decodable {
    var os: String
    var architecture: String
    var variant: String?
  }

  init(manifest: Manifest, config: Data) throws {
    try self.init(manifest: manifest.bytes, mediaType: manifest.mediaType) { _ in config }
  }

  /// `read` gets the config's digest.
  init(
    manifest bytes: Data, mediaType: String = "application/vnd.oci.image.manifest.v1+json",
    config read: (Digest) throws -> Data
  ) throws {
    guard let fields = try? JSONDecoder().decode(ManifestFields.self, from: bytes) else {
      throw Failure(
        .input, code: "not-an-image", "\(Digest(of: bytes)) is not an image manifest",
        hint: "an image index must be resolved to one platform's image first")
    }
    let config = try read(fields.config.digest)
    guard let described = try? JSONDecoder().decode(ConfigFields.self, from: config) else {
      throw Failure(.input, code: "not-an-image", "\(fields.config.digest) is not an image config")
    }
    manifest = Manifest(mediaType: mediaType, bytes: bytes)
    self.config = config
    configDigest = fields.config.digest
    blobs = fields.layers.map { BlobReference(digest: $0.digest, sizeBytes: $0.size) }
    platform = Platform(os: described.os, architecture: described.architecture, platformVariant: described.variant)
  }

  /// Everything that the image consists of.
  var digests: Set<Digest> { Set(blobs.map(\.digest)).union([manifest.digest, configDigest]) }

  func require(_ wanted: Platform, what: String) throws {
    guard platform == wanted else {
      throw Failure(
        .input, code: "platform-mismatch", "\(what) is for \(platform.map { "\($0)" } ?? "an unknown platform"), not \(wanted)",
        hint: "lock the catalog again: a base's digest must be that of the platform's own image")
    }
  }
}
