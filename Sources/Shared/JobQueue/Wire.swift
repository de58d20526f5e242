import Foundation
package import Model

// The bodies of messages, the same for every driver.

extension JobMessage {
  /// The message as JSON: `{"dispatch":1,"job":"…","v":1}`.
  package var body: [UInt8] {
    get throws {
      // Written by hand for the identifiers that we make, because thousands go out at a time.
      guard job.text.utf8.allSatisfy(Self.isPlain) else { return try sortedJSON(self) }
      return Array("{\"dispatch\":\(dispatch),\"job\":\"\(job.text)\",\"v\":\(v)}".utf8)
    }
  }

  /// Throws a `Failure` of class input for what is not a message, or one of a newer version.
  package init(body: [UInt8]) throws {
    struct Version: Decodable { var v: Int }
    let decoder = JSONDecoder()
    guard let version = try? decoder.decode(Version.self, from: Data(body)).v else {
      throw Failure(.input, code: "message-unreadable", "the message is not a job's: \(body.count) bytes")
    }
    guard version <= Self.currentVersion else {
      throw Failure(
        .input, code: "message-too-new",
        "the message has version \(version); this program reads \(Self.currentVersion)",
        hint: "Update this executor")
    }
    guard let message = try? decoder.decode(JobMessage.self, from: Data(body)) else {
      throw Failure(.input, code: "message-unreadable", "the message lacks its job or its dispatch number")
    }
    self = message
  }

  /// Needs no escape in JSON.
  private static func isPlain(_ byte: UInt8) -> Bool {
    byte >= 0x20 && byte < 0x7F && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\") && byte != UInt8(ascii: "/")
  }
}

extension DeadLetterMessage {
  package var body: [UInt8] {
    get throws { try sortedJSON(self) }
  }

  /// Throws a `Failure` of class input where the letter is a rejected message instead.
  package init(body: [UInt8]) throws {
    guard let letter = try? JSONDecoder().decode(DeadLetterMessage.self, from: Data(body)) else {
      throw Failure(.input, code: "letter-unreadable", "not written by a coordinator: \(body.count) bytes")
    }
    self = letter
  }
}

private func sortedJSON(_ value: some Encodable) throws -> [UInt8] {
  let encoder = JSONEncoder()
  encoder.outputFormatting = .sortedKeys
  return Array(try encoder.encode(value))
}
