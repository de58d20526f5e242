import Foundation
import Model
import Registry
import TestSupport
import Testing

@testable import KilnExecutor

/// On a real engine.
@Suite struct RealDockerCellTesterTests {
  private func request(
    _ image: TestImage, _ host: TestHost, at location: ImageLocation? = nil, tests: [SmokeTest]
  ) throws -> CellTestRequest {
    CellTestRequest(
      job: JobID(text: UUID().uuidString.lowercased()), image: location ?? image.location,
      imageDigest: image.image.manifest.digest, platform: image.platform, tests: tests,
      attemptFolder: try host.attemptFolder(),
      deadlineSeconds: 120)
  }

  private func tester(_ host: TestHost) -> DockerCellTester {
    var settings = DockerCellTester.Settings()
    settings.syft = try? Services.require("KILN_TEST_SYFT")
    return DockerCellTester(
      engine: host.engine, executor: ExecutorName(text: "t\(UInt32.random(in: 0...UInt32.max))"), settings: settings,
      time: SystemTime())
  }

  @Test(arguments: [("linux/amd64", "x86_64"), ("linux/arm64", "aarch64")])
  func runsEveryTestAndTellsThemApart(_ platform: String, _ machine: String) async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let base = try TestImage.base(platform)
    let tester = tester(host)
    let report = RecordingReport()
    let tests = [
      SmokeTest(name: "machine", command: ["uname", "-m"], timeoutSeconds: 30, expectedOutput: machine),
      SmokeTest(name: "exit", command: ["sh", "-c", "echo no; exit 3"], timeoutSeconds: 30, expectedOutput: nil),
      SmokeTest(name: "output", command: ["echo", "a"], timeoutSeconds: 30, expectedOutput: "b"),
      SmokeTest(name: "late", command: ["sleep", "60"], timeoutSeconds: 2, expectedOutput: nil),
      SmokeTest(name: "absent", command: ["/no/such"], timeoutSeconds: 30, expectedOutput: nil),
      SmokeTest(
        name: "offline", command: ["ping", "-c", "1", "-W", "1", "127.0.0.2"], timeoutSeconds: 30, expectedOutput: nil),
    ]
    let request = try request(base, host, tests: tests)
    let results = try await tester.test(request, report: report)
    #expect(results.map(\.passed) == [true, false, false, false, false, true], "\(results)")
    #expect(results.map(\.exitCode) == [0, 3, 0, nil, 127, 0], "\(results)")
    #expect(results[1].outputTail == "no\n")
    #expect(results[3].seconds < 20)
    #expect(await report.text.contains("test exit: FAILED"))
    let left = try await host.engine.docker.output([
      "ps", "--all", "--quiet", "--filter", "label=\(EngineNames.label(tester.executor))",
    ])
    #expect(left.isEmpty)
    let images = try await host.engine.docker.output(["images", "--format", "{{.Repository}}"])
    #expect(!images.contains("\(EngineNames.imagePrefix)/\(tester.executor)"))
  }

  @Test func takesImagesFromARegistry() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let base = try TestImage.base("linux/amd64")
    let pushed = try await TestRegistry.push(base)
    let request = try request(
      base, host, at: pushed,
      tests: [SmokeTest(name: "t", command: ["true"], timeoutSeconds: 30, expectedOutput: nil)])
    #expect(try await tester(host).test(request, report: RecordingReport()).map(\.passed) == [true])
  }

  @Test func describesTheSameImageInTheSameWords() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let base = try TestImage.base("linux/amd64")
    var described: [Data] = []
    for _ in 0..<2 {
      let file = try await tester(host).describe(try request(base, host, tests: []), report: RecordingReport())
      described.append(try Data(contentsOf: try present(file)))
    }
    #expect(described[0] == described[1])
    let document = try JSONValue.parse(described[0], what: "SBOM")
    #expect(document["spdxVersion"]?.string == "SPDX-2.3")
    #expect(document["documentNamespace"]?.string == "urn:kiln:sbom:\(base.image.manifest.digest)")
  }

  @Test func dockersOwnFaultIsNoFailedTest() {
    let test = SmokeTest(name: "t", command: ["x"], timeoutSeconds: 1, expectedOutput: nil)
    let end = Program.Result(ending: .exited(125), output: [], errors: Array("docker: Cannot connect".utf8))
    let failure = #expect(throws: Failure.self) { _ = try DockerCellTester.result(test, end, seconds: 1) }
    #expect(failure?.failureClass == .infrastructure)
  }
}
