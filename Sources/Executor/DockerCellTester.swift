package import Foundation
package import Model
import Registry

/// Tries finished images in containers of one engine, and describes them with syft.
package struct DockerCellTester: CellTester {
  package struct Settings: Sendable {
    package var memoryLimit = "2g"
    package var maxProcesses = 1024
    /// A name on `PATH` or an absolute path; nil to make no SBOMs.
    package var syft: String? = "syft"
    package init() {}
  }

  /// Of a test's output, what its result keeps.
  static let maxOutputTailBytes = 8 << 10
  /// How often a program is run that ended well and of which the engine has no word.
  static let maxRuns = 3

  package let engine: Engine
  package let executor: ExecutorName
  package let settings: Settings
  package let time: any TimeSource

  package init(engine: Engine, executor: ExecutorName, settings: Settings = Settings(), time: any TimeSource) {
    self.engine = engine
    self.executor = executor
    self.settings = settings
    self.time = time
  }

  package func test(_ request: CellTestRequest, report: any BuildReport) async throws -> [TestResult] {
    guard !request.tests.isEmpty else { return [] }
    let name = EngineNames.image(executor, request.job)
    return try await withCleanup {
      try await bring(request, as: name)
      var results: [TestResult] = []
      for (index, test) in request.tests.enumerated() {
        var result: TestResult
        var isUnheard: Bool
        var runs = 0
        repeat {
          if runs > 0 { await report.log(Array("test \(test.name): nothing was heard of it; once more\n".utf8)) }
          runs += 1
          (result, isUnheard) = try await run(test, number: index, of: request, image: name)
        } while isUnheard && runs < Self.maxRuns
        results.append(result)
        let verdict = result.passed ? "passed" : "FAILED"
        await report.log(Array("test \(test.name): \(verdict) in \(String(format: "%.1f", result.seconds))s\n".utf8))
        if !result.passed { await report.log(Array((result.outputTail + "\n").utf8)) }
        await report.step(StepTiming(name: "test \(test.name)", seconds: result.seconds, cached: false))
      }
      return results
    } cleanup: {
      _ = try? await engine.docker.run(["image", "rm", "--force", name])
    }
  }

  // MARK: The image

  /// Brings the image into the engine under a name that only this job has.
  private func bring(_ request: CellTestRequest, as name: String) async throws {
    switch request.image {
    case .registry(let reference):
      // The reference by digest is everybody's: another cell that tests the same image may take it away
      // between our pull and our tag.
      for attempt in 1...3 {
        _ = try await engine.docker.output(
          ["pull", "--quiet", "--platform", "\(request.platform)", reference],
          deadlineSeconds: request.secondsLeft(time))
        let tagged = try await engine.docker.run(["tag", reference, name])
        _ = try? await engine.docker.run(["image", "rm", reference])
        if tagged.succeeded { return }
        if attempt == 3 { throw Failure(.infrastructure, code: "engine-error", "docker tag: \(tagged.errorText)") }
      }
    case .layout(let directory, let digest):
      let archive = request.attemptFolder.appendingPathComponent("image.tar")
      defer { try? FileManager.default.removeItem(at: archive) }
      try await OCIArchive.write(
        digest, from: try OCILayoutStore(directory: directory), repository: "", names: [name], to: archive)
      _ = try await engine.docker.output(
        ["load", "--quiet", "--input", archive.path], deadlineSeconds: request.secondsLeft(time))
    }
  }

  // MARK: One test

  private func run(
    _ test: SmokeTest, number: Int, of request: CellTestRequest, image: String
  ) async throws -> (TestResult, isUnheard: Bool) {
    guard let program = test.command.first else {
      throw Failure(.input, code: "test-without-command", "test '\(test.name)' has no command")
    }
    let container = EngineNames.container(executor, request.job, number)
    var arguments = [
      "run", "--name", container, "--label", EngineNames.label(executor), "--platform", "\(request.platform)",
      "--pull", "never", "--network", "none", "--memory", settings.memoryLimit,
      "--pids-limit", "\(settings.maxProcesses)",
      "--log-driver", "local", "--log-opt", "max-size=1m", "--log-opt", "max-file=1", "--log-opt", "compress=false",
    ]
    if let accelerator = request.accelerator { arguments += ["--gpus", accelerator.count.map { "\($0)" } ?? "all"] }
    arguments += ["--entrypoint", program, image] + test.command.dropFirst()
    let start = time.monotonicSeconds()
    let left = try request.secondsLeft(time)
    var command = engine.docker.program(arguments, deadlineSeconds: min(Double(test.timeoutSeconds), left))
    // docker would pass the signal on and wait; first processes ignore it, and the container is ended below.
    command.graceSeconds = 0
    return try await withCleanup {
      let end = try await command.run(time: time)
      if end.ending == .stopped(.deadline), left <= Double(test.timeoutSeconds) { throw request.late }
      let seconds = time.monotonicSeconds() - start
      let account = Self.isDoubtful(test, end) ? await account(of: container) : nil
      return (try Self.result(test, end, account, seconds: seconds), Self.isUnheard(end, account))
    } cleanup: {
      // A container outlives its client.
      _ = try? await engine.docker.run(["rm", "--force", "--volumes", container])
    }
  }

  /// What the engine itself has of a container.
  struct Account: Sendable {
    /// Nil: it has not run to its end.
    var exitCode: Int?
    var output: [UInt8]
  }

  /// Nil where the engine does not tell.
  private func account(of container: String) async -> Account? {
    let format = "{{.State.Status}} {{.State.ExitCode}}"
    guard let state = try? await engine.docker.run(["inspect", "--format", format, container]), state.succeeded,
      let logs = try? await engine.docker.run(["logs", container]), logs.succeeded
    else { return nil }
    let words = state.outputText.split(whereSeparator: \.isWhitespace)
    return Account(exitCode: words.first == "exited" ? words.last.flatMap { Int($0) } : nil, output: logs.output)
  }

  /// What docker says of a container need not be the container's word: 125 is also docker's own, and where its
  /// connection to the engine is slow or breaks, it loses output.
  static func isDoubtful(_ test: SmokeTest, _ end: Program.Result) -> Bool {
    end.ending == .exited(125)
      || end.ending == .exited(0) && test.expectedOutput.map { !end.outputText.contains($0) } ?? false
  }

  /// Of a program that ends at once, the engine itself may lose all that it says.
  static func isUnheard(_ end: Program.Result, _ account: Account?) -> Bool {
    end.ending == .exited(0) && account?.exitCode == 0 && (end.output + end.errors + (account?.output ?? [])).isEmpty
  }

  /// What a container's end means for its test; `account` where the end is doubtful. Pure.
  static func result(_ test: SmokeTest, _ end: Program.Result, _ account: Account?, seconds: Double) throws
    -> TestResult
  {
    var said = end.output + end.errors
    var exitCode: Int?
    var passed = false
    switch end.ending {
    case .exited(let code) where isDoubtful(test, end) && account?.exitCode != Int(code):
      throw Failure(.infrastructure, code: "container-lost", "test '\(test.name)': \(end.errorText)")
    case .exited(let code):
      exitCode = Int(code)
      passed = code == 0
      if let account, passed, let expected = test.expectedOutput {
        said = account.output + end.errors
        passed = String(decoding: account.output, as: UTF8.self).contains(expected)
        if !passed { said += Array("\n[standard output does not contain '\(expected)']".utf8) }
      }
    case .signalled(let signal):
      throw Failure(
        .infrastructure, code: "container-lost", "test '\(test.name)': docker was ended by signal \(signal)")
    case .stopped:
      said += Array("\n[not done within \(test.timeoutSeconds) s]".utf8)
    }
    return TestResult(
      name: test.name, passed: passed, exitCode: exitCode, seconds: seconds,
      outputTail: String(decoding: said.suffix(maxOutputTailBytes), as: UTF8.self))
  }

  // MARK: The SBOM

  package func describe(_ request: CellTestRequest, report: any BuildReport) async throws -> URL? {
    guard let syft = settings.syft else { return nil }
    let start = time.monotonicSeconds()
    let file = try await SBOM(syft: syft, environment: engine.docker.environment, time: time).describe(request)
    await report.step(StepTiming(name: "sbom", seconds: time.monotonicSeconds() - start, cached: false))
    return file
  }

  /// `cleanup` runs also after an error or a cancellation, to its end.
  private func withCleanup<Value: Sendable>(
    _ body: () async throws -> Value, cleanup: @escaping @Sendable () async -> Void
  ) async throws -> Value {
    let result: Result<Value, any Error>
    do { result = .success(try await body()) } catch { result = .failure(error) }
    // A child program of a cancelled task would be ended at once; this one must not be.
    await Task { await cleanup() }.value
    return try result.get()
  }
}

/// What an executor calls its things in an engine, so that it finds them again, and only them.
enum EngineNames {
  static let labelKey = "kiln.executor"
  static let imagePrefix = "kiln-test"

  static func label(_ executor: ExecutorName) -> String { "\(labelKey)=\(executor)" }

  static func container(_ executor: ExecutorName, _ job: JobID, _ number: Int) -> String {
    "kiln-\(executor)-\(safe(job))-\(number)"
  }

  static func image(_ executor: ExecutorName, _ job: JobID) -> String { "\(imagePrefix)/\(executor):\(safe(job))" }

  private static func safe(_ job: JobID) -> String {
    String(job.text.prefix(100).map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
  }
}
