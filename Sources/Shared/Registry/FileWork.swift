import BlockingThread
package import Foundation
package import Model

/// Long reads and writes of files, on a thread of their own: they would hold up everything else on
/// the cooperative pool.
actor FileWork {
  static let shared = FileWork()
  private static let thread = BlockingThread(name: "kiln-files")

  nonisolated var unownedExecutor: UnownedSerialExecutor { Self.thread.asUnownedSerialExecutor() }

  func digest(of file: URL) throws -> Digest { try Digest(ofFile: file) }
}

extension Digest {
  /// Blocks for as long as reading takes. Throws a `Failure`.
  package init(ofFile file: URL) throws {
    var stream = DigestStream()
    try file.readPieces { stream.update($0) }
    self = stream.digest()
  }
}

extension URL {
  /// Throws a `Failure` where it cannot be read; what `body` throws passes.
  func readPieces(_ body: (Data) throws -> Void) throws {
    guard let handle = FileHandle(forReadingAtPath: path) else {
      throw fileFailure("reading", CocoaError(.fileReadNoSuchFile))
    }
    defer { try? handle.close() }
    while true {
      let piece: Data?
      do {
        piece = try handle.read(upToCount: 1 << 20)
      } catch {
        throw fileFailure("reading", error)
      }
      guard let piece, !piece.isEmpty else { return }
      try body(piece)
    }
  }

  func fileFailure(_ doing: String, _ error: any Error) -> Failure {
    Failure(
      .infrastructure, code: "local-file", "\(doing) \(path): \(error.localizedDescription)",
      hint: "is the disk full, and may this user do it?")
  }
}
