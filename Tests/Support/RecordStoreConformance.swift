import Model
package import RecordStore
import Testing

/// What every driver of `RecordStore` must do, through the seam alone. A driver's tests run each check
/// on a new, empty store.
package struct RecordStoreConformance: Sendable, CustomTestStringConvertible {
  /// Lets that many seconds of the store's time pass: by waiting, or by moving its clock.
  package typealias Advance = @Sendable (_ seconds: Double) async throws -> Void

  package let name: String
  private let check: @Sendable (StoreFixture) async throws -> Void

  package var testDescription: String { name }

  package static let all: [RecordStoreConformance] =
    submissions + layers + grafts + window + claims + completions + failures + cancelling + deadLetters + wanted
    + publishing

  init(_ name: String, _ check: @escaping @Sendable (StoreFixture) async throws -> Void) {
    self.name = name
    self.check = check
  }

  package func run(_ store: any RecordStore, advance: @escaping Advance) async throws {
    try await check(StoreFixture(store: store, advance: advance))
  }

  // MARK: Submitting

  private static let submissions: [RecordStoreConformance] = [
    RecordStoreConformance("the same principal and key are the same build") { fixture in
      let first = try await fixture.submit("b1", [["a"]]) { $0.idempotencyKey = "key" }
      let again = try await fixture.submit("b2", [["a"]]) { $0.idempotencyKey = "key" }
      let other = try await fixture.submit("b3", [["a"]]) {
        $0.idempotencyKey = "key"
        $0.principal = Principal(text: "somebody else")
      }
      #expect(first.id == BuildID(text: "b1"))
      #expect(first.isNew)
      #expect(again == AcceptedBuild(id: first.id, sequence: first.sequence, isNew: false))
      #expect(other.isNew)
      #expect(other.sequence > first.sequence)
      let unknown = try await fixture.store.build(BuildID(text: "b2"))
      #expect(unknown == nil)
      let builds = try await fixture.store.builds(limit: 10, before: nil)
      #expect(builds.map(\.id.text) == ["b3", "b1"])
      let older = try await fixture.store.builds(limit: 10, before: other.sequence)
      #expect(older.map(\.id.text) == ["b1"])
    },
    RecordStoreConformance("only the layer on the base is ready at first") { fixture in
      try await fixture.submit("b1", [["a", "b", "c"]])
      let messages = try await fixture.ready()
      #expect(messages.map(\.dispatch) == [1])
      let message = try #require(messages.first)
      let root = try await fixture.job(message.job)
      #expect(root.layer == StoreFixture.layer("a"))
      #expect(root.waitsOn == nil)
      let more = try await fixture.ready()
      #expect(more.isEmpty)
      let build = try await fixture.build("b1")
      #expect(build.summary.state == .running)
      #expect(build.layers.allSatisfy { $0.state == .building && $0.generation == 1 && $0.cause == "new" })
      #expect(build.cells.map(\.state) == [.waiting])
      #expect(build.jobs.filter { $0.state == .waiting }.count == 3)
      for job in build.jobs where job.state == .waiting {
        let detail = try await fixture.job(job.id)
        let expected =
          switch detail.layer {
          case StoreFixture.layer("a", "b"): StoreFixture.layer("a")
          case StoreFixture.layer("a", "b", "c"): StoreFixture.layer("a", "b")
          default: StoreFixture.layer("a", "b", "c")
          }
        #expect(detail.waitsOn == expected)
        let refused = try await fixture.isRefused(job.id)
        #expect(refused)
      }
    },
    RecordStoreConformance("two builds that want the same layers share their jobs, and both end") { fixture in
      try await fixture.submit("b1", [["a", "b"], ["a", "c"]])
      try await fixture.submit("b2", [["a", "b"]])
      let first = try await fixture.build("b1")
      let second = try await fixture.build("b2")
      #expect(first.jobs.count == 5)
      #expect(second.jobs.count == 3)
      #expect(Set(second.jobs.map(\.id)).isSubset(of: first.jobs.map(\.id)))
      let done = try await fixture.runAll()
      #expect(done.count == 5)
      let settled = try await fixture.store.settleBuilds()
      #expect(Set(settled) == [first.summary.id, second.summary.id])
      for id in ["b1", "b2"] {
        let build = try await fixture.build(id)
        #expect(build.summary.state == .publishing)
      }
    },
    RecordStoreConformance("builds submitted at once share their jobs") { fixture in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<8 {
          group.addTask {
            let paths = [["a", "b", "c"], ["a", "d"]]
            try await fixture.submit("b\(number)", number % 2 == 0 ? paths : paths.reversed())
          }
        }
        try await group.waitForAll()
      }
      let done = try await fixture.runAll()
      #expect(done.count == 6)
      let settled = try await fixture.store.settleBuilds()
      #expect(settled.count == 8)
    },
    RecordStoreConformance("scopes are apart") { fixture in
      try await fixture.submit("b1", [["a"]])
      try await fixture.submit("b2", [["a"]]) { $0.scope = Scope(text: "try") }
      let messages = try await fixture.ready()
      #expect(messages.count == 2)
      let first = try await fixture.jobID(StoreFixture.layer("a"), in: "b1")
      try await fixture.run(first)
      let here = try await fixture.layer(StoreFixture.layer("a"), in: "b1")
      #expect(here.state == .available)
      let there = try await fixture.layer(StoreFixture.layer("a"), in: "b2")
      #expect(there.state == .building)
    },
    RecordStoreConformance("a build of cells that may be reused builds nothing") { fixture in
      let cell = StoreFixture.cell("a", "b")
      try await fixture.submit("b1", [["a", "b"]])
      try await fixture.runAll()
      try await fixture.publish("b1")
      try await fixture.submit("b2", [["a", "b"]]) { $0.reusable = [cell] }
      let messages = try await fixture.ready()
      #expect(messages.isEmpty)
      let build = try await fixture.build("b2")
      #expect(build.cells.map(\.state) == [.reused])
      #expect(build.jobs.isEmpty)
      let settled = try await fixture.store.settleBuilds()
      #expect(settled == [build.summary.id])
      let taken = try await fixture.store.takePublishing(leaseSeconds: 600)
      #expect(taken?.id == build.summary.id)
      #expect(taken?.cellImages == [cell: StoreFixture.image(cell)])
    },
    RecordStoreConformance("a cell that never passed is built, whoever says that it may be reused") { fixture in
      try await fixture.submit("b1", [["a"]]) { $0.reusable = [StoreFixture.cell("a")] }
      let done = try await fixture.runAll()
      #expect(done.count == 2)
      let cell = try await fixture.cell(StoreFixture.cell("a"), in: "b1")
      #expect(cell.state == .passed)
    },
    RecordStoreConformance("a cell that is wanted again takes nothing from the build that counts on it") { fixture in
      let cell = StoreFixture.cell("a")
      try await fixture.submit("b1", [["a"]])
      try await fixture.runAll()
      try await fixture.submit("b2", [["a"]]) {
        $0.missing = [StoreFixture.layer("a"): MissingImage(generation: 1, reason: "no manifest")]
      }
      let again = try await fixture.cell(cell, in: "b2")
      #expect(again.state == .waiting)
      let passed = try await fixture.cell(cell, in: "b1")
      #expect(passed.state == .passed)
      #expect(passed.image == StoreFixture.image(cell))
      let settled = try await fixture.store.settleBuilds()
      #expect(settled == [BuildID(text: "b1")])
      let taken = try await fixture.store.takePublishing(leaseSeconds: 600)
      #expect(taken?.cellImages == [cell: StoreFixture.image(cell)])
    },
    RecordStoreConformance("what an urgent build attaches to is as urgent") { fixture in
      try await fixture.submit("b1", [["a"], ["b"]])
      try await fixture.submit("b2", [["b"]]) { $0.priority = 5 }
      let urgent = try await fixture.store.takeReady(pool: StoreFixture.pool, extra: 1, publishLeaseSeconds: 600)
      let job = try await fixture.jobID(StoreFixture.layer("b"), in: "b1")
      #expect(urgent.map(\.job) == [job])
    },
    RecordStoreConformance("available layers are not built again") { fixture in
      try await fixture.submit("b1", [["a", "b"]])
      try await fixture.runAll()
      try await fixture.submit("b2", [["a", "c"]])
      let layer = try await fixture.layer(StoreFixture.layer("a"), in: "b2")
      #expect(layer.reused)
      let work = try await fixture.readyWork()
      #expect(work == [StoreFixture.layer("a", "c").text])
    },
    RecordStoreConformance("a missing image makes a new generation, and children wait for the topmost") { fixture in
      let (a, b, c) = (
        StoreFixture.layer("a"), StoreFixture.layer("a", "b"), StoreFixture.layer("a", "b", "c")
      )
      try await fixture.submit("b1", [["a", "b", "c"]])
      try await fixture.runAll()
      try await fixture.publish("b1")
      try await fixture.submit("b2", [["a", "b", "c"]]) {
        $0.missing = [
          a: MissingImage(generation: 1, reason: "no manifest"), c: MissingImage(generation: 1, reason: "no blob"),
        ]
      }
      let build = try await fixture.build("b2")
      let layers = Dictionary(uniqueKeysWithValues: build.layers.map { ($0.key, $0) })
      #expect([a, b, c].map { layers[$0]?.state } == [.building, .available, .building])
      #expect([a, b, c].map { layers[$0]?.generation } == [2, 1, 2])
      #expect([a, b, c].map { layers[$0]?.cause } == ["no manifest", "new", "no blob"])
      #expect([a, b, c].map { layers[$0]?.reused } == [false, true, false])
      let upperID = try #require(layers[c]?.job)
      let upper = try await fixture.job(upperID)
      #expect(upper.waitsOn == a)
      let finishID = try #require(build.cells.first?.job)
      let finish = try await fixture.job(finishID)
      #expect(finish.waitsOn == c)
      #expect(build.cells.map(\.state) == [.waiting])

      let lower = try await fixture.onlyReady()
      #expect(lower == layers[a]?.job)
      let claim = try await fixture.run(lower)
      #expect(claim.generation == 2)
      #expect(claim.fence.attempt == 2, "fences rise, also across generations")
      let next = try await fixture.onlyReady()
      #expect(next == upper.summary.id)
      let upperClaim = try await fixture.run(next)
      #expect(upperClaim.parentImage == StoreFixture.image(b))
      let last = try await fixture.onlyReady()
      #expect(last == finish.summary.id)
      try await fixture.run(last)
      try await fixture.publish("b2")

      // What was missing in a generation that has been replaced says nothing.
      try await fixture.submit("b3", [["a"]]) { $0.missing = [a: MissingImage(generation: 1, reason: "late")] }
      let believed = try await fixture.layer(a, in: "b3")
      #expect(believed.state == .available)
      #expect(believed.generation == 2)
    },
    RecordStoreConformance("known says what is there") { fixture in
      let layers = [StoreFixture.layer("a"), StoreFixture.layer("a", "b")]
      let cell = StoreFixture.cell("a", "b")
      let nothing = try await fixture.store.known(layers: layers, cells: [cell], scope: .release)
      #expect(nothing == KnownResults())
      try await fixture.submit("b1", [["a", "b"]])
      try await fixture.run(try await fixture.onlyReady())
      let half = try await fixture.store.known(layers: layers, cells: [cell], scope: .release)
      let image = StoreFixture.image(layers[0])
      #expect(half.layers[layers[0]] == KnownLayer(state: .available, image: image, generation: 1))
      #expect(half.layers[layers[1]] == KnownLayer(state: .building, image: nil, generation: 1))
      #expect(half.cells[cell] == KnownCell(state: .waiting, image: nil, recordID: nil))
      try await fixture.runAll()
      let all = try await fixture.store.known(layers: layers, cells: [cell], scope: .release)
      #expect(all.cells[cell]?.state == .passed)
      #expect(all.cells[cell]?.image == StoreFixture.image(cell))
      #expect(all.cells[cell]?.recordID != nil)
      let elsewhere = try await fixture.store.known(layers: layers, cells: [cell], scope: Scope(text: "try"))
      #expect(elsewhere == KnownResults())
    },
  ]
}
