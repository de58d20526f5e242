import Foundation
import Model

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The files of an OCI image layout (image-spec, image-layout.md). Every call blocks.
struct LayoutFolder: Sendable {
  static let refName = "org.opencontainers.image.ref.name"
  /// Nobody writes for so long without a byte: what is older was left by somebody who was killed.
  static let staleSeconds: Double = 600
  private static let temporaryPrefix = ".new-"

  let directory: URL
  private let blobs: URL
  private let index: URL

  init(directory: URL) throws {
    self.directory = directory
    blobs = directory.appendingPathComponent("blobs/sha256", isDirectory: true)
    index = directory.appendingPathComponent("index.json")
    do {
      try FileManager.default.createDirectory(at: blobs, withIntermediateDirectories: true)
    } catch {
      throw directory.fileFailure("making the image folder", error)
    }
    let marker = directory.appendingPathComponent("oci-layout")
    if !FileManager.default.fileExists(atPath: marker.path) {
      try place(marker) { try $0.write(contentsOf: Data(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)) }
    }
    sweep()
  }

  func file(of digest: Digest) -> URL { blobs.appendingPathComponent(digest.hex) }

  func size(of digest: Digest) -> Int64? {
    let attributes = try? FileManager.default.attributesOfItem(atPath: file(of: digest).path)
    return (attributes?[.size] as? NSNumber)?.int64Value
  }

  // MARK: Writing

  /// Whole or not at all, also when the machine stops: a new file, flushed, then renamed.
  func place(_ target: URL, _ fill: (FileHandle) throws -> Void) throws {
    let folder = target.deletingLastPathComponent()
    let temporary = folder.appendingPathComponent("\(Self.temporaryPrefix)\(UUID().uuidString)")
    do {
      guard FileManager.default.createFile(atPath: temporary.path, contents: nil) else { throw POSIXError.current }
      let handle = try FileHandle(forWritingTo: temporary)
      defer { try? handle.close() }
      try fill(handle)
      try handle.synchronize()
      guard rename(temporary.path, target.path) == 0 else { throw POSIXError.current }
      flush(folder)
    } catch {
      unlink(temporary.path)
      throw error as? Failure ?? target.fileFailure("writing", error)
    }
  }

  /// Copies to a new file and digests what is copied.
  func copy(_ source: URL, to target: URL) throws -> Digest {
    guard !FileManager.default.fileExists(atPath: target.path) else {
      throw target.fileFailure("writing", CocoaError(.fileWriteFileExists))
    }
    do {
      guard FileManager.default.createFile(atPath: target.path, contents: nil) else { throw POSIXError.current }
      let output = try FileHandle(forWritingTo: target)
      defer { try? output.close() }
      var stream = DigestStream()
      try source.readPieces {
        stream.update($0)
        try output.write(contentsOf: $0)
      }
      return stream.digest()
    } catch {
      unlink(target.path)
      throw error as? Failure ?? target.fileFailure("writing", error)
    }
  }

  func removeDamaged(_ digest: Digest) -> Failure {
    unlink(file(of: digest).path)
    return Failure(
      .infrastructure, code: "corrupt", "blob \(digest) in \(directory.path) was damaged and is removed",
      hint: "run it again: what it belonged to is built anew")
  }

  /// The rename itself must outlive a power cut.
  private func flush(_ folder: URL) {
    let descriptor = open(folder.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
  }

  /// Also what other tools leave in `ingest/` when they are killed or the disk is full.
  private func sweep() {
    let files = FileManager.default
    for folder in [directory, blobs, directory.appendingPathComponent("ingest", isDirectory: true)] {
      for name in (try? files.contentsOfDirectory(atPath: folder.path)) ?? []
      where name.hasPrefix(Self.temporaryPrefix) || folder.lastPathComponent == "ingest" {
        let item = folder.appendingPathComponent(name)
        if age(of: item) > Self.staleSeconds { try? files.removeItem(at: item) }
      }
    }
  }

  /// Seconds since the last write to it, or to what it holds.
  private func age(of item: URL) -> Double {
    let files = FileManager.default
    let inner = (try? files.contentsOfDirectory(atPath: item.path)) ?? []
    let changes = ([item] + inner.map { item.appendingPathComponent($0) }).compactMap {
      (try? files.attributesOfItem(atPath: $0.path))?[.modificationDate] as? Date
    }
    return changes.max().map { -$0.timeIntervalSinceNow } ?? 0
  }

  // MARK: index.json

  static func refName(of entry: JSONValue) -> String? { entry["annotations"]?[refName]?.string }

  func entries() throws -> [JSONValue] {
    guard FileManager.default.fileExists(atPath: index.path) else { return [] }
    var bytes = Data()
    try index.readPieces { bytes.append($0) }
    return try JSONValue.parse(bytes, what: index.path)["manifests"]?.array ?? []
  }

  /// One change at a time, whoever shares the folder.
  func changeEntries(_ change: (inout [JSONValue]) -> Void) throws {
    let lock = open(directory.appendingPathComponent(".lock").path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    guard lock >= 0 else { throw directory.fileFailure("locking", POSIXError.current) }
    defer { close(lock) }
    while flock(lock, LOCK_EX) != 0 {
      guard errno == EINTR else { throw directory.fileFailure("locking", POSIXError.current) }
    }
    var entries = try entries()
    change(&entries)
    entries.sort { (Self.refName(of: $0) ?? "") < (Self.refName(of: $1) ?? "") }
    let document = JSONValue.object([
      "schemaVersion": .integer(2), "mediaType": .string(MediaType.imageIndex), "manifests": .array(entries),
    ])
    try place(index) { try $0.write(contentsOf: document.canonicalBytes) }
  }
}

extension POSIXError {
  /// The reason of the C call that has just failed.
  fileprivate static var current: POSIXError { POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
}
