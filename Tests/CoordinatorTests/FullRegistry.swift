import Foundation
import Model
import Registry
import Synchronization

/// Takes no manifest, as a registry does whose disk is full; or says that it took it, and cannot give it out,
/// as one does whose disk was full.
final class FullRegistry: ImageStore {
  private let store: any ImageStore
  private let keepsEmpty: Bool
  private let refusals = Mutex(0)

  init(_ store: any ImageStore, keepsEmpty: Bool = false) {
    self.store = store
    self.keepsEmpty = keepsEmpty
  }

  var refused: Int { refusals.withLock { $0 } }

  func put(_ manifest: Manifest, in repository: String, tag: String?) async throws {
    if keepsEmpty { return }
    refusals.withLock { $0 += 1 }
    throw Failure(.infrastructure, code: "registry-500", "the registry has no room")
  }

  func blobSize(_ digest: Digest, in repository: String) async throws -> Int64? {
    try await store.blobSize(digest, in: repository)
  }
  func blob(_ digest: Digest, in repository: String, maxBytes: Int) async throws -> Data {
    try await store.blob(digest, in: repository, maxBytes: maxBytes)
  }
  func download(_ blob: BlobReference, in repository: String, to file: URL) async throws {
    try await store.download(blob, in: repository, to: file)
  }
  func upload(_ bytes: Data, digest: Digest, to repository: String) async throws {
    try await store.upload(bytes, digest: digest, to: repository)
  }
  func upload(file: URL, blob: BlobReference, to repository: String, mountFrom: String?) async throws {
    try await store.upload(file: file, blob: blob, to: repository, mountFrom: mountFrom)
  }
  func mount(_ blob: BlobReference, from source: String, to repository: String) async throws -> Bool {
    try await store.mount(blob, from: source, to: repository)
  }
  func manifest(_ reference: ManifestReference, in repository: String) async throws -> Manifest? {
    try await store.manifest(reference, in: repository)
  }
  func location(of digest: Digest, in repository: String) -> ImageLocation {
    store.location(of: digest, in: repository)
  }
}
