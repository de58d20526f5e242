package import Foundation
import Model
import Registry

/// The OCI layout folder that all of an executor's builds export into: what is there already is not
/// written again, which spares rewriting a large base for every layer.
///
/// It is a cache, read only by digest, and every blob that is used is verified: `index.json` keeps only
/// the last export, a truncated blob is never repaired, and a full disk leaves `ingest` behind.
package struct ExportLayout: Sendable {
  package let folder: URL
  /// Beyond this, the blobs unused for longest are removed.
  package let maxBytes: Int64

  /// Begins empty: whatever a predecessor left half written is gone.
  package init(folder: URL, maxBytes: Int64 = 16 << 30) throws {
    self.folder = folder
    self.maxBytes = maxBytes
    try? FileManager.default.removeItem(at: folder)
    do {
      try FileManager.default.createDirectory(at: blobs, withIntermediateDirectories: true)
    } catch {
      throw Failure(.infrastructure, code: "work-folder", "cannot make \(folder.path): \(error)")
    }
  }

  private var blobs: URL { folder.appendingPathComponent("blobs/sha256") }
  private func file(_ digest: Digest) -> URL { blobs.appendingPathComponent(digest.hex) }

  /// A small blob, verified.
  func read(_ digest: Digest, maxBytes: Int = 8 << 20) throws -> Data {
    guard let handle = try? FileHandle(forReadingFrom: file(digest)) else { throw Self.missing(digest) }
    defer { try? handle.close() }
    let bytes = try handle.read(upToCount: maxBytes + 1) ?? Data()
    guard bytes.count <= maxBytes, Digest(of: bytes) == digest else {
      try? FileManager.default.removeItem(at: file(digest))
      throw Self.corrupt(digest)
    }
    return bytes
  }

  /// Links a blob into `folder`, where nothing removes it, and verifies it there.
  func take(_ blob: BlobReference, into folder: URL) throws -> URL {
    let target = folder.appendingPathComponent("blob-\(blob.digest.hex)")
    if FileManager.default.fileExists(atPath: target.path) { return target }
    do {
      try FileManager.default.linkItem(at: file(blob.digest), to: target)
    } catch {
      do { try FileManager.default.copyItem(at: file(blob.digest), to: target) } catch {
        throw Self.missing(blob.digest)
      }
    }
    let handle = try FileHandle(forReadingFrom: target)
    defer { try? handle.close() }
    var digest = DigestStream()
    while let piece = try handle.read(upToCount: 1 << 20), !piece.isEmpty { digest.update(piece) }
    guard digest.digest() == blob.digest, digest.size == blob.sizeBytes else {
      try? FileManager.default.removeItem(at: target)
      try? FileManager.default.removeItem(at: file(blob.digest))
      throw Self.corrupt(blob.digest)
    }
    // It was of use: it stays longer.
    try? FileManager.default.setAttributes([.modificationDate: Date()], ofItemAtPath: file(blob.digest).path)
    return target
  }

  /// Brings the folder below its limit. Safe beside running builds: one that misses a blob of its own
  /// afterwards notices and exports again.
  func prune() {
    let keys: Set<URLResourceKey> = [.fileSizeKey, .contentModificationDateKey]
    let files = (try? FileManager.default.contentsOfDirectory(at: blobs, includingPropertiesForKeys: Array(keys))) ?? []
    var found: [(file: URL, bytes: Int64, used: Date)] = []
    for file in files {
      guard let values = try? file.resourceValues(forKeys: keys) else { continue }
      found.append((file, Int64(values.fileSize ?? 0), values.contentModificationDate ?? .distantPast))
    }
    var total = found.reduce(0) { $0 + $1.bytes }
    for blob in found.sorted(by: { $0.used < $1.used }) where total > maxBytes {
      try? FileManager.default.removeItem(at: blob.file)
      total -= blob.bytes
    }
  }

  /// Both mean: export again.
  static let damagedCode = "export-damaged"

  private static func missing(_ digest: Digest) -> Failure {
    Failure(.infrastructure, code: damagedCode, "the builder's export lacks \(digest)")
  }

  private static func corrupt(_ digest: Digest) -> Failure {
    Failure(
      .infrastructure, code: damagedCode, "the builder's export of \(digest) is damaged", hint: "is the disk full?")
  }
}
