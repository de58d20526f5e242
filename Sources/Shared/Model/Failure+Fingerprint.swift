import Foundation

extension Failure {
  /// Twelve hex digits that are equal for equal causes: which fragment, platform, host or attempt met it makes
  /// no difference, nor do digests, times, addresses, folders and numbers in what was printed.
  package var fingerprint: String {
    let subject = step.map(Self.command) ?? message
    let last = logTail?.split(whereSeparator: \.isNewline).last { line in line.contains { !$0.isWhitespace } }
    let parts =
      [failureClass.rawValue, code, exitCode.map(String.init) ?? ""] + [subject, String(last ?? "")].map(Self.bare)
    return Digest(of: parts.joined(separator: "\n")).short
  }

  /// The step without its place among the steps: `[2/3] RUN x` is `RUN x`.
  private static func command(_ step: String) -> String {
    step.firstMatch(of: #/^\[[^\]]*\] /#).map { String(step[$0.range.upperBound...]) } ?? step
  }

  /// What differs from one time to the next, taken out.
  static func bare(_ text: String) -> String {
    // What matters comes early, and nobody waits for the rest.
    var text = String(text.unicodeScalars.prefix(1024))
    for (pattern, replacement) in noise { text.replace(pattern, with: replacement) }
    return text.trimmingCharacters(in: .whitespaces)
  }

  /// In this order. Made once: a pattern takes longer to make than to find.
  // Unchecked: never written to.
  nonisolated(unsafe) private static let noise: [(Regex<AnyRegexOutput>, String)] = [
    // Colours and the like.
    (Regex(/\u{1B}\[[0-9;?]*[A-Za-z]/), ""),
    (Regex(/:\/\/[^\/\s"']+/), "://ADDRESS"),
    (Regex(/\b[0-9]{1,3}(\.[0-9]{1,3}){3}(:[0-9]+)?\b/), "ADDRESS"),
    (Regex(/\b0x[0-9A-Fa-f]+\b/), "HEX"),
    // `core@0.2.0 (graft)`, and what it is built for.
    (Regex(/[A-Za-z0-9._-]{1,128}@[0-9][A-Za-z0-9.+-]*( \((?:graft|independent)\))?/), "FRAGMENT"),
    (Regex(/\b(linux|windows)\/[a-z0-9]+(\/v[0-9]+)?/), "PLATFORM"),
    (Regex(/\bexecutor [A-Za-z0-9._-]+/), "EXECUTOR"),
    // Folders, whatever they are called; the file's own name says what it was about, unless nobody chose it.
    (Regex(/(\/[A-Za-z0-9._+@%~-]+)*\/(?=[A-Za-z0-9._+@%~-])/), "/"),
    (Regex(/\/tmp[._]?[A-Za-z0-9_]{6,}/), "/TEMPORARY"),
    (Regex(/\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b/), "ID"),
    (Regex(/\b(?=[0-9a-f]*[0-9])[0-9a-f]{7,}\b/), "HEX"),
    (Regex(/[0-9]+([.,:-][0-9]+)*/), "N"),
    (Regex(/\s+/), " "),
  ]
}
