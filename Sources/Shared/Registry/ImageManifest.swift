package import Model

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
    // A builder writes null where it has nothing to list.
    guard let config = json["config"], let layers = json["layers"] == .null ? [] : json["layers"]?.array else {
      throw Failure(.input, code: "not-an-image", "\(manifest.digest) has no config or no layers")
    }
    self.config = try Descriptor(config)
    blobs = try layers.map(Descriptor.init)
  }

  /// The config first.
  package var allBlobs: [Descriptor] { [config] + blobs }
}
