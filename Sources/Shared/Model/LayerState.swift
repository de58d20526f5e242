/// The states of a layer, by key within a scope; each generation has a job of its own.
package enum LayerState: String, Sendable, Codable, CaseIterable {
  case absent, building, available, gone, idle, failed
}

package enum LayerEvent: String, Sendable, CaseIterable {
  case demand
  /// Demand once the failed layer's quarantine is over, or by someone who asks for it on purpose.
  case demandAfterQuarantine
  case jobSucceeded, jobDead, jobCancelled
  /// The registry no longer holds its image.
  case imageMissing
  case replay
}

package enum LayerAction: Sendable, Hashable {
  /// Raise the generation and make a job for it.
  case startGeneration
  /// Wait on the job that is under way.
  case attach
  /// What asked may start at once.
  case releaseChild
  case releaseChildren
  /// Cells above it cannot be had; they name the dead letter.
  case blockCells
}

package struct LayerTransition: Sendable, Hashable {
  package let state: LayerState
  package let actions: [LayerAction]
}

extension LayerState {
  /// How long demand for a failed layer is answered with its dead letter.
  package static let quarantineSeconds: Double = 600

  /// Nil: nothing happens.
  package func after(_ event: LayerEvent) -> LayerTransition? {
    func to(_ state: LayerState, _ actions: LayerAction...) -> LayerTransition {
      LayerTransition(state: state, actions: actions)
    }
    switch (self, event) {
    case (.absent, .demand), (.absent, .demandAfterQuarantine), (.gone, .demand), (.gone, .demandAfterQuarantine),
      (.idle, .demand), (.idle, .demandAfterQuarantine):
      return to(.building, .startGeneration)
    case (.building, .jobSucceeded): return to(.available, .releaseChildren)
    case (.building, .jobDead): return to(.failed, .blockCells)
    case (.building, .jobCancelled): return to(.idle)
    case (.building, .demand), (.building, .demandAfterQuarantine): return to(.building, .attach)
    case (.available, .demand), (.available, .demandAfterQuarantine): return to(.available, .releaseChild)
    case (.available, .imageMissing): return to(.gone)
    case (.failed, .replay), (.failed, .demandAfterQuarantine): return to(.building, .startGeneration)
    case (.failed, .demand): return to(.failed, .blockCells)
    default: return nil
    }
  }
}
