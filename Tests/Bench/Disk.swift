import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

enum Disk {
  /// How often per second 4 KiB are appended to a file in `folder` and flushed: what every durable
  /// promise of a broker or a store waits for.
  static func flushesPerSecond(in folder: URL, count: Int = 100) async throws -> Double {
    let file = folder.appendingPathComponent("kiln-bench-flush-\(ProcessInfo.processInfo.processIdentifier)")
    let descriptor = open(file.path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o600)
    guard descriptor >= 0 else { throw BenchError("cannot write \(file.path): \(String(cString: strerror(errno)))") }
    defer {
      close(descriptor)
      unlink(file.path)
    }
    let page = [UInt8](repeating: 0x6B, count: 4096)
    let taken = try await seconds {
      for _ in 0..<count {
        guard write(descriptor, page, page.count) == page.count, fsync(descriptor) == 0 else {
          throw BenchError("cannot flush \(file.path): \(String(cString: strerror(errno)))")
        }
      }
    }
    return Double(count) / taken
  }
}
