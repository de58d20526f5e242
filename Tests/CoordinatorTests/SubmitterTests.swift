import Foundation
import Model
import Planner
import RecordStore
import RecordStoreSQLite
import Registry
import Testing

@testable import KilnCoordinator

@Suite struct SubmitterTests {
  private func isEmpty(_ bench: Bench) async throws -> Bool {
    let counts = try await bench.engine.transaction { store in
      try ["builds", "layers", "cells", "jobs", "job_specs"].map { table in
        try store.run("SELECT count(*) AS n FROM \(table)", []).first?.int("n")
      }
    }
    return counts.allSatisfy { $0 == 0 }
  }

  @Test func workThatNoPoolDoesIsRefusedWhole() async throws {
    try await Bench.with { bench in
      let coordinator = try bench.coordinator(pools: [
        Bench.pool("one", platforms: Bench.amd64), Bench.pool("two", platforms: "linux/arm/v7", "linux/s390x"),
      ])
      let failure = try await #require(throws: Failure.self) { try await bench.submit(with: coordinator) }
      #expect(failure.failureClass == .input)
      #expect(failure.code == "no-pool")
      #expect(failure.message == "no pool builds linux/arm64")
      #expect(failure.hint == "pools known here: one (linux/amd64); two (linux/arm/v7, linux/s390x)")
      #expect(try await isEmpty(bench))
      #expect(try FileManager.default.contentsOfDirectory(atPath: bench.imageFolder.path + "/blobs/sha256") == [])
    }
  }

  /// A pool with an accelerator does only the work that needs it, and says so.
  @Test func aPoolWithAnAcceleratorIsNamedAsSuch() async throws {
    try await Bench.with { bench in
      var gpu = try Bench.pool("gpu")
      gpu.accelerator = Accelerator(vendor: "nvidia")
      let coordinator = try bench.coordinator(pools: [gpu])
      let failure = try await #require(throws: Failure.self) { try await bench.submit(with: coordinator) }
      #expect(failure.hint == "pools known here: gpu (linux/amd64, linux/arm64, only for nvidia)")
    }
  }

  @Test func eachPlatformGoesToItsPoolAndACellWithAnAcceleratorToItsOwn() async throws {
    try await Bench.with { bench in
      var gpu = try Bench.pool("gpu", platforms: Bench.amd64)
      gpu.accelerator = Accelerator(vendor: "nvidia")
      let coordinator = try bench.coordinator(pools: [
        gpu, Bench.pool("arm", platforms: Bench.arm64), Bench.pool("amd", platforms: Bench.amd64),
      ])
      var catalog = bench.catalog
      catalog.files["products/hello.yml"]? += "  - platform: linux/amd64\n    accelerator: {vendor: nvidia}\n"
      let build = try await bench.build(try await bench.submit(catalog, with: coordinator))
      let pools = build.jobs.map { "\($0.kind) \($0.title.hasSuffix(Bench.arm64) ? "arm" : "amd") \($0.pool)" }
      #expect(
        pools.sorted() == [
          "finish amd amd", "finish amd gpu", "finish arm arm", "layer amd amd", "layer amd amd", "layer arm arm",
          "layer arm arm",
        ])
    }
  }

  /// While a job waits for its next attempt, a submission brings what it lacks.
  @Test func aLostContextIsBroughtAgainToWhatIsUnderWay() async throws {
    try await Bench.with { bench in
      let context = try #require(try bench.catalog.work().contexts.keys.first)
      try await bench.submit()
      try FileManager.default.removeItem(atPath: bench.imageFolder.path + "/blobs/sha256/\(context.hex)")
      #expect(await bench.images.blobSize(context, in: "layers") == nil)
      try await bench.submit(key: "again")
      #expect(await bench.images.blobSize(context, in: "layers") != nil)
    }
  }

  @Test func aBaseThatTheRegistryKeepsEmptyIsRefusedWhole() async throws {
    try await Bench.with { bench in
      let coordinator = try bench.coordinator(images: FullRegistry(bench.images, keepsEmpty: true))
      let failure = try await #require(throws: Failure.self) { try await bench.submit(with: coordinator) }
      #expect(failure.failureClass == .infrastructure)
      #expect(failure.code == "unreadable")
      #expect(bench.bases.values.contains { failure.hint?.contains($0.description) == true })
      #expect(try await isEmpty(bench))
    }
  }

  @Test func basesAndContextsAreThereBeforeTheBuild() async throws {
    try await Bench.with { bench in
      let work = try bench.catalog.work()
      try await bench.submit()
      for digest in bench.bases.values {
        #expect(try await bench.images.manifest(.digest(digest), in: "layers")?.digest == digest)
        #expect(try await bench.images.manifest(.tag("base-\(digest.hex)"), in: "layers")?.digest == digest)
      }
      #expect(work.contexts.count == 1)
      for (digest, bytes) in work.contexts {
        #expect(try await bench.images.blob(digest, in: "layers", maxBytes: 1 << 20) == bytes)
      }
    }
  }

  /// A manifest alone is no base: what it names must be there too. Then nothing has to be built again.
  @Test func aBaseThatLostABlobIsBroughtAgain() async throws {
    try await Bench.with { bench in
      try await bench.run()
      let base = try #require(bench.bases.values.first)
      let manifest = try #require(try await bench.images.manifest(.digest(base), in: "layers"))
      let blob = try #require(try ImageManifest(manifest).blobs.first).digest
      try bench.delete(blob)
      let again = try await bench.build(try await bench.submit(key: "again"))
      #expect(await bench.images.blobSize(blob, in: "layers") != nil)
      #expect(again.jobs == [])
    }
  }

  @Test func aBaseThatIsThereNeedsNoOutside() async throws {
    try await Bench.with { bench in
      try await bench.submit()
      var coordinator = try bench.coordinator()
      coordinator.openSource = { source in throw Failure(.infrastructure, code: "away", source) }
      let again = try await bench.submit(key: "again", with: coordinator)
      #expect(again.isNew)
    }
  }

  @Test func aFullRunAgainBuildsNothing() async throws {
    try await Bench.with { bench in
      try await bench.run(key: "first")
      let second = try await bench.submit(key: "second")
      let build = try await bench.build(second)
      #expect(build.jobs == [])
      #expect(build.cells.allSatisfy { $0.state == .reused })
      try await bench.end()
      #expect(try await bench.build(second).summary.state == .passed)
    }
  }
}
