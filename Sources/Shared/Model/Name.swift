/// The rules for names that people write, after OCI's distribution specification, so that nothing in
/// a definition can become an option, a path elsewhere, or a reference to something else.
package enum Name {
  /// Fragments, products, manifests, templates, pools, executors: lower-case letters and digits,
  /// separated by one `.`, `_`, `__` or any number of `-`; at most 63 bytes.
  package static func isValid(_ text: String) -> Bool {
    text.utf8.count <= 63 && isPathComponent(text.utf8)
  }

  /// An image repository without a registry host: names separated by `/`; at most 255 bytes.
  package static func isRepository(_ text: String) -> Bool {
    text.utf8.count <= 255
      && text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).allSatisfy(isPathComponent)
  }

  /// Versions and tags: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
  package static func isTag(_ text: String) -> Bool {
    guard let first = text.utf8.first, text.utf8.count <= 128 else { return false }
    return (isLetterOrDigit(first) || first == UInt8(ascii: "_"))
      && text.utf8.allSatisfy {
        isLetterOrDigit($0) || [UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "-")].contains($0)
      }
  }

  private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    isLowerOrDigit(byte) || (65...90).contains(byte)
  }

  private static func isLowerOrDigit(_ byte: UInt8) -> Bool {
    (97...122).contains(byte) || (48...57).contains(byte)
  }

  /// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
  private static func isPathComponent(_ bytes: some Collection<UInt8>) -> Bool {
    guard let first = bytes.first, isLowerOrDigit(first) else { return false }
    var separator: [UInt8] = []
    for byte in bytes {
      if isLowerOrDigit(byte) {
        guard isSeparator(separator) else { return false }
        separator = []
      } else {
        separator.append(byte)
      }
    }
    return separator.isEmpty
  }

  private static func isSeparator(_ bytes: [UInt8]) -> Bool {
    let dash = UInt8(ascii: "-")
    let underscore = UInt8(ascii: "_")
    let dot = UInt8(ascii: ".")
    return bytes.allSatisfy { $0 == dash } || bytes == [dot] || bytes == [underscore]
      || bytes == [underscore, underscore]
  }
}
