import Foundation
import Model
import RecordStore
import TestSupport
import Testing

/// Faults on real services, each while a step of a build runs: the build passes, and nothing is done twice.
@Suite("Faults", .serialized, .timeLimit(.minutes(15)))
struct FaultTests {
  /// Those of one round happen one after the other to the same builds.
  static let rounds: [[Fault]] = [
    [.executorKilled, .coordinatorKilled, .brokerKilled, .poison, .connectionsTerminated],
    [.engineKilled, .storeKilled, .registryKilled],
    [.brokerWiped, .executorStopped],
  ]

  @Test("one of each: whatever is killed in the middle of a step, each build passes")
  func oneOfEach() async throws {
    #expect(Set(Self.rounds.joined()) == Set(Fault.allCases))
    let farm = try await TestFarm(run: "faults", platforms: ["linux/amd64"], attempts: 100)
    do {
      let faulty = try FaultyFarm(farm)
      try await farm.waitForCoordinators()
      var builds: [(TestCatalog, BuildDetail)] = []
      for (number, faults) in Self.rounds.enumerated() {
        let (catalog, build) = try await faulty.buildHeld(number)
        for fault in faults { try await faulty.apply(fault) }
        farm.counter.release()
        builds.append((catalog, try await build.value))
        faulty.expectAllRun()
      }
      for (catalog, build) in builds { try await faulty.expectWell(build, of: catalog) }
      try await faulty.expectLetters()
      try await farm.expectRecordsPull(count: 3 * Self.rounds.count)
    } catch {
      await farm.end(failed: true)
      throw error
    }
    await farm.end(failed: false)
  }
}
