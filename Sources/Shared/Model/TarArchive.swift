package import Foundation

/// The one normal form of a tar archive: sorted by path, owner 0:0, modes 0644 and 0755, one time for
/// everything, parents before children. Equal content gives equal bytes, on any host.
///
/// POSIX ustar; a path or link target that is long or not ASCII is in a pax header (`path`, `linkpath`).
package enum TarArchive {
  package struct Entry: Sendable, Hashable {
    package enum Content: Sendable, Hashable {
      case file(Data, executable: Bool)
      case symlink(target: String)
      case directory
    }

    /// Relative, `/`-separated, without `.` or `..`.
    package var path: String
    package var content: Content

    package init(path: String, content: Content) {
      self.path = path
      self.content = content
    }
  }

  static let blockBytes = 512

  /// Writes `entries` in normal form. Parent directories are added where they are not named; of two
  /// entries with one path, the first counts.
  package static func write(_ entries: [Entry]) -> Data {
    var archive = Data()
    for entry in withParents(entries) { append(entry, to: &archive) }
    archive.append(Data(count: 2 * blockBytes))
    return archive
  }

  private static func withParents(_ entries: [Entry]) -> [Entry] {
    var seen: Set<[UInt8]> = []
    var all: [(bytes: [UInt8], entry: Entry)] = []
    func add(_ entry: Entry) {
      let bytes = Array(entry.path.utf8)
      if seen.insert(bytes).inserted { all.append((bytes, entry)) }
    }
    for entry in entries { add(entry) }
    for entry in entries {
      var parts = entry.path.split(separator: "/")
      while parts.count > 1 {
        parts.removeLast()
        add(Entry(path: parts.joined(separator: "/"), content: .directory))
      }
    }
    return all.sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }.map(\.entry)
  }

  /// One entry, without the archive's end.
  static func append(_ entry: Entry, to archive: inout Data) {
    var path = entry.path
    var target = ""
    var body = Data()
    let mode: Int
    let type: UInt8
    switch entry.content {
    case .file(let bytes, let executable):
      (body, mode, type) = (bytes, executable ? 0o755 : 0o644, UInt8(ascii: "0"))
    case .symlink(let text):
      (target, mode, type) = (text, 0o777, UInt8(ascii: "2"))
    case .directory:
      (path, mode, type) = (path + "/", 0o755, UInt8(ascii: "5"))
    }
    let records = [("path", path), ("linkpath", target)].filter { !fitsHeader($0.1) }
    if !records.isEmpty {
      let pax = Data(records.map { paxRecord($0.0, $0.1) }.joined().utf8)
      archive.append(header(name: "pax", target: "", mode: 0o644, size: pax.count, type: UInt8(ascii: "x")))
      appendPadded(pax, to: &archive)
    }
    archive.append(
      header(
        name: fitsHeader(path) ? path : "long", target: fitsHeader(target) ? target : "long", mode: mode,
        size: body.count, type: type))
    appendPadded(body, to: &archive)
  }

  private static func fitsHeader(_ text: String) -> Bool {
    text.utf8.count <= 100 && text.utf8.allSatisfy { $0 < 0x80 }
  }

  /// `LENGTH key=value\n`, where LENGTH counts itself.
  private static func paxRecord(_ key: String, _ value: String) -> String {
    let rest = " \(key)=\(value)\n"
    var length = rest.utf8.count
    while "\(length)".utf8.count + rest.utf8.count != length { length = "\(length)".utf8.count + rest.utf8.count }
    return "\(length)\(rest)"
  }

  private static func header(name: String, target: String, mode: Int, size: Int, type: UInt8) -> Data {
    var block = [UInt8](repeating: 0, count: blockBytes)
    func put(_ text: some Sequence<UInt8>, at offset: Int) {
      for (index, byte) in text.enumerated() { block[offset + index] = byte }
    }
    func octal(_ number: Int, width: Int) -> [UInt8] {
      let digits = String(number, radix: 8)
      return Array((String(repeating: "0", count: max(0, width - 1 - digits.utf8.count)) + digits).utf8)
    }
    put(name.utf8, at: 0)
    put(octal(mode, width: 8), at: 100)
    put(octal(0, width: 8), at: 108)
    put(octal(0, width: 8), at: 116)
    put(octal(size, width: 12), at: 124)
    put(octal(Recipe.sourceDateEpochSeconds, width: 12), at: 136)
    put(Array("        ".utf8), at: 148)
    block[156] = type
    put(target.utf8, at: 157)
    put(Array("ustar\u{0}00".utf8), at: 257)
    put(octal(0, width: 8), at: 329)
    put(octal(0, width: 8), at: 337)
    let sum = block.reduce(0) { $0 + Int($1) }
    put(octal(sum, width: 7) + [0, UInt8(ascii: " ")], at: 148)
    return Data(block)
  }

  private static func appendPadded(_ body: Data, to archive: inout Data) {
    archive.append(body)
    let over = body.count % blockBytes
    if over > 0 { archive.append(Data(count: blockBytes - over)) }
  }
}
