#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// The one owner of a file or a folder: an exclusive `flock` on a file beside it, with the owner's pid
/// inside for those who find it taken. The kernel lets go when the owner dies; the file stays, for
/// removing it would let two owners in.
package final class FileLock: Sendable {
  package enum Problem: Error, Sendable {
    /// Somebody holds it, in this process or another: its pid, if it says.
    case held(by: String?)
    /// It cannot be opened, locked or written.
    case unusable(String)
  }

  private let descriptor: Int32

  package init(path: String) throws(Problem) {
    let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw .unusable(
        "cannot open \(path): \(String(cString: strerror(errno))). Check that its folder exists and is yours to write")
    }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      let reason = errno
      defer { _ = close(descriptor) }
      guard reason == EWOULDBLOCK else { throw .unusable("cannot lock \(path): \(String(cString: strerror(reason)))") }
      throw .held(by: Self.owner(descriptor))
    }
    let pid = Array("\(getpid())\n".utf8)
    guard ftruncate(descriptor, 0) == 0, write(descriptor, pid, pid.count) == pid.count else {
      defer { _ = close(descriptor) }
      throw .unusable("cannot write \(path): \(String(cString: strerror(errno)))")
    }
    self.descriptor = descriptor
  }

  /// Whether somebody holds it.
  package static func isHeld(path: String) -> Bool {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { _ = close(descriptor) }
    return flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK
  }

  deinit { _ = close(descriptor) }

  private static func owner(_ descriptor: Int32) -> String? {
    var bytes = [UInt8](repeating: 0, count: 32)
    let count = read(descriptor, &bytes, bytes.count)
    let digits = bytes.prefix(max(0, count)).prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    return digits.isEmpty ? nil : String(decoding: digits, as: UTF8.self)
  }
}
