import Foundation
import Model
import Registry
import TestSupport
import Testing

@testable import KilnExecutor

/// On a real engine.
@Suite struct RealDockerCellTesterTests {
  private func request(
    _ image: TestImage, _ host: TestHost, at location: ImageLocation? = nil, tests: [SmokeTest],
    withinSeconds: Double = 120
  ) throws -> CellTestRequest {
    CellTestRequest(
      job: JobID(text: UUID().uuidString.lowercased()), image: location ?? image.location,
      imageDigest: image.image.manifest.digest, platform: image.platform, tests: tests,
      attemptFolder: try host.attemptFolder(),
      deadline: SystemTime().monotonicSeconds() + withinSeconds)
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

  /// `sh` is its container's first process, to which the kernel passes on no signal but KILL.
  private static let deaf = SmokeTest(
    name: "deaf", command: ["sh", "-c", "echo begun; sleep 600; true"], timeoutSeconds: 300, expectedOutput: nil)

  @Test func aCancelledTestIsKilledAtOnce() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let tester = tester(host)
    let request = try request(try TestImage.base("linux/amd64"), host, tests: [Self.deaf])
    let since = "\(Date().timeIntervalSince1970)"
    let run = Task { try await tester.test(request, report: RecordingReport()) }
    let label = "label=\(EngineNames.label(tester.executor))"
    try await eventually("it runs") {
      try await !host.engine.docker.output(["ps", "--quiet", "--filter", label]).isEmpty
    }
    run.cancel()
    await #expect(throws: CancellationError.self) { try await run.value }
    #expect(try await host.engine.docker.output(["ps", "--all", "--quiet", "--filter", label]).isEmpty)
    let signals = try await host.engine.docker.output([
      "events", "--since", since, "--until", "\(Date().timeIntervalSince1970)", "--filter", "event=kill",
      "--filter", label, "--format", "{{.Actor.Attributes.signal}}",
    ])
    #expect(signals.split(separator: "\n") == ["9"], "nothing that would be waited for in vain")
  }

  @Test func aCellThatTakesTooLongDidNotFailItsTest() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let tester = tester(host)
    let request = try request(try TestImage.base("linux/amd64"), host, tests: [Self.deaf], withinSeconds: 4)
    let failure = try await #require(throws: Failure.self) {
      try await tester.test(request, report: RecordingReport())
    }
    #expect(failure.failureClass == .infrastructure)
    #expect(failure.code == "deadline")
    let late = try await #require(throws: Failure.self) {
      try await tester.describe(request, report: RecordingReport())
    }
    #expect(late.code == "deadline")
    let label = "label=\(EngineNames.label(tester.executor))"
    #expect(try await host.engine.docker.output(["ps", "--all", "--quiet", "--filter", label]).isEmpty)
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

  /// What docker said, what the engine has, and what it means: nil, that nothing is known of the test.
  @Test(arguments: [
    (Int32(0), "a", Int?.none, "", Bool?.some(true)),
    (0, "", 0, "a", true),
    (0, "", 0, "b", false),
    (0, "b", 0, "b", false),
    (0, "", nil, "", nil),
    (3, "a", nil, "", false),
    (125, "a", nil, "", nil),
    (125, "a", 0, "a", nil),
    (125, "a", 125, "a", false),
  ])
  func dockersWordIsNotTheContainers(
    _ code: Int32, _ output: String, _ engineCode: Int?, _ log: String, _ passed: Bool?
  ) throws {
    let test = SmokeTest(name: "t", command: ["x"], timeoutSeconds: 1, expectedOutput: "a")
    let end = Program.Result(ending: .exited(code), output: Array(output.utf8), errors: [])
    let account = engineCode.map { DockerCellTester.Account(exitCode: $0, output: Array(log.utf8)) }
    do {
      #expect(try DockerCellTester.result(test, end, account, seconds: 1).passed == passed)
    } catch let failure as Failure {
      #expect(passed == nil && failure.failureClass == .infrastructure && failure.code == "container-lost")
    }
  }

  /// The engine may have lost it; what says something else than was expected was heard.
  @Test func whatIsNotHeardIsAskedAgain() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let tester = tester(host)
    let report = RecordingReport()
    let tests = [
      SmokeTest(name: "silent", command: ["true"], timeoutSeconds: 30, expectedOutput: "a"),
      SmokeTest(name: "other", command: ["echo", "b"], timeoutSeconds: 30, expectedOutput: "a"),
      SmokeTest(name: "aside", command: ["sh", "-c", "echo a >&2"], timeoutSeconds: 30, expectedOutput: "a"),
      SmokeTest(name: "content", command: ["true"], timeoutSeconds: 30, expectedOutput: nil),
      SmokeTest(name: "failed", command: ["false"], timeoutSeconds: 30, expectedOutput: "a"),
    ]
    let since = "\(Date().timeIntervalSince1970)"
    let results = try await tester.test(
      try request(try TestImage.base("linux/amd64"), host, tests: tests), report: report)
    #expect(results.map(\.passed) == [false, false, false, true, false], "\(results)")
    let started = try await host.engine.docker.output([
      "events", "--since", since, "--until", "\(Date().timeIntervalSince1970)", "--filter", "event=start",
      "--filter", "label=\(EngineNames.label(tester.executor))", "--format", "{{.Actor.Attributes.name}}",
    ])
    let names = started.split(separator: "\n").map { $0.suffix(2) }
    #expect(names == ["-0", "-0", "-0", "-1", "-2", "-3", "-4"])
    #expect(await report.text.components(separatedBy: "silent: nothing was heard").count == 3)
  }

  /// 125 is docker's word for its own faults, and a program may say it, too.
  @Test func aContainerMayEndAsDockerDoes() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let tests = [
      SmokeTest(name: "t", command: ["sh", "-c", "echo no; exit 125"], timeoutSeconds: 30, expectedOutput: nil)
    ]
    let request = try request(try TestImage.base("linux/amd64"), host, tests: tests)
    let results = try await tester(host).test(request, report: RecordingReport())
    #expect(results.map(\.exitCode) == [125] && results.map(\.passed) == [false] && results[0].outputTail == "no\n")
  }
}
