import Foundation
import Model

/// Writes a tar file, entry by entry, on the thread for file work.
actor TarFile {
  private let file: URL
  private let handle: FileHandle

  nonisolated var unownedExecutor: UnownedSerialExecutor { FileWork.shared.unownedExecutor }

  /// An existing file is replaced.
  init(creating file: URL) throws {
    guard FileManager.default.createFile(atPath: file.path, contents: nil),
      let handle = FileHandle(forWritingAtPath: file.path)
    else { throw file.fileFailure("creating", CocoaError(.fileWriteUnknown)) }
    self.file = file
    self.handle = handle
  }

  func add(_ path: String, _ bytes: Data) throws {
    try write(Self.header(path, sizeBytes: Int64(bytes.count)))
    try write(bytes)
    try pad(Int64(bytes.count))
  }

  /// Exactly `sizeBytes` must be in `source`.
  func add(_ path: String, contentsOf source: URL, sizeBytes: Int64) throws {
    try write(Self.header(path, sizeBytes: sizeBytes))
    var written: Int64 = 0
    try source.readPieces {
      written += Int64($0.count)
      try write($0)
    }
    guard written == sizeBytes else {
      throw Failure(.infrastructure, code: "local-file", "\(source.path) has \(written) bytes, not \(sizeBytes)")
    }
    try pad(sizeBytes)
  }

  func finish() throws {
    try write(Data(count: 1024))
    do {
      try handle.synchronize()
      try handle.close()
    } catch {
      throw file.fileFailure("writing", error)
    }
  }

  private func pad(_ size: Int64) throws { try write(Data(count: Int((512 - size % 512) % 512))) }

  private func write(_ bytes: Data) throws {
    do {
      try handle.write(contentsOf: bytes)
    } catch {
      throw file.fileFailure("writing", error)
    }
  }

  /// A ustar header (POSIX.1-1988) for names of at most 100 bytes, as an image layout's all are.
  static func header(_ path: String, sizeBytes: Int64) -> Data {
    precondition(path.utf8.count <= 100, "longer than a ustar name: \(path)")
    var header = [UInt8](repeating: 0, count: 512)
    func put(_ bytes: some Collection<UInt8>, at offset: Int) {
      header.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    }
    put(path.utf8, at: 0)
    put("0000644".utf8, at: 100)
    put("0000000".utf8, at: 108)
    put("0000000".utf8, at: 116)
    put(number(sizeBytes), at: 124)
    put(number(Int64(Recipe.sourceDateEpochSeconds)), at: 136)
    put("0".utf8, at: 156)
    put("ustar".utf8, at: 257)
    put("00".utf8, at: 263)
    // The checksum counts itself as blanks.
    let sum = header.reduce(8 * 32) { $0 + Int($1) }
    put(octal(Int64(sum), digits: 6).utf8, at: 148)
    header[155] = UInt8(ascii: " ")
    return Data(header)
  }

  /// Eleven octal digits, or from 8 GiB on twelve bytes in base 256, as GNU tar and Go's readers know.
  private static func number(_ value: Int64) -> [UInt8] {
    guard value >= 1 << 33 else { return Array(octal(value, digits: 11).utf8) }
    return [0x80] + (0..<11).reversed().map { $0 < 8 ? UInt8(truncatingIfNeeded: value >> (8 * $0)) : 0 }
  }

  private static func octal(_ value: Int64, digits: Int) -> String {
    let text = String(value, radix: 8)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
  }
}
