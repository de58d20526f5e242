import Foundation
import Model
import RecordStore
import TestSupport
import Testing

/// `kiln build` on a real engine. Evidence comes from outside: the counter that the RUN steps call,
/// docker, skopeo.
@Suite("Embedded", .serialized, .timeLimit(.minutes(5)))
struct RealEmbeddedTests {
  private static let tea = CatalogFolder.product("tea", fragments: ["water", "leaves"])

  // MARK: Built, delivered, reused

  @Test("two platforms: built once, loaded, written, pushed, read back, reused")
  func deliversAndReuses() async throws {
    let registry = try Services.require("KILN_TEST_REGISTRY")
    let platforms = ["linux/amd64", "linux/arm64"]
    try await EmbeddedFolder.with(
      CatalogFolder.product("tea", fragments: ["water", "leaves"], platforms: platforms)
    ) { folder in
      let (prefix, image) = ("\(registry)/\(folder.tag)", "\(folder.tag)/tea")
      try folder.catalog.write(
        CatalogFolder.product("tea", fragments: ["water", "leaves"], platforms: platforms, repository: image))
      let built = try await folder.kiln.run(["build", "--load", "--output", "images", "--push", prefix])
      #expect(built.status == 0 && built.errors.isEmpty, "\(built)")
      let machines = ["x86_64", "aarch64"]
      let steps = machines.flatMap { ["water-\(folder.tag)-\($0)", "leaves-\(folder.tag)-\($0)"] }
      #expect(folder.counter.all == Dictionary(uniqueKeysWithValues: steps.map { ($0, 1) }))
      let line = try #require(built.output.split(separator: "\n").last { $0.hasPrefix("image  \(image):1.0.0 ") })
      let digest = String(line.split(separator: " ")[2])
      try await expectLoaded(folder, "\(image):1.0.0")
      try await expectIndex(digest, platforms, at: "oci:\(folder.catalog.root.path)/images/\(folder.tag)-tea:1.0.0")
      try await expectIndex(digest, platforms, at: "docker://\(prefix)/\(image):1.0.0")

      let again: BuildDetail = try await folder.kiln.json(["build", "--json"])
      #expect(again.summary.state == .passed && again.jobs.isEmpty)
      #expect(again.cells.count == 2 && again.cells.allSatisfy { $0.state == .reused })
      #expect(again.published.map { "\($0.digest)" } == [digest])
      #expect(folder.counter.all.values.allSatisfy { $0 == 1 })
      try await expectReadable(folder, again.summary.id)
    }
  }

  private func expectLoaded(_ folder: EmbeddedFolder, _ name: String) async throws {
    for (platform, machine) in [("linux/amd64", "x86_64"), ("linux/arm64", "aarch64")] {
      let run = ["run", "--rm", "--pull", "never", "--network", "none", "--platform", platform, name]
      #expect(try await folder.docker.output(run + ["cat", "/said.txt"]) == "tea\n")
      #expect(try await folder.docker.output(run + ["uname", "-m"]) == "\(machine)\n")
    }
  }

