import Model
import RecordStore
import Testing

/// Builds of layers without cells, and what past builds tell.
extension RecordStoreConformance {
  static let layers: [RecordStoreConformance] = [
    RecordStoreConformance("a build of layers alone makes no other job, and passes when all are there") { fixture in
      try await fixture.submit("b1", [["a", "b"], ["a", "c"]]) { $0.plan.leaveOutCells() }
      let build = try await fixture.build("b1")
      #expect(build.cells.isEmpty && build.jobs.count == 3 && build.jobs.allSatisfy { $0.kind == .layer })
      let early = try await fixture.store.settleBuilds()
      #expect(early.isEmpty)
      let done = try await fixture.runAll()
      #expect(done.count == 3)
      let settled = try await fixture.store.settleBuilds()
      #expect(settled == [build.summary.id])
      let taken = try await fixture.store.takePublishing(leaseSeconds: 600)
      #expect(taken?.id == build.summary.id && taken?.cellImages == [:])
    },
    RecordStoreConformance("a build of layers alone fails when one is dead, once the others are done") { fixture in
      try await fixture.submit("b1", [["a", "b"], ["c", "d"]]) { $0.plan.leaveOutCells() }
      let (a, c) = (StoreFixture.layer("a"), StoreFixture.layer("c"))
      let dead = try await fixture.claim(try await fixture.jobID(a, in: "b1"))
      try await fixture.store.fail(StoreFixture.failure, decision: .dead, record: nil, fence: dead.fence)
      let early = try await fixture.store.settleBuilds()
      #expect(early.isEmpty, "layer c goes on")
      for layer in [c, StoreFixture.layer("c", "d")] {
        try await fixture.run(try await fixture.jobID(layer, in: "b1"))
      }
      let settled = try await fixture.store.settleBuilds()
      let build = try await fixture.build("b1")
      #expect(settled == [build.summary.id] && build.summary.state == .failed)
      #expect(build.summary.problem == "1 layers failed")
    },
    RecordStoreConformance("history tells the bytes of layers and how long their like took") { fixture in
      let layers = [StoreFixture.layer("a"), StoreFixture.layer("a", "b"), StoreFixture.layer("x")]
      let nothing = try await fixture.store.history(of: layers, scope: .release)
      #expect(nothing == LayerHistory())
      try await fixture.submit("b1", [["a", "b"]])
      for (layer, seconds) in [(layers[0], 2.0), (layers[1], 3.0)] {
        let claim = try await fixture.claim(try await fixture.jobID(layer, in: "b1"))
        try await fixture.advance(seconds)
        try await fixture.store.completeLayer(
          LayerResult(
            image: StoreFixture.image(layer), addedBytes: Int64(seconds * 100), steps: [], engineVersion: "1"),
          fence: claim.fence)
      }
      let history = try await fixture.store.history(of: layers, scope: .release)
      #expect(history.addedBytes == [layers[0]: 200, layers[1]: 300])
      #expect(history.past.map(\.title) == ["a@1.0.0", "b@1.0.0"])
      // A real store's own clock goes on beside.
      for (past, seconds) in zip(history.past, [2.0, 3.0]) {
        #expect(past.seconds.count == 1 && past.seconds.allSatisfy { $0 >= seconds && $0 < seconds + 2 })
      }
      // One that failed says nothing.
      try await fixture.submit("b2", [["x"]])
      let dead = try await fixture.claim(try await fixture.jobID(layers[2], in: "b2"))
      try await fixture.store.fail(StoreFixture.failure, decision: .dead, record: nil, fence: dead.fence)
      let after = try await fixture.store.history(of: layers, scope: .release)
      #expect(after == history)
      let elsewhere = try await fixture.store.history(of: layers, scope: Scope(text: "try"))
      #expect(elsewhere == LayerHistory())
    },
  ]
}

extension Plan {
  fileprivate mutating func leaveOutCells() {
    cells = []
    for index in images.indices { images[index].cells = [] }
  }
}
