import Foundation
package import Model

/// Copies images between stores, leaving out what is there already.
package enum ImageCopy {
  /// Blobs on their way at once, for one image.
  static let maxParallel = 4

  /// One platform's image, found by its digest. Returns its manifest.
  package static func copy(
    _ digest: Digest, from source: any ImageStore, repository sourceRepository: String, to target: any ImageStore,
    repository: String, tag: String?
  ) async throws -> Manifest {
    guard let manifest = try await source.manifest(.digest(digest), in: sourceRepository) else {
      throw Failure(.infrastructure, code: "image-gone", "image \(digest) is not in \(sourceRepository)")
    }
    let blobs = Set(try ImageManifest(manifest).allBlobs.map(\.blob)).sorted { $0.digest < $1.digest }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (index, blob) in blobs.enumerated() {
        if index >= maxParallel { try await group.next() }
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
    for entry in try ImageIndex.entries(manifest) {
      _ = try await copy(
        entry.digest, from: source, repository: sourceRepository, to: target, repository: repository,
        tag: nil)
    }
    try await target.put(manifest, in: repository, tag: tag)
  }

  private static func copyBlob(
    _ blob: BlobReference, from source: any ImageStore, _ sourceRepository: String, to target: any ImageStore,
    _ repository: String
  ) async throws {
    if try await target.has(blob, in: repository) { return }
    // Within one store a mount saves the bytes.
    if !sourceRepository.isEmpty, try await target.mount(blob, from: sourceRepository, to: repository) { return }
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: file) }
    try await source.download(blob, in: sourceRepository, to: file)
    try await target.upload(file: file, blob: blob, to: repository, mountFrom: nil)
  }
}
