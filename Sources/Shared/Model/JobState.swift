/// The states of a job and what moves it between them. An event that is not listed for a
/// state changes nothing. Store drivers build their statements from this table.
package enum JobState: String, Sendable, Codable, CaseIterable {
  case waiting, ready, queued, running, delayed, succeeded, dead, cancelled

  package var isFinal: Bool { self == .succeeded || self == .dead || self == .cancelled }
}

package enum JobEvent: String, Sendable, CaseIterable {
  /// The last layer it waits for became available.
  case parentAvailable
  /// A coordinator took it into the pool's window.
  case taken
  /// The broker confirmed this very dispatch.
  case confirmed
  /// The broker returned or refused the message, or the publish lease ran out.
  case publishFailed
  /// The queue turned out not to hold the message, or delivered it too often.
  case ghost
  case claim
  case commit
  case retryableFailure, finalFailure
  case leaseOutRetryable, leaseOutFinal
  /// The executor hands it back without having failed.
  case givenBack
  /// The parent's image turned out to be gone.
  case parentLost
  /// Its delay is over.
  case due
  /// A message about it arrived at an executor that may not have it.
  case delivery
  /// No build wants it any more.
  case demandGone
}

package enum JobAction: Sendable, Hashable {
  /// Raise `dispatch` and hold a publish lease.
  case publish
  /// Wait before the pool is published to again.
  case backOff
  /// Open the next attempt, with the executor's fence and a lease.
  case openAttempt
  case closeAttempt
  /// Close the attempt and give its number back: it does not count.
  case closeAttemptUncounted
  /// Make what waits on the result ready, in the same transaction.
  case releaseChildren
  case setDue
  case writeDeadLetter
  /// Ask for the parent's next generation.
  case demandParent
  case wakePublisher
  case acknowledgeAndDrop
}

package struct JobTransition: Sendable, Hashable {
  package let state: JobState
  package let actions: [JobAction]
}

extension JobState {
  /// Nil: the event does not concern this state; nothing happens.
  package func after(_ event: JobEvent) -> JobTransition? {
    func to(_ state: JobState, _ actions: JobAction...) -> JobTransition {
      JobTransition(state: state, actions: actions)
    }
    switch (self, event) {
    case (.waiting, .parentAvailable): return to(.ready, .wakePublisher)
    case (.ready, .taken): return to(.ready, .publish)
    case (.ready, .confirmed): return to(.queued)
    case (.ready, .publishFailed): return to(.ready, .backOff, .wakePublisher)
    case (.ready, .claim), (.queued, .claim): return to(.running, .openAttempt)
    case (.queued, .ghost): return to(.ready, .wakePublisher)
    case (.running, .commit): return to(.succeeded, .closeAttempt, .releaseChildren, .wakePublisher)
    case (.running, .retryableFailure), (.running, .leaseOutRetryable): return to(.delayed, .closeAttempt, .setDue)
    case (.running, .finalFailure), (.running, .leaseOutFinal): return to(.dead, .closeAttempt, .writeDeadLetter)
    case (.running, .givenBack): return to(.ready, .closeAttemptUncounted, .wakePublisher)
    case (.running, .parentLost): return to(.waiting, .closeAttemptUncounted, .demandParent)
    case (.running, .demandGone): return to(.cancelled, .closeAttempt)
    case (.delayed, .due): return to(.ready, .wakePublisher)
    case (.waiting, .demandGone), (.ready, .demandGone), (.queued, .demandGone), (.delayed, .demandGone):
      return to(.cancelled)
    case (.running, .delivery), (.delayed, .delivery), (.succeeded, .delivery), (.dead, .delivery),
      (.cancelled, .delivery):
      return to(self, .acknowledgeAndDrop)
    default: return nil
    }
  }

  /// The states in which `event` means something.
  package static func sources(of event: JobEvent) -> [JobState] { allCases.filter { $0.after(event) != nil } }
}
