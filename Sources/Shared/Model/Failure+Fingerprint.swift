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
    var text = text
    // Colours and the like.
    text.replace(/\u{1B}\[[0-9;?]*[A-Za-z]/, with: "")
    // `core@0.2.0 (graft)`, and what it is built for.
    text.replace(/[A-Za-z0-9._-]+@[0-9][A-Za-z0-9.+-]*( \((?:graft|independent)\))?/, with: "FRAGMENT")
    text.replace(/\b(linux|windows)\/[a-z0-9]+(\/v[0-9]+)?/, with: "PLATFORM")
    text.replace(/[A-Za-z0-9.-]*[A-Za-z0-9]:[0-9]{2,5}\b/, with: "ADDRESS")
    text.replace(/\b[0-9]{1,3}(\.[0-9]{1,3}){3}\b/, with: "ADDRESS")
    // Folders, whatever they are called; the file's own name says what it was about.
    text.replace(/(\/[A-Za-z0-9._+@%~-]+)*\/(?=[A-Za-z0-9._+@%~-])/, with: "/")
    text.replace(/\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b/, with: "ID")
    text.replace(/\b(?=[0-9a-f]*[0-9])[0-9a-f]{7,}\b/, with: "HEX")
    text.replace(/[0-9]+([.,:-][0-9]+)*/, with: "N")
    text.replace(/\s+/, with: " ")
    return text.trimmingCharacters(in: .whitespaces)
  }
}