  /// skopeo finds the index with these platforms, and copies all of it, checking every digest.
  private func expectIndex(_ digest: String, _ platforms: [String], at place: String) async throws {
    struct Index: Decodable {
      struct Entry: Decodable { var platform: [String: String] }
      var manifests: [Entry]
    }
    let skopeo = OutsideTool("skopeo")
    let bytes = Data(try await skopeo.output(["inspect", "--raw", "--tls-verify=false", place]).utf8)
    #expect("\(Digest(of: bytes))" == digest)
    let found = try JSONDecoder().decode(Index.self, from: bytes).manifests.map {
      "\($0.platform["os"] ?? "")/\($0.platform["architecture"] ?? "")"
    }
    #expect(found == platforms)
    let copy = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-copy-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: copy) }
    try await skopeo.run(["copy", "--quiet", "--all", "--src-tls-verify=false", place, "dir:\(copy.path)"])
  }

  /// `status`, `records` and `logs` tell what was done, from the store alone.
  private func expectReadable(_ folder: EmbeddedFolder, _ last: BuildID) async throws {
    let kiln = folder.kiln
    let builds: [BuildSummary] = try await kiln.json(["status", "--json"])
    #expect(builds.count == 2 && builds.first?.id == last && builds.allSatisfy { $0.state == .passed })
    let first = try #require(builds.last)
    let detail: BuildDetail = try await kiln.json(["status", first.id.text, "--json"])
    #expect(detail.jobs.count == 6 && detail.jobs.allSatisfy { $0.state == .succeeded })
    let told = try await kiln.run(["status", first.id.text])
    #expect(told.status == 0 && told.output.contains("build  \(first.id): passed"), "\(told)")
    let records: [StoredRecord] = try await kiln.json(["records", "--json"])
    #expect(Set(records.map { "\($0.record.target.platform)" }) == ["linux/amd64", "linux/arm64"])
    #expect(records.count == 2 && records.allSatisfy { $0.record.verdict == .passed && $0.record.tests.count == 1 })
    let one: [StoredRecord] = try await kiln.json([
      "records", "--json", "--platform", "linux/arm64", "--product", "tea",
    ])
    #expect(one.count == 1)
    let none: [StoredRecord] = try await kiln.json(["records", "--json", "--product=-x"])
    #expect(none.isEmpty)
    let job = try #require(detail.jobs.first { $0.title == "leaves@1.0.0 linux/arm64" })
    let log = try await kiln.run(["logs", job.id.text])
    #expect(log.status == 0 && log.output.contains("made leaves-\(folder.tag)"), "\(log)")
    for arguments in [["logs", "absent"], ["status", "absent"]] {
      let told = try await kiln.run(arguments)
      #expect(told.status == 2 && told.output.isEmpty && told.errors.hasPrefix("kiln: there is no "), "\(told)")
    }
  }

  // MARK: Interrupted

  @Test("killed in the middle of a step: the next run ends what was left and builds only what was not")
  func killed() async throws {
    try await EmbeddedFolder.with(Self.tea) { folder in
      let build = try await folder.buildHeld(at: "leaves")
      kill(build.processIdentifier, SIGKILL)
      #expect(try await folder.end(of: build) == SIGKILL)
      folder.counter.hold(nil)
      let next = try await folder.kiln.run(["build"])
      #expect(next.status == 0, "\(next)")
      #expect(folder.counter.waiting.isEmpty, "the step of the killed build still runs")
      #expect(folder.count("water") == 1 && folder.count("leaves") == 2, "\(folder.counter.all)")
    }
  }

  @Test("Ctrl-C in the middle of a step: says so, exit code 130, nothing runs on, the next run goes on")
  func interrupted() async throws {
    try await EmbeddedFolder.with(Self.tea) { folder in
      let build = try await folder.buildHeld(at: "leaves")
      build.interrupt()
      #expect(try await folder.end(of: build) == 130)
      #expect(folder.log.contains("kiln: interrupted; the next 'kiln build' goes on where this one stopped"))
      try await eventually("the step has ended", seconds: 10) { folder.counter.waiting.isEmpty }
      folder.counter.hold(nil)
      let next = try await folder.kiln.run(["build"])
      #expect(next.status == 0, "\(next)")
      #expect(folder.count("water") == 1 && folder.count("leaves") == 2, "\(folder.counter.all)")
    }
  }

  @Test("killed between any two effects, the next run ends well and repeats one step at most")
  func failpoints() async throws {
    let points: [Failpoint] = [
      .submitBeforeTransaction, .submitAfterTransaction, .publishAfterConfirm, .attemptAfterClaim, .attemptAfterBuild,
      .attemptBeforeCommit, .attemptAfterCommit, .outboxAfterEffect, .indexAfterPut, .tagAfterPut, .settleBeforeApply,
    ]
    try await EmbeddedFolder.with(Self.tea) { folder in
      for point in points {
        try folder.step("leaves", calling: point.rawValue)
        var kiln = folder.kiln
        kiln.environment["KILN_FAILPOINT"] = point.rawValue
        let killed = try await kiln.run(["build"])
        #expect(killed.status == SIGKILL, "\(point): \(killed)")
        let next = try await folder.kiln.run(["build"])
        #expect(next.status == 0, "\(point): \(next)")
        #expect((1...2).contains(folder.count(point.rawValue)), "\(folder.counter.all)")
        #expect(folder.count("water") <= 2, "\(point)")
      }
      let records: [StoredRecord] = try await folder.kiln.json(["records", "--json", "--limit=500"])
      #expect(records.count == points.count && records.allSatisfy { $0.record.verdict == .passed })
    }
  }

  // MARK: Refused, failed

  @Test("a second build of the folder is refused with who holds it, and harms the first in nothing")
  func secondIsRefused() async throws {
    try await EmbeddedFolder.with(Self.tea) { folder in
      let first = try await folder.buildHeld(at: "leaves")
      let second = try await folder.kiln.run(["build"])
      #expect(second.status == 4 && second.output.isEmpty, "\(second)")
      #expect(second.errors.contains("in use by process \(first.processIdentifier)"), "\(second.errors)")
      #expect(folder.counter.waiting.count == 1, "the first one's step was ended")
      folder.counter.release()
      #expect(try await folder.end(of: first) == 0, "\(folder.log)")
      #expect(folder.count("water") == 1 && folder.count("leaves") == 1, "\(folder.counter.all)")
    }
  }

  @Test("builds of two folders in one engine leave each other alone")
  func twoFolders() async throws {
    try await EmbeddedFolder.with(Self.tea) { one in
      try await EmbeddedFolder.with(Self.tea) { two in
        // While the first one's smoke command runs: its container is what the second might take for its own.
        let command = #"[sh, -c, "sleep 8 && cat /said.txt # \#(one.tag)"]"#
        let product = try one.catalog.read("products/tea.yml")
        try one.catalog.write("products/tea.yml", product.replacing("[cat, /said.txt]", with: command))
        let first = try one.kiln.start("build", ["build"])
        try await eventually("the smoke command runs") {
          try await one.docker.output(["ps", "--no-trunc", "--format", "{{.Command}}"]).contains(one.tag)
        }
        let second = try await two.kiln.run(["build"])
        #expect(second.status == 0, "\(second)")
        #expect(try await one.end(of: first) == 0, "\(one.log)")
        let builds: [BuildSummary] = try await one.kiln.json(["status", "--json"])
        let detail: BuildDetail = try await one.kiln.json(["status", try #require(builds.first).id.text, "--json"])
        #expect(detail.jobs.allSatisfy { $0.failures == 0 && $0.attempt == 1 }, "\(detail.jobs)")
      }
    }
  }

  @Test("a step that fails: exit code 1, the step, the end of its log, and where the rest is")
  func failingStep() async throws {
    let files =
      CatalogFolder.product("bad", fragments: ["water", "broken"])
      + CatalogFolder.fragment("broken", "RUN echo on the way && echo spilled the tea >&2 && exit 3\n")
    try await EmbeddedFolder.with(files) { folder in
      let told = try await folder.kiln.run(["build", "--output", "images"])
      #expect(told.status == 1, "\(told)")
      for text in ["broken@1.0.0 linux/amd64", "exited with 3", "RUN echo on the way", "spilled the tea"] {
        #expect(told.errors.contains(text), "\(told.errors)")
      }
      #expect(told.output.contains("cell   bad linux/amd64: blocked"), "\(told.output)")
      try await expectUnpublished(folder, log: "spilled the tea", told)
      // Asked for again, it is tried again; what stands below is not.
      let again = try await folder.kiln.run(["build"])
      #expect(again.status == 1 && folder.count("water") == 1, "\(again)")
    }
  }

  @Test("a smoke command that fails: exit code 1, what it said, and no image")
  func failingSmokeCommand() async throws {
    try await EmbeddedFolder.with(
      CatalogFolder.product("tea", fragments: ["water", "leaves"], expecting: "coffee")
    ) { folder in
      let told = try await folder.kiln.run(["build", "--output", "images", "--load"])
      #expect(told.status == 1, "\(told)")
      #expect(told.errors.contains("says") && told.errors.contains("coffee"), "\(told.errors)")
      #expect(told.output.contains("cell   tea linux/amd64: failed"), "\(told.output)")
      try await expectUnpublished(folder, log: "tea", told)
      let records: [StoredRecord] = try await folder.kiln.json(["records", "--json"])
      #expect(records.map(\.record.verdict) == [.failed])
    }
  }

  /// Nothing was delivered or tagged, and the log is where standard error says it is.
  private func expectUnpublished(_ folder: EmbeddedFolder, log text: String, _ told: KilnProgram.Result) async throws {
    #expect(!FileManager.default.fileExists(atPath: folder.catalog.root.appendingPathComponent("images").path))
    #expect(!told.output.contains("image  "))
    let builds: [BuildSummary] = try await folder.kiln.json(["status", "--json"])
    #expect(builds.map(\.state) == [.failed])
    let job = try #require(told.errors.firstMatch(of: /kiln logs ([0-9a-z]+)/)).1
    let log = try await folder.kiln.run(["logs", String(job)])
    #expect(log.status == 0 && log.output.contains(text), "\(log)")
  }
}
