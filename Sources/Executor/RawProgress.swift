package import Foundation

/// Reads what `docker buildx build --progress rawjson` writes to standard error: JSON objects, pretty
/// printed one after the other, then plain text when the build failed. Pure; fed in any pieces.
package struct RawProgress {
  /// Larger objects are not BuildKit's: a log's chunk is 32 KiB.
  static let maxObjectBytes = 16 << 20
  /// Of plain text, the last bytes are kept.
  static let maxTextBytes = 64 << 10

  package enum Event: Sendable {
    case status(SolveStatus)
    /// A line that belongs to no object, without its newline.
    case text(String)
  }

  private var line: [UInt8] = []
  private var object: [UInt8] = []

  package init() {}

  package mutating func feed(_ bytes: some Sequence<UInt8>) -> [Event] {
    var events: [Event] = []
    for byte in bytes {
      if byte == UInt8(ascii: "\n") {
        endLine(into: &events)
      } else {
        line.append(byte)
        if line.count > Self.maxObjectBytes { endLine(into: &events) }
      }
    }
    return events
  }

  /// What is left when the stream has ended.
  package mutating func finish() -> [Event] {
    var events: [Event] = []
    if !line.isEmpty { endLine(into: &events) }
    flushAsText(&object, into: &events)
    return events
  }

  /// An object begins with a line that begins with `{` and ends where the braces close: with a line
  /// that is `}` alone (pretty printed), or with the same line (compact, as newer builders write).
  private mutating func endLine(into events: inout [Event]) {
    defer { line.removeAll(keepingCapacity: true) }
    if object.isEmpty {
      guard line.first == UInt8(ascii: "{") else {
        events.append(.text(String(decoding: line, as: UTF8.self)))
        return
      }
    }
    object.append(contentsOf: line)
    object.append(UInt8(ascii: "\n"))
    let isWhole = line == [UInt8(ascii: "}")] || (line.first == UInt8(ascii: "{") && line.last == UInt8(ascii: "}"))
    if isWhole, let status = try? SolveStatus.decode(object) {
      object.removeAll(keepingCapacity: true)
      events.append(.status(status))
    } else if isWhole || object.count > Self.maxObjectBytes {
      flushAsText(&object, into: &events)
    }
  }

  private func flushAsText(_ bytes: inout [UInt8], into events: inout [Event]) {
    for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: true) {
      events.append(.text(String(decoding: line, as: UTF8.self)))
    }
    bytes.removeAll()
  }
}

/// One message of BuildKit's progress (`client.SolveStatus` in its source), the parts in use.
package struct SolveStatus: Sendable, Decodable {
  package struct Vertex: Sendable, Decodable {
    package var digest: String
    package var name: String?
    package var started: String?
    package var completed: String?
    package var cached: Bool?
    package var error: String?
  }

  package struct Log: Sendable, Decodable {
    package var vertex: String
    package var data: Data
  }

  package var vertexes: [Vertex]?
  package var logs: [Log]?

  static func decode(_ bytes: [UInt8]) throws -> SolveStatus {
    try JSONDecoder().decode(SolveStatus.self, from: Data(bytes))
  }
}
