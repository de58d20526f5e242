import Foundation
import KilnCoordinator
import Model
import RecordStore
import TestSupport
import Testing

/// What people do to a farm's work, by the command line as they do it. Whether a step runs is seen from outside:
/// the counter holds what calls it.
@Suite("Interventions", .serialized, .timeLimit(.minutes(5)))
struct InterventionTests {
  private func with(_ run: String, _ body: (TestFarm) async throws -> Void) async throws {
    let farm = try await TestFarm(run: run, platforms: ["linux/amd64"])
    do {
      _ = try farm.startCoordinator("c1", port: farm.ports[1])
      _ = try farm.startCoordinator("c2", port: farm.ports[0])
      try await farm.waitForCoordinators()
      _ = try farm.startExecutor("amd64-1", pool: "amd64", engine: farm.engineA)
      try await body(farm)
    } catch {
      await farm.end(failed: true)
      throw error
    }
    await farm.end(failed: false)
  }

  private func submit(_ farm: TestFarm, _ products: String...) async throws -> BuildID {
    let reply: SubmitReply = try await farm.kiln.json(
      ["submit", "--json", "--catalog", farm.catalog.folder.path] + products)
    return reply.build.id
  }

  private func build(_ farm: TestFarm, _ id: BuildID, is state: BuildState) async throws -> BuildDetail {
    try await eventually("build \(id) is \(state)") {
      let detail: BuildDetail = try await farm.get("builds/\(id)")
      return detail.summary.state == state
    }
    return try await farm.get("builds/\(id)")
  }

  private func core(_ build: BuildDetail) -> LayerStatus? { build.layers.first { $0.title.hasPrefix("core") } }

