import Foundation
import Model
import RecordStore
import TestSupport
import Testing

/// The sample's real stack: apt, pip, a server that answers. On real engines, and through the network.
@Suite("Serving", .serialized, .timeLimit(.minutes(20)))
struct RealServingTests {
  static let (engineA, engineB) = ("KILN_TEST_ENGINE_A", "KILN_TEST_ENGINE_B")

  @Test("it is built and answers; pairs pass, conflict and fail as planned; CUDA stands on the CPU's layers")
  func amd64() async throws {
    try await ServingFolder.with("linux/amd64") { folder in
      let first = try await folder.build(Self.engineA, ["serving", "hello", "--load"])
      #expect(first.summary.state == .passed)
      try await expectAnswers(folder)
      try await expectPairs(folder)
      try await expectCUDA(folder, first)
    }
  }

  /// `make soak`, as what follows: the second engine has seen nothing of it.
  static func sameOnTwoEngines() async throws {
    try await ServingFolder.with("linux/amd64") { folder in
      let first = try await folder.build(engineA, ["serving", "hello"])
      try RealServingTests().expectEqual(first, try await folder.build(engineB, ["serving", "hello"]))
    }
  }

  /// Wherever there is time for emulation.
  static func answersEmulated() async throws {
    try await ServingFolder.with("linux/arm64") { folder in
      let build = try await folder.build(engineA, ["serving", "--load"])
      #expect(build.summary.state == .passed)
      try await RealServingTests().expectAnswers(folder)
    }
  }

  /// From outside: docker starts it, curl asks it.
  private func expectAnswers(_ folder: ServingFolder) async throws {
    let docker = try folder.docker()
    let name = "kiln-serving-\(UUID().uuidString)"
    let port = try unusedPort()
    try await docker.run([
      "run", "--detach", "--rm", "--name", name, "--pull", "never", "--network", "host", "--platform", folder.platform,
      "--env", "PORT=\(port)", "samples/serving:1.0.0",
    ])
    do {
      let curl = OutsideTool("curl")
      try await eventually("the server answers", seconds: 120) {
        (try? await curl.output(["--silent", "--fail", "http://127.0.0.1:\(port)/health"]))?.contains("\"ok\"") ?? false
      }
      let request = #"{"prompt": "the clay", "max_tokens": 6, "seed": 1}"#
      let address = "http://127.0.0.1:\(port)/v1/completions"
      let answers = [
        try await curl.output(["--silent", "--fail", "--data", request, address]),
        try await curl.output(["--silent", "--fail", "--data", request, address]),
      ]
      #expect(answers[0].contains("text_completion") && answers[0] == answers[1], "\(answers)")
    } catch {
      try? await docker.run(["rm", "--force", name])
      throw error
    }
    try await docker.run(["rm", "--force", name])
    try await docker.run(["image", "rm", "--force", "samples/serving:1.0.0"])
  }

  /// Every fragment of the samples has the same digest on two engines.
  private func expectEqual(_ first: BuildDetail, _ second: BuildDetail) throws {
    #expect(first.layers.count == second.layers.count && first.layers.allSatisfy { !$0.reused })
    for layer in first.layers {
      let other = try #require(second.layers.first { $0.key == layer.key })
      #expect(layer.image == other.image && layer.image != nil, "not reproducible: \(layer.title)")
    }
  }

  private func expectPairs(_ folder: ServingFolder) async throws {
    let plan = try await folder.kiln(Self.engineA).run(["plan", "--plan", "serving-pairs"])
    #expect(plan.output.contains("[core=2.1.0,light=2.0.0] linux/amd64: light@2.0.0 conflicts with core@2.1.0"))
    let build = try await folder.build(Self.engineA, ["--plan", "serving-pairs"], status: 1)
    let cells = Dictionary(uniqueKeysWithValues: build.cells.map { ($0.variant, $0) })
    #expect(
      cells.mapValues(\.state) == [
        "core=2.0.0,light=2.0.0": .passed, "core=2.0.0,light=2.1.0": .failed, "core=2.1.0,light=2.1.0": .reused,
      ])
    let failed = build.jobs.first { $0.id == cells["core=2.0.0,light=2.1.0"]?.job }
    #expect(failed?.failure?.failureClass == .test && failed?.state == .dead)
    #expect(failed?.failure?.message.contains("light.sampling") == true, "\(String(describing: failed))")
    let said = failed?.failure.map { $0.message + ($0.logTail ?? "") } ?? ""
    #expect(said.contains("module 'numpy' has no attribute 'vecdot'"), "\(said)")
  }

  /// Without a GPU its layers are built, on the CPU product's lower ones; only its tests must wait.
  private func expectCUDA(_ folder: ServingFolder, _ cpu: BuildDetail) async throws {
    let build = try await folder.build(Self.engineA, ["serving-cuda", "--until", "core", "--load"])
    #expect(build.summary.state == .passed)
    let shared = build.layers.filter { layer in cpu.layers.contains { $0.key == layer.key } }
    #expect(shared.map(\.title).contains("security@2.0.0") && shared.allSatisfy { $0.reused })
    let core = try #require(build.layers.first { $0.title == "core@2.1.0-cuda" })
    let cpuSecurity = try #require(cpu.layers.first { $0.title == "security@2.0.0" })
    let blobs = try layers(of: try #require(core.image), folder)
    let below = try layers(of: try #require(cpuSecurity.image), folder)
    #expect(!below.isEmpty && blobs.count > below.count && Array(blobs.prefix(below.count)) == below)
    let refused = try await folder.kiln(Self.engineA).run(["build", "serving-cuda"] + ServingFolder.outside)
    #expect(refused.status == 1 || refused.status == 2)
    #expect(refused.errors.contains("no pool builds linux/amd64 with nvidia, driver 525.60"), "\(refused)")
  }

  /// The digests of an image's blobs, read from the layout itself.
  private func layers(of image: Digest, _ folder: ServingFolder) throws -> [String] {
    struct Fields: Decodable {
      struct Blob: Decodable { var digest: String }
      var layers: [Blob]
    }
    let file = folder.root.appendingPathComponent("\(Self.engineA)/images/blobs/sha256/\(image.hex)")
    return try JSONDecoder().decode(Fields.self, from: Data(contentsOf: file)).layers.map(\.digest)
  }
}

@Suite("Soak: serving", .timeLimit(.minutes(60)))
struct SoakServingTests {
  @Test("every fragment of the samples comes out the same on another engine")
  func sameOnTwoEngines() async throws { try await RealServingTests.sameOnTwoEngines() }

  @Test("it is built and answers where every step is emulated")
  func emulated() async throws { try await RealServingTests.answersEmulated() }
}
