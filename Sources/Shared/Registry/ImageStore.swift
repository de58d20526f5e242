package import Foundation
package import Model

/// Holds blobs, image manifests and tags: a registry on the farm, an OCI layout folder on one machine.
///
/// Repositories are below the store's own prefix (`Name.isRepository`). Reading checks digests: what
/// does not hash to its digest is never returned, and what a store holds damaged counts as not there, so
/// that it is written again. Errors: `Failure`s, class `infrastructure` for what may work again, with code
/// `not-found` and class `input` for what is not there.
package protocol ImageStore: Sendable {
  /// Size in bytes, or nil where it does not exist.
  func blobSize(_ digest: Digest, in repository: String) async throws -> Int64?
  /// Refuses what is larger than `maxBytes`.
  func blob(_ digest: Digest, in repository: String, maxBytes: Int) async throws -> Data
  /// Writes a blob to a new file.
  func download(_ blob: BlobReference, in repository: String, to file: URL) async throws
  /// Leaves out what is there already. `from` names a repository that may hold it (a mount).
  func upload(_ bytes: Data, digest: Digest, to repository: String) async throws
  func upload(file: URL, blob: BlobReference, to repository: String, mountFrom: String?) async throws

  /// Makes a blob of another repository of this store available without moving its bytes; false where
  /// that is not possible.
  func mount(_ blob: BlobReference, from source: String, to repository: String) async throws -> Bool

  /// Nil where it does not exist.
  func manifest(_ reference: ManifestReference, in repository: String) async throws -> Manifest?
  /// Everything it refers to must be there already. With a tag, moves the tag too.
  func put(_ manifest: Manifest, in repository: String, tag: String?) async throws

  /// How a container engine's builder reaches an image of this store.
  func location(of digest: Digest, in repository: String) -> ImageLocation
}

extension ImageStore {
  /// Whether a blob need not be written.
  func has(_ blob: BlobReference, in repository: String) async throws -> Bool {
    try await blobSize(blob.digest, in: repository) == blob.sizeBytes
  }

  /// Puts a manifest, reads it back, and returns it as it can be read from then on: `manifest`, or one that says
  /// the same under another digest. For a registry whose disk was full may hold an empty file for a manifest; it
  /// takes that for the manifest itself, however often it is put again, and never gives it out.
  package func putReadable(_ manifest: Manifest, in repository: String) async throws -> Manifest {
    // The same ones in the same order, so that whoever does it again comes to the same digest.
    for number in 0...ManifestCopy.max {
      let copy = try ManifestCopy.of(manifest, number)
      try await put(copy, in: repository, tag: nil)
      if try await self.manifest(.digest(copy.digest), in: repository) != nil { return copy }
    }
    throw Failure(
      .infrastructure, code: "unreadable",
      "manifest \(manifest.digest) and \(ManifestCopy.max) copies of it were put in \(repository), and none can be read",
      hint: "the registry's storage is damaged: see its log")
  }
}

/// Manifests that say the same, and have other digests.
enum ManifestCopy {
  static let max = 20
  static let annotation = "kiln.copy"

  static func of(_ manifest: Manifest, _ number: Int) throws -> Manifest {
    if number == 0 { return manifest }
    var json = try JSONValue.parse(manifest.bytes, what: "manifest \(manifest.digest)")
    var annotations = json["annotations"]?.object ?? [:]
    annotations[annotation] = .string("\(number)")
    json["annotations"] = .object(annotations)
    return Manifest(mediaType: manifest.mediaType, bytes: json.canonicalBytes)
  }
}

package enum ManifestReference: Sendable, Hashable {
  case digest(Digest)
  case tag(String)
}

package struct Manifest: Sendable, Hashable {
  package var mediaType: String
  package var bytes: Data
  package var digest: Digest { Digest(of: bytes) }

  package init(mediaType: String, bytes: Data) {
    self.mediaType = mediaType
    self.bytes = bytes
  }
}

package enum ImageLocation: Sendable, Hashable {
  /// `host:port/prefix/repository@sha256:…`
  case registry(String)
  /// An OCI layout folder and a digest within.
  case layout(directory: URL, digest: Digest)

  /// As `docker buildx build --build-context NAME=…` takes it.
  package var buildContext: String {
    switch self {
    case .registry(let reference): "docker-image://\(reference)"
    case .layout(let directory, let digest): "oci-layout://\(directory.path)@\(digest)"
    }
  }
}
