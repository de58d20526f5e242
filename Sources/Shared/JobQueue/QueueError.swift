package import Model

package struct QueueError: Error, Sendable, CustomStringConvertible {
  package enum Code: String, Sendable {
    /// The broker is out of reach, or the connection broke; it may work again.
    case unavailable
    /// The broker refuses for good: wrong password, missing right, wrong arguments.
    case refused
    case closed
  }

  package var code: Code
  package var message: String
  /// What to do about it.
  package var hint: String?

  package init(_ code: Code, _ message: String, hint: String? = nil) {
    self.code = code
    self.message = message
    self.hint = hint
  }

  package var description: String { "queue: \(message)\(hint.map { ". \($0)" } ?? "")" }
  package var failure: Failure { Failure(.infrastructure, code: "queue-\(code.rawValue)", message, hint: hint) }
}
