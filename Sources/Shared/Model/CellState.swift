/// The states of a cell, by key within a scope.
package enum CellState: String, Sendable, Codable, CaseIterable {
  case planned, waiting, finishing, blocked, passed, reused, failed, cancelled

  package var isGood: Bool { self == .passed || self == .reused }
  /// Nothing more will happen to it without a person (a blocked cell counts).
  package var isSettled: Bool { isGood || self == .failed || self == .cancelled || self == .blocked }
}

package enum CellEvent: String, Sendable, CaseIterable {
  /// A valid record exists and the registry holds its images.
  case recordValid
  case recordMissing
  case lastLayerAvailable
  case layerFailed
  case layerBuildingAgain
  case pass
  case dead
  case parentLost
  case replay
  case cancel
}

package enum CellAction: Sendable, Hashable {
  case startFinishJob
  case writeRecord
  case settleBuilds
}

package struct CellTransition: Sendable, Hashable {
  package let state: CellState
  package let actions: [CellAction]
}

extension CellState {
  /// Nil: nothing happens.
  package func after(_ event: CellEvent) -> CellTransition? {
    func to(_ state: CellState, _ actions: CellAction...) -> CellTransition {
      CellTransition(state: state, actions: actions)
    }
    switch (self, event) {
    case (.planned, .recordValid): return to(.reused, .settleBuilds)
    case (.planned, .recordMissing): return to(.waiting)
    case (.waiting, .lastLayerAvailable): return to(.finishing, .startFinishJob)
    case (.waiting, .layerFailed): return to(.blocked, .settleBuilds)
    case (.waiting, .cancel), (.blocked, .cancel), (.finishing, .cancel): return to(.cancelled, .settleBuilds)
    case (.blocked, .layerBuildingAgain): return to(.waiting)
    case (.finishing, .pass): return to(.passed, .writeRecord, .settleBuilds)
    case (.finishing, .dead): return to(.failed, .writeRecord, .settleBuilds)
    case (.finishing, .parentLost), (.failed, .replay): return to(.waiting)
    default: return nil
    }
  }

  package static func sources(of event: CellEvent) -> [CellState] { allCases.filter { $0.after(event) != nil } }
}
