import BlockingThread
package import Foundation
package import Model

/// An OCI image layout folder as an image store: what stands in for a registry on one machine.
///
/// All repositories share the folder's blobs; a tag is an entry of `index.json` named
/// `repository:tag`. In the repository "" it is named as another tool named it, or, where the folder
/// holds only one entry, is that one. Several stores, also of several processes, may share a folder.
///
/// Errors: `Failure`s. Every call does its file work on the store's own thread.
package actor OCILayoutStore: ImageStore {
  private static let maxManifestBytes = 8 << 20

  private let thread: BlockingThread
  private nonisolated let folder: LayoutFolder

  package nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  /// Makes the folder where it does not exist, and removes what interrupted writes left in it.
  package init(directory: URL) throws {
    folder = try LayoutFolder(directory: directory)
    thread = BlockingThread(name: "kiln-layout")
  }

  // MARK: Blobs

  package func blobSize(_ digest: Digest, in repository: String) -> Int64? { folder.size(of: digest) }

  package func blob(_ digest: Digest, in repository: String, maxBytes: Int) throws -> Data {
    guard let size = folder.size(of: digest) else { throw notFound(digest) }
    guard size <= maxBytes else {
      throw Failure(.input, code: "too-large", "blob \(digest) has \(size) bytes, more than \(maxBytes)")
    }
    var bytes = Data(capacity: Int(size))
    try folder.file(of: digest).readPieces { bytes.append($0) }
    guard Digest(of: bytes) == digest else { throw folder.removeDamaged(digest) }
    return bytes
  }

  package func download(_ blob: BlobReference, in repository: String, to target: URL) throws {
    guard folder.size(of: blob.digest) != nil else { throw notFound(blob.digest) }
    guard try folder.copy(folder.file(of: blob.digest), to: target) == blob.digest else {
      try? FileManager.default.removeItem(at: target)
      throw folder.removeDamaged(blob.digest)
    }
  }

  package func upload(_ bytes: Data, digest: Digest, to repository: String) throws {
    guard Digest(of: bytes) == digest else {
      throw Failure(.input, code: "wrong-digest", "these \(bytes.count) bytes are not \(digest)")
    }
    if folder.size(of: digest) == Int64(bytes.count) { return }
    try folder.place(folder.file(of: digest)) { try $0.write(contentsOf: bytes) }
  }

  package func upload(file source: URL, blob: BlobReference, to repository: String, mountFrom: String?) throws {
    if folder.size(of: blob.digest) == blob.sizeBytes { return }
    try folder.place(folder.file(of: blob.digest)) { output in
      var stream = DigestStream()
      try source.readPieces {
        stream.update($0)
        try output.write(contentsOf: $0)
      }
      guard stream.digest() == blob.digest else {
        throw Failure(.input, code: "wrong-digest", "\(source.lastPathComponent) does not hold the blob \(blob.digest)")
      }
    }
  }

  package func mount(_ blob: BlobReference, from source: String, to repository: String) -> Bool {
    folder.size(of: blob.digest) == blob.sizeBytes
  }

  // MARK: Manifests

  package func manifest(_ reference: ManifestReference, in repository: String) throws -> Manifest? {
    switch reference {
    case .digest(let digest):
      guard folder.size(of: digest) != nil else { return nil }
      let bytes = try blob(digest, in: repository, maxBytes: Self.maxManifestBytes)
      return Manifest(mediaType: try MediaType.ofManifest(bytes), bytes: bytes)
    case .tag(let tag):
      let entries = try folder.entries()
      let named = entries.first { LayoutFolder.refName(of: $0) == name(repository, tag) }
      guard let entry = named ?? (repository.isEmpty && entries.count == 1 ? entries.first : nil) else { return nil }
      return try manifest(.digest(Descriptor(entry).digest), in: repository)
    }
  }

  package func put(_ manifest: Manifest, in repository: String, tag: String?) throws {
    let children =
      MediaType.isIndex(manifest.mediaType) ? try ImageIndex.entries(manifest) : try ImageManifest(manifest).allBlobs
    for child in children where folder.size(of: child.digest) != child.blob.sizeBytes {
      throw Failure(
        .infrastructure, code: "incomplete", "\(manifest.digest) refers to \(child.digest), which is not in the store")
    }
    try upload(manifest.bytes, digest: manifest.digest, to: repository)
    guard let tag else { return }
    let name = name(repository, tag)
    var entry = Descriptor(
      mediaType: manifest.mediaType,
      blob: BlobReference(digest: manifest.digest, sizeBytes: Int64(manifest.bytes.count))
    ).json
    entry["annotations"] = .object([LayoutFolder.refName: .string(name)])
    try folder.changeEntries { entries in
      entries.removeAll { LayoutFolder.refName(of: $0) == name }
      entries.append(entry)
    }
  }

  package nonisolated func location(of digest: Digest, in repository: String) -> ImageLocation {
    .layout(directory: folder.directory, digest: digest)
  }

  private func name(_ repository: String, _ tag: String) -> String { repository.isEmpty ? tag : "\(repository):\(tag)" }

  private func notFound(_ digest: Digest) -> Failure {
    Failure(.input, code: "not-found", "blob \(digest) is not in \(folder.directory.path)")
  }
}
