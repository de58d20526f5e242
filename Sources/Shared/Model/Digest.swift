internal import Crypto
package import Foundation

/// A content digest as OCI writes it: `sha256:` and 64 lower-case hex digits.
package struct Digest: Hashable, Sendable, Comparable, CustomStringConvertible {
  /// The 64 hex digits.
  package let hex: String

  /// Nil unless `text` is exactly `sha256:` and 64 lower-case hex digits.
  package init?(_ text: String) {
    guard text.hasPrefix("sha256:") else { return nil }
    self.init(hex: String(text.dropFirst(7)))
  }

  package init?(hex: String) {
    guard hex.utf8.count == 64, hex.utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }) else {
      return nil
    }
    self.hex = hex
  }

  /// The digest of `bytes`.
  package init(of bytes: some DataProtocol) {
    hex = Self.hexDigits(SHA256.hash(data: bytes))
  }

  package init(of text: String) { self.init(of: Data(text.utf8)) }

  package var description: String { "sha256:\(hex)" }
  /// The first twelve hex digits, for people.
  package var short: String { String(hex.prefix(12)) }

  package static func < (left: Digest, right: Digest) -> Bool { left.hex < right.hex }

  fileprivate static func hexDigits(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    text.reserveCapacity(64)
    for byte in bytes {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
  }
}

extension Digest: Codable {
  package init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let digest = Digest(text) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "'\(text)' is not a sha256 digest")
    }
    self = digest
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

/// Digests bytes that arrive in pieces.
package struct DigestStream {
  private var hasher = SHA256()
  /// Bytes seen so far.
  package private(set) var size: Int64 = 0

  package init() {}

  package mutating func update(_ bytes: some DataProtocol) {
    hasher.update(data: bytes)
    size += Int64(bytes.count)
  }

  package func digest() -> Digest {
    // SHA-256 always gives 64 hex digits.
    Digest(hex: Digest.hexDigits(hasher.finalize())) ?? Digest(of: Data())
  }
}
