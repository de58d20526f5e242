import Model
import Testing

/// The state tables, spelled out: what is not listed changes nothing.
@Suite struct StateTests {
  @Test func jobs() {
    let table: [JobState: [JobEvent: JobState]] = [
      .waiting: [.parentAvailable: .ready, .demandGone: .cancelled],
      .ready: [
        .taken: .ready, .confirmed: .queued, .publishFailed: .ready, .claim: .running, .demandGone: .cancelled,
      ],
      .queued: [.claim: .running, .ghost: .ready, .demandGone: .cancelled],
      .running: [
        .commit: .succeeded, .retryableFailure: .delayed, .finalFailure: .dead, .leaseOutRetryable: .delayed,
        .leaseOutFinal: .dead, .givenBack: .ready, .parentLost: .waiting, .demandGone: .cancelled, .delivery: .running,
      ],
      .delayed: [.due: .ready, .delivery: .delayed, .demandGone: .cancelled],
      .succeeded: [.delivery: .succeeded],
      .dead: [.delivery: .dead],
      .cancelled: [.delivery: .cancelled],
    ]
    for state in JobState.allCases {
      for event in JobEvent.allCases {
        #expect(state.after(event)?.state == table[state]?[event], "\(state), \(event)")
        if state.isFinal, let next = state.after(event) { #expect(next.state == state, "\(state), \(event)") }
      }
    }
    for event in JobEvent.allCases {
      let sources = Set(table.filter { $0.value[event] != nil }.keys)
      #expect(Set(JobState.sources(of: event)) == sources, "\(event)")
    }
    #expect(JobState.allCases.filter(\.isFinal) == [.succeeded, .dead, .cancelled])
  }

  @Test func whatFollowsFromAJobsEnd() {
    let table: [(JobState, JobEvent, [JobAction])] = [
      (.ready, .taken, [.publish]), (.ready, .publishFailed, [.backOff, .wakePublisher]),
      (.ready, .claim, [.openAttempt]), (.queued, .claim, [.openAttempt]),
      (.running, .commit, [.closeAttempt, .releaseChildren, .wakePublisher]),
      (.running, .retryableFailure, [.closeAttempt, .setDue]),
      (.running, .leaseOutRetryable, [.closeAttempt, .setDue]),
      (.running, .finalFailure, [.closeAttempt, .writeDeadLetter]),
      (.running, .leaseOutFinal, [.closeAttempt, .writeDeadLetter]),
      (.running, .givenBack, [.closeAttemptUncounted, .wakePublisher]),
      (.running, .parentLost, [.closeAttemptUncounted, .demandParent]),
      (.running, .delivery, [.acknowledgeAndDrop]), (.dead, .delivery, [.acknowledgeAndDrop]),
      (.queued, .ghost, [.wakePublisher]), (.delayed, .due, [.wakePublisher]),
    ]
    for (state, event, actions) in table {
      #expect(state.after(event)?.actions == actions, "\(state), \(event)")
    }
  }

  @Test func layers() {
    let table: [LayerState: [LayerEvent: LayerState]] = [
      .absent: [.demand: .building, .demandAfterQuarantine: .building],
      .building: [
        .jobSucceeded: .available, .jobDead: .failed, .jobCancelled: .idle, .demand: .building,
        .demandAfterQuarantine: .building,
      ],
      .available: [.demand: .available, .demandAfterQuarantine: .available, .imageMissing: .gone],
      .gone: [.demand: .building, .demandAfterQuarantine: .building],
      .idle: [.demand: .building, .demandAfterQuarantine: .building],
      .failed: [.replay: .building, .demandAfterQuarantine: .building, .demand: .failed],
    ]
    for state in LayerState.allCases {
      for event in LayerEvent.allCases {
        #expect(state.after(event)?.state == table[state]?[event], "\(state), \(event)")
        // A generation starts exactly when a layer that is not being built becomes so.
        let starts = state != .building && table[state]?[event] == .building
        let actions = state.after(event)?.actions ?? []
        #expect(actions.contains(.startGeneration) == starts, "\(state), \(event)")
      }
    }
    #expect(LayerState.failed.after(.demand)?.actions == [.blockCells])
    #expect(LayerState.building.after(.jobSucceeded)?.actions == [.releaseChildren])
    #expect(LayerState.building.after(.jobDead)?.actions == [.blockCells])
    #expect(LayerState.available.after(.demand)?.actions == [.releaseChild])
    #expect(LayerState.building.after(.demand)?.actions == [.attach])
  }

  @Test func cells() {
    let table: [CellState: [CellEvent: CellState]] = [
      .planned: [.recordValid: .reused, .recordMissing: .waiting],
      .waiting: [.lastLayerAvailable: .finishing, .layerFailed: .blocked, .cancel: .cancelled],
      .blocked: [.layerBuildingAgain: .waiting, .cancel: .cancelled],
      .finishing: [.pass: .passed, .dead: .failed, .parentLost: .waiting, .cancel: .cancelled],
      .failed: [.replay: .waiting],
    ]
    for state in CellState.allCases {
      for event in CellEvent.allCases {
        #expect(state.after(event)?.state == table[state]?[event], "\(state), \(event)")
      }
    }
    for event in CellEvent.allCases {
      let sources = Set(table.filter { $0.value[event] != nil }.keys)
      #expect(Set(CellState.sources(of: event)) == sources, "\(event)")
    }
    #expect(CellState.allCases.filter(\.isGood) == [.passed, .reused])
    #expect(CellState.allCases.filter { !$0.isSettled } == [.planned, .waiting, .finishing])
    // Whatever settles a cell makes its builds look.
    for state in CellState.allCases where !state.isSettled {
      for event in CellEvent.allCases {
        guard let next = state.after(event), next.state.isSettled else { continue }
        #expect(next.actions.contains(.settleBuilds), "\(state), \(event)")
      }
    }
  }

  @Test func builds() {
    let table: [BuildState: [BuildEvent: BuildState]] = [
      .accepted: [.planned: .running, .badInput: .failed, .cancel: .cancelled],
      .running: [.requiredCellsGood: .publishing, .settledWithFailure: .failed, .cancel: .cancelling],
      .publishing: [.tagsAgree: .passed, .superseded: .superseded, .policyDenies: .failed, .imageGone: .failed],
      .cancelling: [.nothingRunning: .cancelled],
      .failed: [.retry: .running],
    ]
    for state in BuildState.allCases {
      for event in BuildEvent.allCases {
        #expect(state.after(event)?.state == table[state]?[event], "\(state), \(event)")
      }
    }
    #expect(BuildState.allCases.filter(\.isSettled) == [.passed, .failed, .superseded, .cancelled])
  }

  @Test(
    arguments: [
      ([.passed], [], .requiredCellsGood),
      ([.passed, .reused], [], .requiredCellsGood),
      // An index is put together once: it waits for what it may hold.
      ([.passed], [.waiting], nil),
      ([.passed], [.failed], .requiredCellsGood),
      ([], [.failed, .passed], .requiredCellsGood),
      ([.passed, .finishing], [], nil),
      // A failure is told when everything else has ended.
      ([.failed, .waiting], [], nil),
      ([.failed], [.finishing], nil),
      ([.failed, .passed], [], .settledWithFailure),
      ([.blocked, .passed], [.passed], .settledWithFailure),
      ([.cancelled], [], .settledWithFailure),
      ([], [.failed], .settledWithFailure),
    ] as [([CellState], [CellState], BuildEvent?)])
  func verdict(_ required: [CellState], _ optional: [CellState], _ event: BuildEvent?) {
    #expect(BuildState.verdict(required: required, optional: optional) == event)
  }
}
