/// What kind of failure it was. The class decides what happens next, never the wording.
package enum FailureClass: String, Sendable, Codable, CaseIterable {
  /// Builder or registry unreachable, disk full, executor gone.
  case infrastructure
  /// A step of a fragment exits non-zero.
  case build
  /// A test fails or times out.
  case test
  /// A rule denies it.
  case policy
  /// The job cannot be understood, or a referenced thing does not exist.
  case input
}

/// An error that knows its class where it is thrown.
///
/// `message` says what happened and where, `hint` what to do about it; neither carries a secret.
package struct Failure: Error, Sendable, Hashable, Codable, CustomStringConvertible {
  package var failureClass: FailureClass
  /// A stable word for programs: `parent-lost`, `step-failed`, `disk-full`, ….
  package var code: String
  package var message: String
  package var hint: String?
  /// The step, as the builder names it, and its exit code, where there is one.
  package var step: String?
  package var exitCode: Int?
  /// The lines at fault.
  package var place: Place?
  /// The end of the failed step's log, clipped.
  package var logTail: String?

  package struct Place: Sendable, Hashable, Codable, CustomStringConvertible {
    /// As the layer is called: `core@0.2.0`.
    package var fragment: String
    /// Relative to the catalog's folder; nil where the catalog does not say it.
    package var file: String?
    package var line: Int?
    /// The instruction as it was built.
    package var text: String

    package init(fragment: String, file: String?, line: Int?, text: String) {
      self.fragment = fragment
      self.file = file
      self.line = line
      self.text = text
    }

    package var description: String { file.map { "\($0):\(line ?? 1)" } ?? fragment }
  }

  package init(
    _ failureClass: FailureClass, code: String, _ message: String, hint: String? = nil, step: String? = nil,
    exitCode: Int? = nil, logTail: String? = nil
  ) {
    self.failureClass = failureClass
    self.code = code
    self.message = message
    self.hint = hint
    self.step = step
    self.exitCode = exitCode
    self.logTail = logTail
  }

  package var description: String {
    "\(message)\(hint.map { ". \($0)" } ?? "") [\(failureClass.rawValue): \(code)]"
  }
}

/// How often and how soon a class of failure is tried again; a pool's to set.
package struct RetryRule: Sendable, Hashable, Codable {
  /// Attempts in all, the first included.
  package var attempts: Int
  package var firstDelaySeconds: Double
  package var maximumDelaySeconds: Double

  package init(attempts: Int, firstDelaySeconds: Double, maximumDelaySeconds: Double) {
    self.attempts = attempts
    self.firstDelaySeconds = firstDelaySeconds
    self.maximumDelaySeconds = maximumDelaySeconds
  }
}

/// What is other than in a pool's rule.
package struct RetryChange: Sendable, Hashable, Codable {
  package var attempts: Int?
  package var firstDelaySeconds: Double?
  package var maximumDelaySeconds: Double?

  package init(attempts: Int? = nil, firstDelaySeconds: Double? = nil, maximumDelaySeconds: Double? = nil) {
    self.attempts = attempts
    self.firstDelaySeconds = firstDelaySeconds
    self.maximumDelaySeconds = maximumDelaySeconds
  }

  /// The maximum holds where only one of the two delays is said, and they cross.
  package func applied(to rule: RetryRule) -> RetryRule {
    let first = firstDelaySeconds ?? rule.firstDelaySeconds
    let maximum = maximumDelaySeconds ?? max(rule.maximumDelaySeconds, first)
    return RetryRule(
      attempts: attempts ?? rule.attempts, firstDelaySeconds: min(first, maximum), maximumDelaySeconds: maximum)
  }
}

package struct RetryPolicy: Sendable, Hashable, Codable {
  package var infrastructure = RetryRule(attempts: 5, firstDelaySeconds: 5, maximumDelaySeconds: 300)
  package var build = RetryRule(attempts: 2, firstDelaySeconds: 5, maximumDelaySeconds: 60)
  package var test = RetryRule(attempts: 2, firstDelaySeconds: 5, maximumDelaySeconds: 60)

  package init() {}

  package enum Decision: Sendable, Hashable {
    case retry(afterSeconds: Double)
    case dead
  }

  /// What becomes of a job whose attempt number `attempt` (from 1) ended so.
  ///
  /// Delays double with each attempt up to the class's maximum, and the upper half is jittered by
  /// `fraction` (0..<1), so that what failed together does not come back together.
  package func decide(_ failureClass: FailureClass, attempt: Int, fraction: Double) -> Decision {
    let rule: RetryRule
    switch failureClass {
    case .infrastructure: rule = infrastructure
    case .build: rule = build
    case .test: rule = test
    case .policy, .input: return .dead
    }
    guard attempt < rule.attempts else { return .dead }
    var delay = rule.firstDelaySeconds
    for _ in 1..<max(1, attempt) where delay < rule.maximumDelaySeconds { delay *= 2 }
    delay = min(delay, rule.maximumDelaySeconds)
    return .retry(afterSeconds: delay / 2 + delay / 2 * fraction)
  }
}
