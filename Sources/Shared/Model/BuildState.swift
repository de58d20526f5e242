/// The states of a build.
package enum BuildState: String, Sendable, Codable, CaseIterable {
  case accepted, running, publishing, cancelling, passed, failed, superseded, cancelled

  /// Nothing more happens to it without a person.
  package var isSettled: Bool {
    switch self {
    case .passed, .failed, .superseded, .cancelled: true
    case .accepted, .running, .publishing, .cancelling: false
    }
  }
}

package enum BuildEvent: String, Sendable, CaseIterable {
  case planned
  case badInput
  /// Every cell is settled, the required ones are good, and there is a good one.
  case requiredCellsGood
  /// Every cell is settled, and a required one is not good, or none is.
  case settledWithFailure
  case tagsAgree
  /// A build with a higher sequence holds the tags.
  case superseded
  case policyDenies
  /// An image that passed is gone from the registry before its tags moved.
  case imageGone
  case cancel
  case nothingRunning
  case retry
}

package enum BuildAction: Sendable, Hashable {
  case assembleIndexes
  case moveTags
  case withdrawDemand
}

package struct BuildTransition: Sendable, Hashable {
  package let state: BuildState
  package let actions: [BuildAction]
}

extension BuildState {
  /// Nil: nothing happens.
  package func after(_ event: BuildEvent) -> BuildTransition? {
    func to(_ state: BuildState, _ actions: BuildAction...) -> BuildTransition {
      BuildTransition(state: state, actions: actions)
    }
    switch (self, event) {
    case (.accepted, .planned): return to(.running)
    case (.accepted, .badInput): return to(.failed)
    case (.accepted, .cancel): return to(.cancelled)
    case (.running, .requiredCellsGood): return to(.publishing, .assembleIndexes, .moveTags)
    case (.running, .settledWithFailure): return to(.failed)
    case (.running, .cancel): return to(.cancelling, .withdrawDemand)
    case (.publishing, .tagsAgree): return to(.passed)
    case (.publishing, .superseded): return to(.superseded)
    case (.publishing, .policyDenies), (.publishing, .imageGone): return to(.failed)
    case (.cancelling, .nothingRunning): return to(.cancelled)
    case (.failed, .retry): return to(.running)
    default: return nil
    }
  }

  /// What a running build's cells amount to. `required` and `optional` are the cells' states.
  package static func verdict(required: [CellState], optional: [CellState]) -> BuildEvent? {
    // Tags move once, to an index of all that passed: they wait for optional cells too.
    guard (required + optional).allSatisfy(\.isSettled) else { return nil }
    let isGood = required.allSatisfy(\.isGood) && (required + optional).contains(where: \.isGood)
    return isGood ? .requiredCellsGood : .settledWithFailure
  }
}
