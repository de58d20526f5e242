package import Foundation

extension TarArchive {
  /// What a reader puts up with.
  package struct Limits: Sendable {
    package var maxArchiveBytes: Int
    package var maxFileBytes: Int
    package var maxEntries: Int

    package init(maxArchiveBytes: Int, maxFileBytes: Int, maxEntries: Int) {
      self.maxArchiveBytes = maxArchiveBytes
      self.maxFileBytes = maxFileBytes
      self.maxEntries = maxEntries
    }
  }

  /// Reads files, directories and symlinks of any ustar or pax archive, ours or another program's.
  ///
  /// Refuses absolute paths, `..`, duplicates, a path below a file, hardlinks, devices, FIFOs and
  /// whatever is over a limit. A symlink's target is returned as it stands: judging it is the caller's.
  package static func read(_ archive: Data, limits: Limits) throws(Failure) -> [Entry] {
    guard archive.count <= limits.maxArchiveBytes else {
      throw bad("the archive has \(archive.count) bytes; at most \(limits.maxArchiveBytes) are allowed")
    }
    var reader = Reader(bytes: [UInt8](archive))
    var entries: [Entry] = []
    var kinds: [[UInt8]: Bool] = [:]  // path → is a directory
    while let entry = try reader.next(maxFileBytes: limits.maxFileBytes) {
      guard entries.count < limits.maxEntries else { throw bad("more than \(limits.maxEntries) entries") }
      let isDirectory = entry.content == .directory
      if let before = kinds.updateValue(isDirectory, forKey: Array(entry.path.utf8)), !(before && isDirectory) {
        throw bad("'\(entry.path)' is there twice")
      }
      entries.append(entry)
    }
    for entry in entries {
      var parts = entry.path.split(separator: "/")
      while parts.count > 1 {
        parts.removeLast()
        if kinds[Array(parts.joined(separator: "/").utf8)] == false {
          throw bad("'\(entry.path)' lies below something that is not a directory")
        }
      }
    }
    return entries
  }

  fileprivate static func bad(_ message: String) -> Failure { Failure(.input, code: "bad-archive", message) }

  private struct Reader {
    let bytes: [UInt8]
    var offset = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func next(maxFileBytes: Int) throws(Failure) -> Entry? {
      var extended: [String: String] = [:]
      while true {
        guard let header = try block() else {
          guard extended.isEmpty else { throw bad("it ends after an extended header") }
          return nil
        }
        let size = try sizeField(header)
        guard size <= maxFileBytes else { throw bad("an entry has \(size) bytes; at most \(maxFileBytes) are allowed") }
        let type = header[156]
        switch type {
        case UInt8(ascii: "x"):
          for (key, value) in try paxRecords(body(size)) { extended[key] = value }
        case UInt8(ascii: "g"):  // global comments, such as git's commit; nothing that we read
          guard try paxRecords(body(size)).allSatisfy({ $0.key == "comment" }) else {
            throw bad("a global header that says more than a comment")
          }
        case UInt8(ascii: "L"): extended["path"] = try text(body(size))
        case UInt8(ascii: "K"): extended["linkpath"] = try text(body(size))
        default: return try entry(header, type: type, size: size, extended: extended)
        }
      }
    }

    private mutating func entry(
      _ header: [UInt8], type: UInt8, size: Int, extended: [String: String]
    ) throws(Failure) -> Entry {
      guard extended["size"] == nil else { throw bad("a size in an extended header is not understood") }
      var path = try text(Array(header[0..<100]))
      let prefix = try text(Array(header[345..<500]))
      if !prefix.isEmpty, Array(header[257..<263]) == Array("ustar\u{0}".utf8) { path = prefix + "/" + path }
      path = try checked(extended["path"] ?? path)
      switch type {
      case 0, UInt8(ascii: "0"):
        let executable = try octal(Array(header[100..<108])) & 0o100 != 0
        return Entry(path: path, content: .file(Data(try body(size)), executable: executable))
      case UInt8(ascii: "2"):
        let linked = try text(Array(header[157..<257]))
        return Entry(path: path, content: .symlink(target: extended["linkpath"] ?? linked))
      case UInt8(ascii: "5"):
        return Entry(path: path, content: .directory)
      case UInt8(ascii: "1"):
        throw bad("'\(path)' is a hardlink")
      default:
        throw bad("'\(path)' is neither a file nor a directory nor a symlink")
      }
    }

