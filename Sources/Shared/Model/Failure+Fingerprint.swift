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
    // Colours and the like.
    text.replace(/\u{1B}\[[0-9;?]*[A-Za-z]/, with: "")
    text.replace(/:\/\/[^\/\s"']+/, with: "://ADDRESS")
    text.replace(/\b[0-9]{1,3}(\.[0-9]{1,3}){3}(:[0-9]+)?\b/, with: "ADDRESS")
    text.replace(/\b0x[0-9A-Fa-f]+\b/, with: "HEX")
    // `core@0.2.0 (graft)`, and what it is built for.
    text.replace(/[A-Za-z0-9._-]{1,128}@[0-9][A-Za-z0-9.+-]*( \((?:graft|independent)\))?/, with: "FRAGMENT")
    text.replace(/\b(linux|windows)\/[a-z0-9]+(\/v[0-9]+)?/, with: "PLATFORM")
    // Folders, whatever they are called; the file's own name says what it was about, unless nobody chose it.
    text.replace(/(\/[A-Za-z0-9._+@%~-]+)*\/(?=[A-Za-z0-9._+@%~-])/, with: "/")
    text.replace(/\/tmp[._]?[A-Za-z0-9_]{6,}/, with: "/TEMPORARY")
    text.replace(/\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b/, with: "ID")
    text.replace(/\b(?=[0-9a-f]*[0-9])[0-9a-f]{7,}\b/, with: "HEX")
    text.replace(/[0-9]+([.,:-][0-9]+)*/, with: "N")
    text.replace(/\s+/, with: " ")
    return text.trimmingCharacters(in: .whitespaces)
  }
}
