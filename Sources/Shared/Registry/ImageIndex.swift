package import Model

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

  /// Everything that an index names, attestations too.
  static func entries(_ index: Manifest) throws -> [Descriptor] {
    let json = try JSONValue.parse(index.bytes, what: "index \(index.digest)")
    return try (json["manifests"]?.array ?? []).map(Descriptor.init)
  }

  /// The images that an index names, with the platform that it says; attestations are left out.
  package static func children(_ index: Manifest) throws -> [(platform: Platform, descriptor: Descriptor)] {
    try entries(index).compactMap { descriptor in
      let entry = descriptor.json
      guard let os = entry["platform"]?["os"]?.string, os != "unknown",
        let architecture = entry["platform"]?["architecture"]?.string,
        let platform = Platform(
          os: os, architecture: architecture, platformVariant: entry["platform"]?["variant"]?.string)
      else { return nil }
      return (platform, descriptor)
    }
  }
}
