package import Foundation
package import Model

/// An OCI image layout as one tar file, as `docker load` of an engine with the containerd image store
/// takes it, with several platforms too.
package enum OCIArchive {
  /// `names` are what the engine will call the image. Blobs go from file to file, never whole through
  /// memory. The file is there when it is whole.
  package static func write(
    _ digest: Digest, from store: any ImageStore, repository: String, names: [String], to file: URL
  ) async throws {
    let files = FileManager.default
    let part = file.appendingPathExtension("part")
    defer { try? files.removeItem(at: part) }
    let root = try await manifest(digest, store, repository)
    let tar = try TarFile(creating: part)
    try await tar.add("oci-layout", Data(#"{"imageLayoutVersion":"1.0.0"}"#.utf8))
    try await tar.add("index.json", index(root, names))
    var written: Set<Digest> = []
    try await add(root, store, repository, to: tar, beside: file, &written)
    try await tar.finish()
    do {
      try? files.removeItem(at: file)
      try files.moveItem(at: part, to: file)
    } catch {
      throw file.fileFailure("writing", error)
    }
  }

  private static func manifest(_ digest: Digest, _ store: any ImageStore, _ repository: String) async throws -> Manifest
  {
    guard let manifest = try await store.manifest(.digest(digest), in: repository) else {
      throw Failure(.infrastructure, code: "image-gone", "image \(digest) is not in \(repository)")
    }
    return manifest
  }

  private static func add(
    _ root: Manifest, _ store: any ImageStore, _ repository: String, to tar: TarFile, beside file: URL,
    _ written: inout Set<Digest>
  ) async throws {
    guard written.insert(root.digest).inserted else { return }
    try await tar.add(path(root.digest), root.bytes)
    guard MediaType.isIndex(root.mediaType) else {
      for descriptor in try ImageManifest(root).allBlobs where written.insert(descriptor.digest).inserted {
        try await add(descriptor.blob, store, repository, to: tar, beside: file)
      }
      return
    }
    for entry in try ImageIndex.entries(root) {
      let child = try await manifest(entry.digest, store, repository)
      try await add(child, store, repository, to: tar, beside: file, &written)
    }
  }

  private static func add(
    _ blob: BlobReference, _ store: any ImageStore, _ repository: String, to tar: TarFile, beside file: URL
  ) async throws {
    let temporary = file.appendingPathExtension("blob-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: temporary) }
    try await store.download(blob, in: repository, to: temporary)
    try await tar.add(path(blob.digest), contentsOf: temporary, sizeBytes: blob.sizeBytes)
  }

  private static func path(_ digest: Digest) -> String { "blobs/sha256/\(digest.hex)" }

  private static func index(_ root: Manifest, _ names: [String]) -> Data {
    let entries = names.map { name in
      var entry = Descriptor(
        mediaType: root.mediaType, blob: BlobReference(digest: root.digest, sizeBytes: Int64(root.bytes.count))
      ).json
      let full = fullName(name)
      let tag = full.split(separator: ":").last.map(String.init) ?? ""
      entry["annotations"] = .object([
        "io.containerd.image.name": .string(full), "org.opencontainers.image.ref.name": .string(tag),
      ])
      return entry
    }
    return JSONValue.object([
      "schemaVersion": .integer(2), "mediaType": .string(MediaType.imageIndex), "manifests": .array(entries),
    ]).canonicalBytes
  }

  /// containerd wants names in full; docker's short ones stand for these.
  static func fullName(_ name: String) -> String {
    let first = name.split(separator: "/").first.map(String.init) ?? name
    let hasHost = name.contains("/") && (first.contains(".") || first.contains(":") || first == "localhost")
    let hosted = hasHost ? name : "docker.io/" + (name.contains("/") ? name : "library/\(name)")
    let last = hosted.split(separator: "/").last ?? ""
    return last.contains(":") ? hosted : hosted + ":latest"
  }
}
