import Foundation

extension HTTPRequest {
  /// Throws unless every part can be put on the wire as it is: a value with a line break would
  /// become a header of its own.
  func validate() throws {
    guard Self.isToken(method) else { throw invalid("the method is not a word") }
    let lower = url.lowercased()
    guard lower.hasPrefix("http://") || lower.hasPrefix("https://") else {
      throw invalid("the address does not begin with http:// or https://")
    }
    guard url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
      throw invalid("the address holds a space, a control character or a letter outside ASCII")
    }
    for field in headers.fields {
      guard Self.isToken(field.name) else { throw invalid("'\(field.name.debugDescription)' is not a header's name") }
      guard field.value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }) else {
        throw invalid("the header \(field.name) holds a control character")
      }
      guard !["content-length", "transfer-encoding"].contains(field.name.lowercased()) else {
        throw invalid("the header \(field.name) is the client's to set")
      }
    }
  }

  /// For messages: without user, password, query and fragment, which may be secret.
  var displayURL: String {
    var text = url.prefix { $0 != "?" && $0 != "#" }
    if let scheme = text.range(of: "://"),
      let at = text[scheme.upperBound...].prefix(while: { $0 != "/" }).lastIndex(of: "@")
    {
      text = text[..<scheme.upperBound] + text[text.index(after: at)...]
    }
    return String(text.prefix(300))
  }

  /// Whether the host is this machine itself, which no proxy reaches.
  var isLoopback: Bool {
    guard let scheme = url.range(of: "://") else { return false }
    let authority = url[scheme.upperBound...].prefix { !"/?#".contains($0) }
    let hostAndPort = authority.split(separator: "@", omittingEmptySubsequences: false).last ?? ""
    if hostAndPort.hasPrefix("[") { return hostAndPort.hasPrefix("[::1]") }
    let host = hostAndPort.prefix { $0 != ":" }.lowercased()
    let numbers = host.split(separator: ".", omittingEmptySubsequences: false)
    return host == "localhost" || host.hasSuffix(".localhost")
      || numbers.count == 4 && numbers[0] == "127" && numbers.allSatisfy { UInt8($0) != nil }
  }

  private func invalid(_ what: String) -> HTTPClientError {
    HTTPClientError(.invalidRequest, "\(method.prefix(20)) \(displayURL): \(what)")
  }

  /// RFC 9110, 5.6.2.
  private static func isToken(_ text: String) -> Bool {
    let marks = Array("!#$%&'*+-.^_`|~".utf8)
    return !text.isEmpty
      && text.utf8.allSatisfy {
        (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || marks.contains($0)
      }
  }
}
