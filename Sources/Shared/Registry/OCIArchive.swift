package import Foundation
package import Model

/// An OCI image layout as one tar file, as `docker load` of an engine with the containerd image store
/// takes it, with several platforms too.
package enum OCIArchive {
  /// `names` are what the engine will call the image. Blobs go from file to file, never whole through
  /// memory.
  package static func write(
    _ digest: Digest, from store: any ImageStore, repository: String, names: [String], to file: URL
  ) async throws {
    guard let root = try await store.manifest(.digest(digest), in: repository) else {
      throw Failure(.infrastructure, code: "image-gone", "image \(digest) is not in \(repository)")
    }
    let manifests = try await manifests(root, store, repository)
    try Data().write(to: file)
    let output = try FileHandle(forWritingTo: file)
    defer { try? output.close() }
    try add("oci-layout", Data(#"{"imageLayoutVersion":"1.0.0"}"#.utf8), to: output)
    try add("index.json", index(root, names), to: output)
    var written: Set<Digest> = []
    for manifest in manifests where written.insert(manifest.digest).inserted {
      try add("blobs/sha256/\(manifest.digest.hex)", manifest.bytes, to: output)
      if MediaType.isIndex(manifest.mediaType) { continue }
      for descriptor in try ImageManifest(manifest).allBlobs where written.insert(descriptor.digest).inserted {
        try await add(descriptor.blob, store, repository, to: output, beside: file)
      }
    }
    try output.write(contentsOf: Data(count: 1024))
  }

  private static func manifests(_ root: Manifest, _ store: any ImageStore, _ repository: String) async throws
    -> [Manifest]
  {
    guard MediaType.isIndex(root.mediaType) else { return [root] }
    var all = [root]
    for child in try ImageIndex.children(root) {
      guard let manifest = try await store.manifest(.digest(child.descriptor.digest), in: repository) else {
        throw Failure(.infrastructure, code: "image-gone", "image \(child.descriptor.digest) is not in \(repository)")
      }
      all.append(manifest)
    }
    return all
  }

  private static func index(_ root: Manifest, _ names: [String]) -> Data {
    let entries = names.map { name in
      var entry = Descriptor(
        mediaType: root.mediaType, blob: BlobReference(digest: root.digest, sizeBytes: Int64(root.bytes.count))
      ).json
      let tag = name.split(separator: ":").last.map(String.init) ?? name
      entry["annotations"] = .object([
        "io.containerd.image.name": .string(normalised(name)), "org.opencontainers.image.ref.name": .string(tag),
      ])
      return entry
    }
    return JSONValue.object([
      "schemaVersion": .integer(2), "mediaType": .string(MediaType.imageIndex), "manifests": .array(entries),
    ]).canonicalBytes
  }

  /// containerd wants names in full; docker's short ones stand for these.
  private static func normalised(_ name: String) -> String {
    let first = name.split(separator: "/").first.map(String.init) ?? name
    if name.contains("/"), first.contains(".") || first.contains(":") || first == "localhost" { return name }
    return "docker.io/" + (name.contains("/") ? name : "library/\(name)")
  }

  private static func add(_ path: String, _ bytes: Data, to output: FileHandle) throws {
    try output.write(contentsOf: TarHeader.file(path, sizeBytes: Int64(bytes.count)))
    try output.write(contentsOf: bytes)
    try output.write(contentsOf: Data(count: (512 - bytes.count % 512) % 512))
  }

  private static func add(
    _ blob: BlobReference, _ store: any ImageStore, _ repository: String, to output: FileHandle, beside file: URL
  ) async throws {
    let temporary = file.appendingPathExtension("blob")
    try? FileManager.default.removeItem(at: temporary)
    defer { try? FileManager.default.removeItem(at: temporary) }
    try await store.download(blob, in: repository, to: temporary)
    try output.write(contentsOf: TarHeader.file("blobs/sha256/\(blob.digest.hex)", sizeBytes: blob.sizeBytes))
    let input = try FileHandle(forReadingFrom: temporary)
    defer { try? input.close() }
    while let piece = try input.read(upToCount: 1 << 20), !piece.isEmpty { try output.write(contentsOf: piece) }
    try output.write(contentsOf: Data(count: Int((512 - blob.sizeBytes % 512) % 512)))
  }
}

/// A ustar header (POSIX.1-1988) for names of at most 100 bytes, as an image layout's all are.
private enum TarHeader {
  static func file(_ path: String, sizeBytes: Int64) -> Data {
    var header = [UInt8](repeating: 0, count: 512)
    func put(_ text: String, at offset: Int) {
      header.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8)
    }
    put(path, at: 0)
    put("0000644", at: 100)
    put("0000000", at: 108)
    put("0000000", at: 116)
    put(octal(sizeBytes), at: 124)
    put(octal(Int64(Recipe.sourceDateEpochSeconds)), at: 136)
    put("        ", at: 148)
    put("0", at: 156)
    put("ustar", at: 257)
    put("00", at: 263)
    let sum = header.reduce(0) { $0 + Int($1) }
    put(String(String(sum + (1 << 18), radix: 8).suffix(6)), at: 148)
    header[154] = 0
    return Data(header)
  }

  /// Eleven digits; 8 GiB is the most.
  private static func octal(_ value: Int64) -> String { String(String(value + (1 << 33), radix: 8).suffix(11)) }
}