  @Test("a cancelled build's step ends, nothing is tagged, and what another build wants goes on")
  func cancels() async throws {
    try await with("cancel") { farm in
      farm.counter.hold("other")
      let (two, one) = (try await submit(farm, "two"), try await submit(farm, "one"))
      try await eventually("a step is held") { !farm.counter.waiting.isEmpty }
      let cancelled = try await farm.kiln.run(["cancel", two.text])
      #expect(cancelled.status == 0 && cancelled.output.contains("build \(two) is cancelling"), "\(cancelled)")
      try await eventually("the engine runs nothing of it", seconds: 5) { farm.counter.waiting.isEmpty }
      _ = try await build(farm, two, is: .cancelled)
      let passed = try await build(farm, one, is: .passed)
      #expect(passed.cells.allSatisfy { $0.state.isGood })
      #expect(core(passed)?.generation == 1, "both wanted it")
      let repository = "farm-\(farm.catalog.run)/two"
      let tags = try await farm.kiln.run(
        ["list-tags", "--tls-verify=false", "docker://\(farm.registry)/\(repository)"],
        program: URL(fileURLWithPath: "/usr/bin/skopeo"))
      #expect(tags.status != 0, "\(tags.output)")
      let late = try await farm.kiln.run(["cancel", one.text])
      #expect(late.status == 2 && late.errors.contains("is passed: there is nothing left to cancel"), "\(late)")
      let nobody = try await farm.kiln.run(["cancel", "nobodys"])
      #expect(nobody.status == 2 && nobody.errors.contains("neither a build nor a job"), "\(nobody)")

      // Wanted again, it is built; of a job, only what needs it ends.
      farm.counter.hold("other")
      let again = try await submit(farm, "two")
      try await eventually("a step is held again") { !farm.counter.waiting.isEmpty }
      let running = try #require(
        try await build(farm, again, is: .running).jobs.first { $0.state == .running })
      let job = try await farm.kiln.run(["cancel", running.id.text])
      #expect(job.status == 0 && job.output.contains("1 cells"), "\(job)")
      try await eventually("the engine runs nothing of it", seconds: 5) { farm.counter.waiting.isEmpty }
      let failed = try await build(farm, again, is: .failed)
      #expect(failed.summary.problem?.contains("1 were cancelled") == true, "\(failed.summary)")
      farm.counter.release()
      let last: BuildDetail = try await farm.kiln.json(
        ["submit", "--wait", "--json", "--catalog", farm.catalog.folder.path, "two"])
      #expect(last.summary.state == .passed)
      let layer = try #require(last.jobs.first { $0.kind == .layer && $0.title.hasPrefix("other") })
      let why = try await farm.kiln.run(["explain", layer.id.text])
      #expect(why.output.contains("of its 2 steps were in the cache of") && why.output.contains("RUN wget"), "\(why)")
    }
  }

  @Test("what is dead says why and where, is found by its cause, and passes when it is tried again")
  func retries() async throws {
    try await with("retry") { farm in
      farm.counter.refuse("core")
      let submitted = try await farm.kiln.run(["submit", "--wait", "--catalog", farm.catalog.folder.path])
      #expect(submitted.status == 1)
      let report = submitted.errors
      #expect(report.contains("[build: step-failed, exit code 1]"), "\(report)")
      #expect(report.contains("fragments/core/1.0.0/Dockerfile.fragment:1 (core@1.0.0)"), "\(report)")
      #expect(report.contains("RUN wget") && report.contains("404 Not Found"), "\(report)")
      let failed = try #require(submitted.output.firstMatch(of: /build ([0-9a-z]+):/)?.1)
      let id = BuildID(text: String(failed))

      let groups: [DeadLetterGroup] = try await farm.kiln.json(["dead-letters", "groups", "--json"])
      let group = try #require(groups.first)
      #expect(groups.count == 1 && group.count == 1 && report.contains(group.fingerprint), "\(groups)")
      let letters: [StoredDeadLetter] = try await farm.kiln.json(
        ["dead-letters", "list", "--fingerprint", group.fingerprint, "--json"])
      let letter = try #require(letters.first)
      #expect(letter.failure?.place?.line == 1)
      let shown = try await farm.kiln.run(["dead-letters", "show", letter.identifier])
      #expect(shown.output.contains("fragments/core/1.0.0/Dockerfile.fragment:1"), "\(shown)")
      let retry = "'kiln retry \(try #require(letter.job))' tries it again"
      let why = try await farm.kiln.run(["explain", id.text])
      #expect(why.output.contains("core@1.0.0 linux/amd64: dead") && why.output.contains(retry), "\(why)")
      #expect(why.output.contains(" more jobs, which wait for these"), "\(why)")
      let detail: BuildDetail = try await farm.get("builds/\(id)")
      let blocked = try #require(detail.jobs.first { $0.state == .waiting && $0.kind == .finish })
      let waits = try await farm.kiln.run(["explain", blocked.id.text])
      #expect(waits.output.contains("waits for layer core@1.0.0, which is failed"), "\(waits)")
      #expect(waits.output.contains(retry), "\(waits)")
      let attempts = try #require(farm.counter.all.first { $0.key.contains("core") }).value

      farm.counter.refuse(nil)
      let retried = try await farm.kiln.run(["retry", id.text, "--failed"])
      #expect(retried.status == 0 && retried.output.contains("build \(id) runs again"), "\(retried)")
      let passed = try await build(farm, id, is: .passed)
      #expect(core(passed)?.generation == 2)
      let more = farm.counter.all.first { $0.key.contains("core") }?.value
      #expect(more == attempts + 1)
      let nothing = try await farm.kiln.run(["retry", id.text])
      #expect(nothing.status == 2 && nothing.errors.contains("nothing to retry"), "\(nothing)")
      let all = try await farm.kiln.run(["dead-letters", "--all"])
      #expect(all.output.contains("replayed"), "\(all)")
      let which = try await farm.kiln.run(["dead-letters", "drop", "--reason", "old"])
      #expect(which.status == 2 && which.errors.contains("which letters?"), "\(which)")
      try await farm.expectRecordsPull(count: 3)
    }
  }

  @Test("of a cancelled cell the engine runs nothing, even of a test that no signal ends")
  func cancelsACell() async throws {
    try await with("cancelcell") { farm in
      let file = farm.catalog.folder.appendingPathComponent("products/two.yml")
      let product = try String(contentsOf: file, encoding: .utf8)
      // The first process of a container, which the kernel spares all signals but KILL.
      let deaf = product.replacing("[cat, /app.txt]", with: "[sh, -c, 'sleep 600; true']")
      try farm.catalog.write("products/two.yml", deaf.replacing("timeoutSeconds: 30", with: "timeoutSeconds: 600"))
      let id = try await submit(farm, "two")
      let docker = OutsideTool("docker", environment: ["DOCKER_HOST": farm.engineA])
      func running() async throws -> String {
        try await docker.output(["ps", "--quiet", "--filter", "label=kiln.executor=amd64-1-\(farm.run)"])
      }
      try await eventually("its test runs") { try await !running().isEmpty }
      let cell = try #require(try await build(farm, id, is: .running).jobs.first { $0.kind == .finish })
      let cancelled = try await farm.kiln.run(["cancel", cell.id.text])
      #expect(cancelled.status == 0 && cancelled.output.contains("1 cells"), "\(cancelled)")
      try await eventually("the engine runs nothing of it", seconds: 5) { try await running().isEmpty }
      let failed = try await build(farm, id, is: .failed)
      #expect(failed.summary.problem?.contains("1 were cancelled") == true, "\(failed.summary)")
    }
  }

  @Test("letters are replayed by their cause, each once, and dropped with a reason, by the command line")
  func letters() async throws {
    try await with("letters") { farm in
      farm.counter.refuse("app")
      let submitted = try await farm.kiln.run(["submit", "--wait", "--catalog", farm.catalog.folder.path, "one"])
      #expect(submitted.status == 1)
      let id = BuildID(text: String(try #require(submitted.output.firstMatch(of: /build ([0-9a-z]+):/)?.1)))
      let groups: [DeadLetterGroup] = try await farm.kiln.json(["dead-letters", "groups", "--json"])
      #expect(groups.map(\.count).reduce(0, +) == 2, "two versions of one fragment: \(groups)")
      let letters: [StoredDeadLetter] = try await farm.kiln.json(["dead-letters", "list", "--json"])
      let dropped = try #require(letters.last)
      let drop = try await farm.kiln.run(["dead-letters", "drop", dropped.identifier, "--reason", "not needed"])
      #expect(drop.status == 0 && drop.output == "1 dropped\n", "\(drop)")
      let all = try await farm.kiln.run(["dead-letters", "--all"])
      #expect(all.output.contains("dropped"), "\(all)")
      let shown = try await farm.kiln.run(["dead-letters", "show", dropped.identifier])
      #expect(shown.output.contains("not needed"), "\(shown)")

      farm.counter.refuse(nil)
      let replay = ["dead-letters", "replay", "--fingerprint", try #require(letters.first).fingerprint]
      let outcome: ReplayOutcome = try await farm.kiln.json(replay + ["--json"])
      #expect(outcome.replayed.count == 1 && outcome.builds == [id], "\(outcome)")
      let again = try await farm.kiln.run(replay)
      #expect(again.status != 0 && again.errors.contains("no open dead letter is meant by this"), "\(again)")
      try await eventually("the replayed layer is there, and the build has failed by the other alone") {
        let detail: BuildDetail = try await farm.get("builds/\(id)")
        return detail.summary.state == .failed && detail.cells.filter { $0.state.isGood }.count == 1
      }
    }
  }
}
