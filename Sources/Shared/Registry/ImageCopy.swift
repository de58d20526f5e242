import Foundation
package import Model

/// Copies images between stores, leaving out what is there already.
package enum ImageCopy {
  static let parallel = 4

  /// One platform's image. Returns its manifest.
  package static func copy(
    _ digest: Digest, from source: any ImageStore, repository sourceRepository: String, to target: any ImageStore,
    repository: String, tag: String?
  ) async throws -> Manifest {
    guard let manifest = try await source.manifest(.digest(digest), in: sourceRepository) else {
      throw Failure(.infrastructure, code: "image-gone", "image \(digest) is not in \(sourceRepository)")
    }
    let blobs = try ImageManifest(manifest).allBlobs.map(\.blob)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (index, blob) in Set(blobs).sorted(by: { $0.digest < $1.digest }).enumerated() {
        if index >= parallel { try await group.next() }
        group.addTask {
          try await copyBlob(blob, from: source, sourceRepository, to: target, repository)
        }
      }
      try await group.waitForAll()
    }
    try await target.put(manifest, in: repository, tag: tag)
    return manifest
  }

  /// An image or an index with all its images; the tag goes to what was asked for.
  package static func copyAll(
    _ digest: Digest, from source: any ImageStore, repository sourceRepository: String, to target: any ImageStore,
    repository: String, tag: String?
  ) async throws {
    guard let manifest = try await source.manifest(.digest(digest), in: sourceRepository) else {
      throw Failure(.infrastructure, code: "image-gone", "image \(digest) is not in \(sourceRepository)")
    }
    guard MediaType.isIndex(manifest.mediaType) else {
      _ = try await copy(
        digest, from: source, repository: sourceRepository, to: target, repository: repository, tag: tag)
      return
    }
    for child in try ImageIndex.children(manifest) {
      _ = try await copy(
        child.descriptor.digest, from: source, repository: sourceRepository, to: target, repository: repository,
        tag: nil)
    }
    try await target.put(manifest, in: repository, tag: tag)
  }

  private static func copyBlob(
    _ blob: BlobReference, from source: any ImageStore, _ sourceRepository: String, to target: any ImageStore,
    _ repository: String
  ) async throws {
    if try await target.blobSize(blob.digest, in: repository) != nil { return }
    // Within one store a mount saves the bytes.
    if try await target.mount(blob, from: sourceRepository, to: repository) { return }
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: file) }
    try await source.download(blob, in: sourceRepository, to: file)
    try await target.upload(file: file, blob: blob, to: repository, mountFrom: nil)
  }
}
