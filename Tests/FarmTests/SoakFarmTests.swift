import Foundation
import Model
import RecordStore
import TestSupport
import Testing

/// `make soak`: a farm builds while one daemon after the other is killed and started again.
@Suite("Soak: farm", .serialized)
struct SoakFarmTests {
  static let platforms = ["linux/amd64", "linux/arm64"]
  static let rounds = 4

  @Test("whatever is killed, and however often: each layer is built once, and every build passes")
  func killsGoOn() async throws {
    let seed = try #require(UInt64(try Services.require("KILN_TEST_SEED")))
    let farm = try await TestFarm(run: "soak", platforms: Self.platforms, attempts: 100)
    do {
      try await killsGoOn(farm, SeededRandom(seed: seed))
    } catch {
      await farm.end(failed: true)
      throw error
    }
    await farm.end(failed: false)
  }

  private func killsGoOn(_ farm: TestFarm, _ random: SeededRandom) async throws {
    let starts: [@Sendable () throws -> Process] = [
      { try farm.startCoordinator("c1", port: farm.ports[0]) },
      { try farm.startCoordinator("c2", port: farm.ports[1]) },
      { try farm.startExecutor("amd64-1", pool: "amd64", engine: farm.engineA) },
      { try farm.startExecutor("amd64-2", pool: "amd64", engine: farm.engineB) },
      { try farm.startExecutor("arm64-1", pool: "arm64", engine: farm.engineB) },
    ]
    var catalogs: [TestCatalog] = []
    for round in 0..<Self.rounds { catalogs.append(try await farm.anotherCatalog(round)) }
    var daemons = try starts.map { try $0() }
    try await farm.waitForCoordinators()
    let killer = Task {
      var kills = 0
      while !Task.isCancelled {
        try? await Task.sleep(for: .seconds(2 + 8 * random.fraction()))
        let victim = Int(random.fraction() * Double(daemons.count))
        kill(daemons[victim].processIdentifier, SIGKILL)
        daemons[victim].waitUntilExit()
        daemons[victim] = try starts[victim]()
        kills += 1
      }
      return kills
    }
    defer { killer.cancel() }
    let builds = try await withThrowingTaskGroup(of: (Int, BuildDetail).self) { group in
      for (round, catalog) in catalogs.enumerated() {
        for products in [["one"], ["two"], ["one", "two"]] {
          group.addTask {
            let words = ["submit", "--wait", "--json", "--catalog", catalog.folder.path] + products
            return (round, try await farm.kiln.json(words))
          }
        }
      }
      return try await group.reduce(into: [Int: [BuildDetail]]()) { $0[$1.0, default: []].append($1.1) }
    }
    killer.cancel()
    let kills = try await killer.value
    print("\(kills) kills")
    #expect(kills >= Self.rounds, "too few to mean anything")
    try await farm.waitForCoordinators()
    for (round, catalog) in catalogs.enumerated() {
      let builds = builds[round] ?? []
      for build in builds { #expect([.passed, .superseded].contains(build.summary.state), "\(build.summary)") }
      try await farm.expectOncePerLayer(builds, of: catalog, layers: 8)
    }
    try await farm.expectRecordsPull(count: 6 * Self.rounds)
  }
}
