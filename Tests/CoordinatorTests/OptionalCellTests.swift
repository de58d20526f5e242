import JobQueue
import Model
import RecordStore
import RecordStoreSQLite
import Registry
import Testing

@testable import KilnCoordinator

@Suite struct OptionalCellTests {
  @Test(arguments: [true, false])
  func aBuildOfOptionalCellsAloneEnds(_ passes: Bool) async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      var catalog = bench.catalog
      catalog.setTargets((Bench.amd64, required: false))
      let build = try await bench.submit(catalog)
      try await bench.finish(build, worker: Worker(bench, failing: passes ? [] : [Bench.amd64]))
      #expect(try await bench.build(build).summary.state == (passes ? .passed : .failed))
    }
  }

  @Test func anOptionalCellThatTakesLongerIsInTheIndex() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      var catalog = bench.catalog
      catalog.setTargets((Bench.amd64, required: true), (Bench.arm64, required: false))
      let build = try await bench.submit(catalog)
      let worker = Worker(bench)
      try await bench.finishOnly(Bench.amd64, of: build, worker: worker)
      try await bench.end()
      try await bench.finish(build, worker: worker)
      let index = try #require(try await bench.images.manifest(.tag("1.0.0"), in: "fixture/hello"))
      #expect(try ImageIndex.children(index).count == 2)
    }
  }

  @Test func anOptionalCellThatNobodyCanBuildIsNotWaitedForForever() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      var catalog = bench.catalog
      catalog.setTargets((Bench.amd64, required: true), (Bench.arm64, required: false))
      let build = try await bench.submit(catalog)
      let worker = Worker(bench)
      try await bench.finishOnly(Bench.amd64, of: build, worker: worker)
      try await bench.end()
      #expect(try await bench.build(build).summary.state == .running)
      bench.time.advance(seconds: 61)
      try await bench.end()
      #expect(try await bench.build(build).summary.state == .passed)
      let index = try #require(try await bench.images.manifest(.tag("1.0.0"), in: "fixture/hello"))
      #expect(try ImageIndex.children(index).count == 1)
      let open = CellState.allCases.filter { !$0.isSettled }
      #expect(try await bench.build(build).cells.map(\.state).filter { !open.contains($0) } == [.passed])
      // Somebody comes after all: the build's cell is not said to wait for ever.
      try await bench.settleCells(of: build, worker: worker)
      #expect(try await bench.build(build).cells.allSatisfy { $0.state == .passed })
    }
  }

  @Test func aBuildThatFailedIsAnnounced() async throws {
    try await Bench.with { bench in
      try await bench.queue.prepare([Bench.pool])
      let build = try await bench.submit()
      let worker = Worker(bench, failing: [Bench.arm64])
      try await bench.settleCells(of: build, worker: worker)
      var topics = try await bench.store.notifications().makeAsyncIterator()
      #expect(try await topics.next() == "")
      let ended = Task {
        try await bench.end()
        await bench.store.engine.notify("end of test")
      }
      #expect(try await topics.next() == "work")
      try await ended.value
    }
  }
}
