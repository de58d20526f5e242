package import Foundation
package import Model

/// Holds blobs, image manifests and tags: a registry on the farm, an OCI layout folder on one machine.
///
/// Repositories are below the store's own prefix (`Name.isRepository`). Reading checks digests: what
/// does not hash to its digest is never returned. Errors: `Failure`s, class `infrastructure` for
/// what may work again, with code `not-found` and class `input` for what is not there.
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
  /// Whether a blob need not be written. A registry whose disk was full may fail (500) for ever where it has only
  /// begun to note that a repository has a blob: that ends when the blob is written again.
  func has(_ blob: BlobReference, in repository: String) async throws -> Bool {
    do {
      return try await blobSize(blob.digest, in: repository) == blob.sizeBytes
    } catch let failure as Failure where failure.code == "registry-500" {
      return false
    }
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