    private func checked(_ path: String) throws(Failure) -> String {
      var parts = path.split(separator: "/", omittingEmptySubsequences: false)
      if parts.last == "" { parts.removeLast() }
      if parts.first == "." { parts.removeFirst() }
      guard !path.hasPrefix("/") else { throw bad("'\(path)' is an absolute path") }
      guard !parts.isEmpty, parts.allSatisfy({ !["", ".", ".."].contains($0) }) else {
        throw bad("'\(path)' is not a plain relative path")
      }
      guard path.utf8.count <= 4096, path.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
        throw bad("a path with control characters, or longer than 4096 bytes")
      }
      return parts.joined(separator: "/")
    }

    /// The next header; nil at the archive's end. Skips a root entry `./`.
    private mutating func block() throws(Failure) -> [UInt8]? {
      while true {
        guard offset + blockBytes <= bytes.count else { throw bad("it is cut short") }
        let header = Array(bytes[offset..<offset + blockBytes])
        offset += blockBytes
        if header.allSatisfy({ $0 == 0 }) {
          guard bytes[offset...].allSatisfy({ $0 == 0 }) else { throw bad("there is something after its end") }
          return nil
        }
        let sum = header.enumerated().reduce(0) { $0 + ((148..<156).contains($1.offset) ? 32 : Int($1.element)) }
        guard try octal(Array(header[148..<156])) == sum else { throw bad("a header's checksum is wrong") }
        if header[156] == UInt8(ascii: "5"), header[0] == UInt8(ascii: "."),
          header[1] == 0 || (header[1] == UInt8(ascii: "/") && header[2] == 0)
        {
          continue
        }
        return header
      }
    }

    private func sizeField(_ header: [UInt8]) throws(Failure) -> Int {
      // Only files and extended headers have a body; some programs write a size for links.
      guard ![UInt8(ascii: "2"), UInt8(ascii: "5")].contains(header[156]) else { return 0 }
      return try octal(Array(header[124..<136]))
    }

    private mutating func body(_ size: Int) throws(Failure) -> [UInt8] {
      let padded = (size + blockBytes - 1) / blockBytes * blockBytes
      guard padded <= bytes.count - offset else { throw bad("it is cut short") }
      defer { offset += padded }
      return Array(bytes[offset..<offset + size])
    }

    private func octal(_ field: [UInt8]) throws(Failure) -> Int {
      let digits = field.filter { $0 != 0 && $0 != 32 }
      guard digits.count <= 12, digits.allSatisfy({ (48...55).contains($0) }) else {
        throw bad("a number is not octal")
      }
      return digits.reduce(0) { $0 * 8 + Int($1 - 48) }
    }

    private func text(_ field: [UInt8]) throws(Failure) -> String {
      guard let text = String(validating: field.prefix { $0 != 0 }, as: UTF8.self) else {
        throw bad("a name is not UTF-8")
      }
      return text
    }

    private func paxRecords(_ body: [UInt8]) throws(Failure) -> [(key: String, value: String)] {
      var records: [(key: String, value: String)] = []
      var rest = body[...]
      while !rest.isEmpty {
        guard let space = rest.firstIndex(of: 32), space - rest.startIndex < 8,
          let length = Int(String(decoding: rest[..<space], as: UTF8.self)),
          length > space - rest.startIndex + 1, length <= rest.count,
          rest[rest.startIndex + length - 1] == 10
        else { throw bad("an extended header is malformed") }
        let end = rest.startIndex + length
        let pair = rest[(space + 1)..<(end - 1)]
        guard let equals = pair.firstIndex(of: UInt8(ascii: "=")) else { throw bad("an extended header is malformed") }
        records.append((try text(Array(pair[..<equals])), try text(Array(pair[(equals + 1)...]))))
        rest = rest[end...]
      }
      return records
    }
  }
}
