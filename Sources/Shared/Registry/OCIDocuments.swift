package import Foundation
package import Model

/// A JSON value that loses nothing: fields that we do not know stay as they were.
package enum JSONValue: Sendable, Hashable, Codable {
  case null
  case bool(Bool)
  case integer(Int64)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([String: JSONValue])

  package init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let value = try? container.decode(Bool.self) {
      self = .bool(value)
    } else if let value = try? container.decode(Int64.self) {
      self = .integer(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else if let value = try? container.decode(String.self) {
      self = .string(value)
    } else if let value = try? container.decode([JSONValue].self) {
      self = .array(value)
    } else {
      self = .object(try container.decode([String: JSONValue].self))
    }
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .bool(let value): try container.encode(value)
    case .integer(let value): try container.encode(value)
    case .number(let value): try container.encode(value)
    case .string(let value): try container.encode(value)
    case .array(let value): try container.encode(value)
    case .object(let value): try container.encode(value)
    }
  }

  package subscript(field: String) -> JSONValue? {
    get { if case .object(let fields) = self { fields[field] } else { nil } }
    set {
      guard case .object(var fields) = self else { return }
      fields[field] = newValue
      self = .object(fields)
    }
  }

  package var string: String? { if case .string(let value) = self { value } else { nil } }
  package var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }

  package static func parse(_ bytes: Data, what: String) throws -> JSONValue {
    do {
      return try JSONDecoder().decode(JSONValue.self, from: bytes)
    } catch {
      throw Failure(.input, code: "not-json", "\(what) is no JSON: \(error)")
    }
  }

  /// Keys sorted, no white space: equal values, equal bytes.
  package var canonicalBytes: Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // A tree of these cases always encodes.
    return (try? encoder.encode(self)) ?? Data()
  }
}

/// Media types of the OCI image specification, and Docker's that mean the same.
package enum MediaType {
  package static let imageManifest = "application/vnd.oci.image.manifest.v1+json"
  package static let imageIndex = "application/vnd.oci.image.index.v1+json"
  package static let imageConfig = "application/vnd.oci.image.config.v1+json"
  static let dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
  static let dockerList = "application/vnd.docker.distribution.manifest.list.v2+json"
  static let accepted = [imageManifest, imageIndex, dockerManifest, dockerList]

  package static func isIndex(_ type: String) -> Bool { type == imageIndex || type == dockerList }
}

package struct Descriptor: Sendable, Hashable {
  package var mediaType: String
  package var blob: BlobReference
  /// The whole descriptor as it was read, annotations and all.
  package var json: JSONValue

  package var digest: Digest { blob.digest }

  package init(mediaType: String, blob: BlobReference) {
    self.mediaType = mediaType
    self.blob = blob
    json = .object([
      "mediaType": .string(mediaType), "digest": .string(blob.digest.description), "size": .integer(blob.sizeBytes),
    ])
  }

  package init(_ json: JSONValue) throws {
    guard let digest = json["digest"]?.string.flatMap({ Digest($0) }), case .integer(let size)? = json["size"] else {
      throw Failure(.input, code: "bad-manifest", "a descriptor has no sha256 digest or no size")
    }
    mediaType = json["mediaType"]?.string ?? ""
    blob = BlobReference(digest: digest, sizeBytes: size)
    self.json = json
  }
}

/// An image manifest: one platform's config and blobs.
package struct ImageManifest: Sendable {
  package let config: Descriptor
  package let blobs: [Descriptor]
  let json: JSONValue

  package init(_ manifest: Manifest) throws {
    guard !MediaType.isIndex(manifest.mediaType) else {
      throw Failure(.input, code: "not-an-image", "\(manifest.digest) is an index, not one platform's image")
    }
    json = try JSONValue.parse(manifest.bytes, what: "manifest \(manifest.digest)")
    guard let config = json["config"], let layers = json["layers"]?.array else {
      throw Failure(.input, code: "not-an-image", "\(manifest.digest) has no config or no layers")
    }
    self.config = try Descriptor(config)
    blobs = try layers.map(Descriptor.init)
  }

  /// The config first.
  package var allBlobs: [Descriptor] { [config] + blobs }
}

/// One platform's entry in an index.
package struct IndexChild: Sendable {
  package var platform: Platform
  package var manifest: Manifest

  package init(platform: Platform, manifest: Manifest) {
    self.platform = platform
    self.manifest = manifest
  }
}

package enum ImageIndex {
  /// The index of these images, sorted by platform: the same children, the same bytes.
  package static func assemble(_ children: [IndexChild]) throws -> Manifest {
    guard Set(children.map(\.platform)).count == children.count, !children.isEmpty else {
      throw Failure(.input, code: "bad-index", "an index needs images, and one for each platform")
    }
    let entries = children.sorted { $0.platform < $1.platform }.map { child -> JSONValue in
      var entry = Descriptor(
        mediaType: child.manifest.mediaType,
        blob: BlobReference(digest: child.manifest.digest, sizeBytes: Int64(child.manifest.bytes.count))
      ).json
      entry["platform"] = json(child.platform)
      return entry
    }
    let index = JSONValue.object([
      "schemaVersion": .integer(2), "mediaType": .string(MediaType.imageIndex), "manifests": .array(entries),
    ])
    return Manifest(mediaType: MediaType.imageIndex, bytes: index.canonicalBytes)
  }

  private static func json(_ platform: Platform) -> JSONValue {
    var fields: [String: JSONValue] = ["os": .string(platform.os), "architecture": .string(platform.architecture)]
    if let variant = platform.platformVariant { fields["variant"] = .string(variant) }
    return .object(fields)
  }

  /// The images that an index names, with the platform that it says; attestations are left out.
  package static func children(_ index: Manifest) throws -> [(platform: Platform, descriptor: Descriptor)] {
    let json = try JSONValue.parse(index.bytes, what: "index \(index.digest)")
    return try (json["manifests"]?.array ?? []).compactMap { entry in
      guard let os = entry["platform"]?["os"]?.string, os != "unknown",
        let architecture = entry["platform"]?["architecture"]?.string,
        let platform = Platform(
          os: os, architecture: architecture, platformVariant: entry["platform"]?["variant"]?.string)
      else { return nil }
      return (platform, try Descriptor(entry))
    }
  }
}
