import Foundation
import Model
import RecordStore
import TestSupport
import Testing

/// A whole farm on real services: broker, store, registry, two engines as two hosts, processes that are
/// killed midway. Evidence comes from outside: a counter that the RUN steps call, and skopeo.
@Suite("Farm", .serialized, .timeLimit(.minutes(10)))
struct FarmTests {
  @Test("four overlapping builds, one executor and one coordinator killed: each layer is built once")
  func overlappingBuildsSurviveKills() async throws {
    let farm = try await TestFarm(run: "kills", platforms: ["linux/amd64", "linux/arm64"])
    do {
      try await killMidway(farm)
      try await submitAgain(farm)
      try await loseABlob(farm)
    } catch {
      await farm.end(failed: true)
      throw error
    }
    await farm.end(failed: false)
  }

  private func killMidway(_ farm: TestFarm) async throws {
    let first = try farm.startCoordinator("c1", port: farm.ports[0])
    _ = try farm.startCoordinator("c2", port: farm.ports[1])
    try await farm.waitForCoordinators()
    let victim = try farm.startExecutor("amd64-1", pool: "amd64", engine: farm.engineA)
    _ = try farm.startExecutor("amd64-2", pool: "amd64", engine: farm.engineB)
    _ = try farm.startExecutor("arm64-1", pool: "arm64", engine: farm.engineB)
    let requests = [["one"], ["two"], ["one", "two"], ["two"]]
    let builds = try await withThrowingTaskGroup(of: BuildDetail.self) { group in
      for products in requests {
        group.addTask {
          try await farm.kiln.json(["submit", "--wait", "--json", "--catalog", farm.catalog.folder.path] + products)
        }
      }
      group.addTask {
        try await eventually("a step runs") { !farm.counter.all.isEmpty }
        kill(victim.processIdentifier, SIGKILL)
        kill(first.processIdentifier, SIGKILL)
        _ = try farm.startExecutor("amd64-1", pool: "amd64", engine: farm.engineA)
        return try await farm.kiln.json(["submit", "--wait", "--json", "--catalog", farm.catalog.folder.path, "two"])
      }
      return try await group.reduce(into: [BuildDetail]()) { $0.append($1) }
    }
    #expect(builds.count == 5)
    // Where builds of the same tags overlap, one that ends after a newer one leaves them to it.
    for build in builds { #expect([.passed, .superseded].contains(build.summary.state), "\(build.summary)") }
    #expect(builds.contains { $0.summary.state == .passed })
    try await farm.expectOncePerLayer(builds, of: farm.catalog, layers: 8)
    try await farm.expectRecordsPull(count: 6)
  }

  private func submitAgain(_ farm: TestFarm) async throws {
    let before = farm.counter.all
    let again: BuildDetail = try await farm.submit()
    #expect(again.summary.state == .passed)
    #expect(again.cells.allSatisfy { $0.state == .reused })
    #expect(again.jobs.isEmpty)
    // A file that no fragment names changes nothing.
    try farm.catalog.write("fragments/app/1.0.0/notes.txt", "nobody copies this\n")
    let unnamed: BuildDetail = try await farm.submit()
    #expect(unnamed.jobs.isEmpty)
    #expect(farm.counter.all == before)
    // One character in the app fragment: its layers and the finishing jobs, on both platforms.
    try farm.catalog.write("fragments/app/1.0.0/app.txt", "app changed\n")
    let changed: BuildDetail = try await farm.submit()
    #expect(changed.summary.state == .passed)
    #expect(changed.jobs.filter { $0.kind == .layer }.map { $0.title.prefix(9) } == ["app@1.0.0", "app@1.0.0"])
    #expect(changed.jobs.filter { $0.kind == .finish }.count == 2)
    // Its RUN comes before the COPY: an engine that has it in its cache does not run it again.
    let called = farm.counter.all.filter { before[$0.key] != $0.value }
    #expect(called.keys.allSatisfy { $0.contains("app1.0.0") }, "\(called)")
  }

  /// A blob vanishes behind Kiln's back: exactly the layer that brought it is built again, and says why.
  private func loseABlob(_ farm: TestFarm) async throws {
    let plan: BuildDetail = try await farm.submit()
    let core = try #require(
      try await farm.storeLayers().first { $0.title.hasPrefix("core") && $0.platform.architecture == "amd64" })
    let image = try #require(core.image)
    let last = try #require(try await farm.layerBlobs("layers@\(image)").last)
    let deleted = try await farm.kiln.run(
      [
        "--silent", "--fail", "--request", "DELETE",
        "http://\(farm.registry.replacing("/", with: "/v2/", maxReplacements: 1))/layers/blobs/\(last)",
      ],
      program: URL(fileURLWithPath: "/usr/bin/curl"))
    #expect(deleted.status == 0, "\(deleted.errors)")
    let healed: BuildDetail = try await farm.submit()
    #expect(plan.summary.state == .passed && healed.summary.state == .passed)
    let rebuilt = healed.jobs.filter { $0.kind == .layer }
    #expect(rebuilt.map(\.title) == ["core@1.0.0 linux/amd64"])
    #expect(rebuilt.first?.cause.contains(last) == true, "\(rebuilt.first?.cause ?? "")")
  }

