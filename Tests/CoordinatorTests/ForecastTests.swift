import Foundation
import Model
import Planner
import RecordStore
import Registry
import Testing

@testable import KilnCoordinator

@Suite struct ForecastTests {
  /// A plan of one cell on two layers.
  private func plan(_ bench: Bench) throws -> Plan {
    var catalog = bench.catalog
    catalog.setTargets((Bench.amd64, required: true))
    return try catalog.work().plan
  }

  private func known(
    _ plan: Plan, core: LayerState? = .available, app: LayerState? = .available, cell: CellState? = .passed,
    cellImage: String = "app"
  ) throws -> KnownResults {
    var known = KnownResults()
    let path = try #require(plan.cells.first).path
    for (key, state, name) in [(path[0], core, "core"), (path[1], app, "app")] {
      if let state { known.layers[key] = KnownLayer(state: state, image: Digest(of: name), generation: 1) }
    }
    if let cell {
      known.cells[plan.cells[0].key] = KnownCell(state: cell, image: Digest(of: cellImage), recordID: "r1")
    }
    return known
  }

  private func forecast(
    _ bench: Bench, core: LayerState? = .available, app: LayerState? = .available, cell: CellState? = .passed,
    cellImage: String = "app", missing: [Int: String] = [:]
  ) throws -> [Forecast.Fate] {
    let plan = try plan(bench)
    let path = plan.cells[0].path
    let forecast = Forecast(
      plan: plan, known: try known(plan, core: core, app: app, cell: cell, cellImage: cellImage),
      missing: Dictionary(
        uniqueKeysWithValues: missing.map { (path[$0], MissingImage(generation: 1, reason: $1)) }))
    return try [path[0], path[1]].map { try #require(forecast.layers[$0]) }
      + [try #require(forecast.cells[plan.cells[0].key])]
  }

  @Test func nothingKnownIsAllToBuild() async throws {
    try await Bench.with { bench in
      let fates = try forecast(bench, core: nil, app: nil, cell: nil)
      #expect(
        fates == [
          .build(reason: "no layer with this key yet"), .build(reason: "no layer with this key yet"),
          .build(reason: "no record yet"),
        ])
    }
  }

  @Test func aRecordThatStandsNeedsNoLayers() async throws {
    try await Bench.with { bench in
      let fates = try forecast(bench)
      #expect(
        fates == [
          .notNeeded, .notNeeded, .reuse(reason: "record r1 passed and the registry holds its image"),
        ])
    }
  }

  @Test func layersThatAreThereAreReused() async throws {
    try await Bench.with { bench in
      let fates = try forecast(bench, app: nil, cell: nil)
      #expect(
        fates == [
          .reuse(reason: "built before, and the registry holds it"), .build(reason: "no layer with this key yet"),
          .build(reason: "no record yet"),
        ])
    }
  }

  @Test(arguments: [CellState.waiting, .finishing, .blocked])
  func whatIsUnderWayIsAttachedTo(_ state: CellState) async throws {
    try await Bench.with { bench in
      let fates = try forecast(bench, app: .building, cell: state)
      #expect(
        fates == [
          .reuse(reason: "built before, and the registry holds it"), .attach, .attach,
        ])
    }
  }

  @Test(arguments: [
    (LayerState.gone, "its image is gone from the registry"), (.idle, "its job was cancelled"),
    (.failed, "its job failed before"), (.absent, "no layer with this key yet"),
  ])
  func aLayerSaysWhyItIsBuiltAgain(_ state: LayerState, _ reason: String) async throws {
    try await Bench.with { bench in
      let fates = try forecast(bench, app: state, cell: nil)
      #expect(fates[1] == .build(reason: reason))
    }
  }

  @Test(arguments: [CellState.failed, .cancelled])
  func aCellSaysHowItEndedBefore(_ state: CellState) async throws {
    try await Bench.with { bench in
      let fates = try forecast(bench, cell: state)
      #expect(fates[2] == .build(reason: "the last run \(state)"))
    }
  }

  @Test func aRecordOfAnotherImageDoesNotCount() async throws {
    try await Bench.with { bench in
      let fates = try forecast(bench, cellImage: "older")
      #expect(fates[2] == .build(reason: "its layers were built again since record r1"))
    }
  }

  @Test func aLostImageIsBuiltAgainAndNothingElse() async throws {
    try await Bench.with { bench in
      let fates = try forecast(bench, missing: [0: "image x is gone"])
      #expect(
        fates == [
          .build(reason: "image x is gone"), .reuse(reason: "built before, and the registry holds it"),
          .build(reason: "image x is gone"),
        ])
    }
  }

  /// Somebody else found a layer gone and builds it again: the store still has the image's digest, the
  /// registry has not.
  @Test(arguments: [0, 1])
  func aRecordDoesNotStandWhileALayerOfItIsBuiltAgain(_ position: Int) async throws {
    try await Bench.with { bench in
      let fates =
        position == 0 ? try forecast(bench, core: .building) : try forecast(bench, app: .building)
      #expect(fates[position] == .attach)
      let key = try plan(bench).cells[0].path[position]
      #expect(fates[2] == .build(reason: "layer \(key.short) of record r1 is building"))
    }
  }
}

