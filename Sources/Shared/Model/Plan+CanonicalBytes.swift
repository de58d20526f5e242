package import Foundation

extension Plan {
  /// JSON with sorted keys and no optional whitespace: the same plan, the same bytes.
  package func canonicalBytes() throws -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return try encoder.encode(self)
  }
}
