import Foundation
import Model
import RecordStore
import TestSupport
import Testing

/// `make soak`: how soon work goes on after a fault, measured on an idle farm. See docs/soak.md.
@Suite("Soak: recovery", .serialized, .timeLimit(.minutes(30)))
struct SoakFaultsRecoveryTests {
  static let rounds = 5
  /// An executor's lease, and what it may take to notice, wait out the retry's delay and begin again.
  static let bound = 30.0 + 5

  @Test("a killed executor's step begins elsewhere within the lease and five seconds; broker and store are found again")
  func recovers() async throws {
    let farm = try await TestFarm(run: "recovery", platforms: ["linux/amd64"], attempts: 100)
    do {
      try await farm.watchInvariants()
      try await measure(farm)
      try await farm.expectInvariants()
    } catch {
      await farm.end(failed: true)
      throw error
    }
    await farm.end(failed: false)
  }

  private func measure(_ farm: TestFarm) async throws {
    let names = ["amd64-1", "amd64-2"]
    let faulty = FaultyFarm(farm, executors: [(names[0], farm.engineA, [:]), (names[1], farm.engineB, [:])])
    try faulty.startAll()
    try await farm.waitForCoordinators()
    var seconds: [String: [Double]] = [:]
    var number = 0
    func submitted(after fault: () async throws -> Void) async throws -> Double {
      number += 1
      let catalog = try await farm.anotherCatalog(number)
      try await fault()
      let began = ContinuousClock.now
      let (kiln, folder) = (farm.kiln, catalog.folder.path)
      let build = Task {
        try await kiln.json(["submit", "--wait", "--json", "--catalog", folder, "two"], as: BuildDetail.self)
      }
      try await eventually("its first step runs") { farm.counter.all.keys.contains { $0.hasPrefix("\(catalog.run)-") } }
      let took = (ContinuousClock.now - began) / .seconds(1)
      #expect(try await build.value.summary.state == .passed)
      return took
    }
    for _ in 0..<Self.rounds {
      seconds["nothing", default: []].append(try await submitted {})
      seconds["broker", default: []].append(try await submitted { try await FaultyFarm.services(kill: "rabbitmq") })
      seconds["store", default: []].append(try await submitted { try await FaultyFarm.services(kill: "postgres") })
      number += 1
      let catalog = try await farm.anotherCatalog(number)
      let step = "\(catalog.run)-core-x86_64"
      farm.counter.hold(step)
      let (kiln, folder) = (farm.kiln, catalog.folder.path)
      let build = Task {
        try await kiln.json(["submit", "--wait", "--json", "--catalog", folder, "two"], as: BuildDetail.self)
      }
      try await eventually("the step runs") { farm.counter.all[step] == 1 }
      let victim = try await faulty.holder()
      try faulty.end(victim)
      let began = ContinuousClock.now
      try await eventually("the step runs elsewhere", seconds: 120) { farm.counter.all[step] == 2 }
      seconds["executor", default: []].append((ContinuousClock.now - began) / .seconds(1))
      farm.counter.release()
      #expect(try await build.value.summary.state == .passed)
      try faulty.start(victim)
    }
    var text = "| from | to | seconds, median of \(Self.rounds) (least to most) |\n| --- | --- | --- |\n"
    for (name, from, to) in [
      ("nothing", "a build is submitted", "its first step runs"),
      ("broker", "a broker that was killed answers again, a build is submitted", "its first step runs"),
      ("store", "a store that was stopped at once answers again, a build is submitted", "its first step runs"),
      ("executor", "an executor is killed in a step", "the step begins on another"),
    ] {
      let sorted = (seconds[name] ?? []).sorted()
      let numbers = [sorted[sorted.count / 2], sorted[0], sorted[sorted.count - 1]].map { String(format: "%.1f", $0) }
      text += "| \(from) | \(to) | \(numbers[0]) (\(numbers[1]) to \(numbers[2])) |\n"
    }
    try Data(text.utf8).write(to: FaultyFarm.root.appendingPathComponent(".farm/soak-recovery.md"))
    print(text)
    #expect((seconds["executor"] ?? []).allSatisfy { $0 <= Self.bound }, "\(seconds)")
  }
}
