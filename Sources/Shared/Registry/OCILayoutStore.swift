package import Foundation
package import Model

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// An OCI image layout folder as an image store: what stands in for a registry on one machine.
///
/// All repositories share the folder's blobs; a tag is an entry of `index.json` named
/// `repository:tag` (or as another tool named it, in the repository ""). One process at a time writes.
package actor OCILayoutStore: ImageStore {
  private nonisolated let directory: URL
  private nonisolated var blobs: URL { directory.appendingPathComponent("blobs/sha256", isDirectory: true) }

  /// Makes the folder where it does not exist, and removes what an interrupted write left.
  package init(directory: URL) throws {
    self.directory = directory
    let files = FileManager.default
    let blobs = directory.appendingPathComponent("blobs/sha256", isDirectory: true)
    let marker = directory.appendingPathComponent("oci-layout")
    do {
      try files.createDirectory(at: blobs, withIntermediateDirectories: true)
      if !files.fileExists(atPath: marker.path) {
        try Data(#"{"imageLayoutVersion":"1.0.0"}"#.utf8).write(to: marker, options: .atomic)
      }
      for name in try files.contentsOfDirectory(atPath: blobs.path) where name.hasPrefix(".new-") {
        try files.removeItem(at: blobs.appendingPathComponent(name))
      }
    } catch {
      throw Failure(
        .infrastructure, code: "store-folder", "image folder \(directory.path): \(error.localizedDescription)")
    }
  }

  private nonisolated func file(_ digest: Digest) -> URL { blobs.appendingPathComponent(digest.hex) }

  package func blobSize(_ digest: Digest, in repository: String) -> Int64? {
    let attributes = try? FileManager.default.attributesOfItem(atPath: file(digest).path)
    return (attributes?[.size] as? NSNumber)?.int64Value
  }

  package func blob(_ digest: Digest, in repository: String, maxBytes: Int) throws -> Data {
    guard let size = blobSize(digest, in: repository) else { throw notFound(digest) }
    guard size <= maxBytes else {
      throw Failure(.input, code: "too-large", "blob \(digest) has \(size) bytes, more than \(maxBytes)")
    }
    let bytes = try Data(contentsOf: file(digest))
    guard Digest(of: bytes) == digest else { throw corrupt(digest) }
    return bytes
  }

  package func download(_ blob: BlobReference, in repository: String, to target: URL) throws {
    guard blobSize(blob.digest, in: repository) != nil else { throw notFound(blob.digest) }
    guard try digest(ofFile: file(blob.digest)) == blob.digest else { throw corrupt(blob.digest) }
    try FileManager.default.copyItem(at: file(blob.digest), to: target)
  }

  package func upload(_ bytes: Data, digest: Digest, to repository: String) throws {
    guard Digest(of: bytes) == digest else {
      throw Failure(.input, code: "wrong-digest", "these bytes are not \(digest)")
    }
    if blobSize(digest, in: repository) == Int64(bytes.count) { return }
    try place(digest) { try bytes.write(to: $0) }
  }

  package func upload(file source: URL, blob: BlobReference, to repository: String, mountFrom: String?) throws {
    if blobSize(blob.digest, in: repository) == blob.sizeBytes { return }
    guard try digest(ofFile: source) == blob.digest else {
      throw Failure(.infrastructure, code: "wrong-digest", "\(source.lastPathComponent) is not \(blob.digest)")
    }
    try place(blob.digest) { try FileManager.default.copyItem(at: source, to: $0) }
  }

  package func mount(_ blob: BlobReference, from source: String, to repository: String) -> Bool {
    blobSize(blob.digest, in: repository) == blob.sizeBytes
  }

  package func manifest(_ reference: ManifestReference, in repository: String) throws -> Manifest? {
    switch reference {
    case .digest(let digest):
      guard blobSize(digest, in: repository) != nil else { return nil }
      let bytes = try blob(digest, in: repository, maxBytes: 8 << 20)
      let json = try JSONValue.parse(bytes, what: "manifest \(digest)")
      let type =
        json["mediaType"]?.string ?? (json["manifests"] != nil ? MediaType.imageIndex : MediaType.imageManifest)
      return Manifest(mediaType: type, bytes: bytes)
    case .tag(let tag):
      let name = name(repository, tag)
      guard let entry = try entries().first(where: { $0["annotations"]?[Self.refName]?.string == name }) else {
        return nil
      }
      return try manifest(.digest(Descriptor(entry).digest), in: repository)
    }
  }

  package func put(_ manifest: Manifest, in repository: String, tag: String?) throws {
    let children =
      MediaType.isIndex(manifest.mediaType)
      ? try ImageIndex.children(manifest).map(\.descriptor) : try ImageManifest(manifest).allBlobs
    for child in children where blobSize(child.digest, in: repository) == nil {
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
    entry["annotations"] = .object([Self.refName: .string(name)])
    let others = try entries().filter { $0["annotations"]?[Self.refName]?.string != name }
    try write(others + [entry])
  }

  package nonisolated func location(of digest: Digest, in repository: String) -> ImageLocation {
    .layout(directory: directory, digest: digest)
  }

  // MARK: The folder

  private static let refName = "org.opencontainers.image.ref.name"

  private func name(_ repository: String, _ tag: String) -> String { repository.isEmpty ? tag : "\(repository):\(tag)" }

  private var indexFile: URL { directory.appendingPathComponent("index.json") }

  private func entries() throws -> [JSONValue] {
    guard let bytes = FileManager.default.contents(atPath: indexFile.path) else { return [] }
    return try JSONValue.parse(bytes, what: indexFile.path)["manifests"]?.array ?? []
  }

  private func write(_ entries: [JSONValue]) throws {
    let sorted = entries.sorted {
      ($0["annotations"]?[Self.refName]?.string ?? "") < ($1["annotations"]?[Self.refName]?.string ?? "")
    }
    let index = JSONValue.object([
      "schemaVersion": .integer(2), "mediaType": .string(MediaType.imageIndex), "manifests": .array(sorted),
    ])
    try index.canonicalBytes.write(to: indexFile, options: .atomic)
  }

  /// Whole or not at all, also when the machine stops: a new file, flushed, then renamed.
  private func place(_ digest: Digest, _ fill: (URL) throws -> Void) throws {
    let temporary = blobs.appendingPathComponent(".new-\(digest.hex)")
    try? FileManager.default.removeItem(at: temporary)
    do {
      try fill(temporary)
      let descriptor = open(temporary.path, O_RDONLY)
      if descriptor >= 0 {
        fsync(descriptor)
        close(descriptor)
      }
      guard rename(temporary.path, file(digest).path) == 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
    } catch {
      try? FileManager.default.removeItem(at: temporary)
      throw Failure(
        .infrastructure, code: "store-write",
        "writing blob \(digest) to \(directory.path): \(error.localizedDescription)",
        hint: "is the disk full?")
    }
  }

  private func digest(ofFile file: URL) throws -> Digest {
    let handle = try FileHandle(forReadingFrom: file)
    defer { try? handle.close() }
    var stream = DigestStream()
    while let piece = try handle.read(upToCount: 1 << 20), !piece.isEmpty { stream.update(piece) }
    return stream.digest()
  }

  private func corrupt(_ digest: Digest) -> Failure {
    try? FileManager.default.removeItem(at: file(digest))
    return Failure(
      .infrastructure, code: "corrupt", "blob \(digest) in \(directory.path) was damaged and is removed",
      hint: "run it again: what it belonged to is built anew")
  }

  private func notFound(_ digest: Digest) -> Failure {
    Failure(.input, code: "not-found", "blob \(digest) is not in \(directory.path)")
  }
}