  // MARK: Independent fragments

  @Test("after a fix at the bottom, independent fragments are grafted, not built")
  func graftsWhatIsIndependent() async throws {
    let farm = try await TestFarm(run: "grafts", platforms: ["linux/amd64", "linux/arm64"], independent: true)
    do {
      try await fixTheBottom(farm)
    } catch {
      await farm.end(failed: true)
      throw error
    }
    await farm.end(failed: false)
  }

  private func fixTheBottom(_ farm: TestFarm) async throws {
    _ = try farm.startCoordinator("c1", port: farm.ports[0])
    _ = try farm.startCoordinator("c2", port: farm.ports[1])
    try await farm.waitForCoordinators()
    for (name, pool) in [("amd64-1", "amd64"), ("amd64-2", "amd64"), ("arm64-1", "arm64")] {
      _ = try farm.startExecutor(name, pool: pool, engine: name == "amd64-1" ? farm.engineA : farm.engineB)
    }
    let first: BuildDetail = try await farm.submit()
    #expect(first.summary.state == .passed)
    // Two parents on two platforms for one, one parent for the other: each step ran once on a platform.
    #expect(Self.count(first, "app@1.0.0 (graft)") == 4 && Self.count(first, "app@1.0.0 (independent)") == 2)
    #expect(Self.count(first, "other@1.0.0 (graft)") == 2)
    let steps = farm.counter.all.filter { !$0.key.contains("-core-") }
    #expect(steps.count == 4 && steps.values.allSatisfy { $0 == 1 }, "\(farm.counter.all)")
    let blobs = try await farm.lastBlobs(first, 2)

    let core = "fragments/core/1.0.0/Dockerfile.fragment"
    let text = try String(contentsOf: farm.catalog.folder.appendingPathComponent(core), encoding: .utf8)
    try farm.catalog.write(core, text.replacing("echo core", with: "echo mended"))
    // Nothing can come from a cache.
    for engine in [farm.engineA, farm.engineB] {
      try await OutsideTool("docker", environment: ["DOCKER_HOST": engine]).run([
        "builder", "prune", "--all", "--force",
      ])
    }
    let forecast = try await farm.forecast(farm.catalog)
    let second: BuildDetail = try await farm.submit()
    #expect(second.summary.state == .passed)
    #expect(try await farm.builtLayers(second) == forecast)
    #expect(second.jobs.filter { $0.kind == .layer }.count == 6, "\(second.jobs.map(\.title))")
    #expect(Self.count(second, "core@1.0.0") == 2 && Self.count(second, "app@1.0.0 (graft)") == 2)
    #expect(farm.counter.all.filter { !$0.key.contains("-core-") } == steps)
    #expect(try await farm.lastBlobs(second, 2) == blobs)
    try await farm.expectRecordsPull(count: 10)
  }

  private static func count(_ build: BuildDetail, _ title: String) -> Int {
    build.jobs.count { $0.title.hasPrefix(title + " ") }
  }
}