@Suite struct ImageAuditTests {
  /// A built catalog, what was lost of it, and what is said of each layer that is to be built again.
  private func reasons(
    _ bench: Bench, losing lost: (BuildDetail) async throws -> Digest
  ) async throws -> (lost: Digest, reasons: [LayerKey: String], build: BuildDetail) {
    let build = try await bench.run()
    let digest = try await lost(build)
    try bench.delete(digest)
    let forecast = try await bench.coordinator().forecast(try bench.catalog.work().plan, scope: .release)
    var reasons: [LayerKey: String] = [:]
    for (key, fate) in forecast.layers { if case .build(let reason) = fate { reasons[key] = reason } }
    return (digest, reasons, build)
  }

  private func layer(_ title: String, _ build: BuildDetail) throws -> LayerStatus {
    try #require(build.layers.first { $0.title == title && $0.platform.description == Bench.amd64 })
  }

  @Test func nothingLostIsNothingToBuild() async throws {
    try await Bench.with { bench in
      try await bench.run()
      let forecast = try await bench.coordinator().forecast(try bench.catalog.work().plan, scope: .release)
      #expect(forecast.layersToBuild == [])
      #expect(forecast.reusedCells.count == 2)
      #expect(forecast.missing == [:])
    }
  }

  @Test(arguments: ["core@1.0.0", "app@1.0.0"])
  func anImageThatIsGoneIsThatLayersAlone(_ title: String) async throws {
    try await Bench.with { bench in
      let (lost, reasons, build) = try await reasons(bench) { try #require(try layer(title, $0).image) }
      #expect(reasons == [try layer(title, build).key: "image \(lost) is gone from the registry"])
    }
  }

  /// The layers above refer to the blob too, but it is not theirs.
  @Test(arguments: ["core@1.0.0", "app@1.0.0"])
  func aBlobThatIsGoneIsItsOwnLayersAlone(_ title: String) async throws {
    try await Bench.with { bench in
      let (lost, reasons, build) = try await reasons(bench) { build in
        let image = try #require(try layer(title, build).image)
        let manifest = try #require(try await bench.images.manifest(.digest(image), in: "layers"))
        return try #require(try ImageManifest(manifest).blobs.last).digest
      }
      #expect(reasons == [try layer(title, build).key: "blob \(lost) of its image is gone from the registry"])
    }
  }

  @Test(arguments: ["core@1.0.0", "app@1.0.0"])
  func whatIsGoneIsBuiltAgainAndPublished(_ title: String) async throws {
    try await Bench.with { bench in
      let first = try await bench.run(key: "first")
      try bench.delete(try #require(try layer(title, first).image))
      let second = try await bench.submit(key: "second")
      let worker = Worker(bench)
      try await bench.finish(second, worker: worker)
      let build = try await bench.build(second)
      #expect(build.summary.state == .passed)
      #expect(try layer(title, build).generation == 2)
      #expect(worker.claims.count == 2)
      #expect(build.cells.map(\.state).sorted { $0.rawValue < $1.rawValue } == [.passed, .reused])
    }
  }

  // MARK: Independent fragments

  @Test(
    arguments: [
      // What is known of the independent layer, the layer below, the graft; what happens to the first.
      (nil, nil, nil, "build"), (LayerState.available, nil, nil, "reuse"), (.building, .available, nil, "attach"),
      (nil, .available, .available, "notNeeded"), (.failed, .available, .building, "build"),
    ] as [(LayerState?, LayerState?, LayerState?, String)])
  func whatIsGraftedIsNeededWhereSomethingIsGrafted(
    _ own: LayerState?, _ core: LayerState?, _ graft: LayerState?, _ expected: String
  ) async throws {
    try await Bench.with { bench in
      var catalog = bench.catalog
      catalog.setTargets((Bench.amd64, required: true))
      catalog.files["fragments/app/1.0.0/fragment.yml"]? += "independent: true\n"
      catalog.files["fragments/app/1.0.0/Dockerfile.fragment"] = "COPY --link main.sh /main.sh\n"
      let plan = try catalog.work().plan
      let path = plan.cells[0].path
      let grafted = try #require(plan.layers.first { $0.parent == .scratch }).key
      var known = KnownResults()
      for (key, state) in [(grafted, own), (path[0], core), (path[1], graft)] {
        guard let state else { continue }
        known.layers[key] = KnownLayer(state: state, image: Digest(of: key.text), generation: 1)
      }
      let forecast = Forecast(plan: plan, known: known, missing: [:])
      let fate = try #require(forecast.layers[grafted])
      #expect("\(fate)".hasPrefix(expected), "\(fate)")
      #expect(forecast.layersToBuild.contains(path[1]) == (graft == nil))
    }
  }
}
