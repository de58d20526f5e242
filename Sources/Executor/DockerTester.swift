package import Foundation
package import Model
import Registry

/// Tries a finished image in containers of the engine, and has syft say what is in it.
package struct DockerTester: CellTester {
  let engine: Engine
  let executor: ExecutorName
  /// The syft program; nil: no SBOM is made.
  let syft: String?
  let time: any TimeSource

  package init(engine: Engine, executor: ExecutorName, syft: String?, time: any TimeSource) {
    self.engine = engine
    self.executor = executor
    self.syft = syft
    self.time = time
  }

  static let maxOutputBytes = 64 << 10
  static let memoryLimit = "2g"
  static let processLimit = 512

  package func test(_ request: CellTestRequest, report: any BuildReport) async throws -> [TestResult] {
    guard !request.tests.isEmpty else { return [] }
    let image = try await bring(request)
    var results: [TestResult] = []
    do {
      for (index, test) in request.tests.enumerated() {
        let result = try await run(test, number: index, image: image, request)
        await report.log(
          Array("test \(test.name): \(result.passed ? "passed" : "failed") (\(result.exitCode.map { "exit code \($0)" } ?? "no end"))\n\(result.outputTail)\n".utf8))
        results.append(result)
      }
    } catch {
      await remove(image)
      throw error
    }
    await remove(image)
    return results
  }

  /// The image's name in the engine.
  private func bring(_ request: CellTestRequest) async throws -> String {
    switch request.image {
    case .registry(let reference):
      _ = try await engine.docker.output(
        ["pull", "--quiet", "--platform", request.platform.description, reference],
        deadlineSeconds: request.deadlineSeconds)
      return reference
    case .layout:
      let name = "kiln-test-\(executor)-\(request.job):\(request.imageDigest.short)"
      let archive = try await archive(request, name: name)
      try await engine.load(archive, deadlineSeconds: request.deadlineSeconds)
      return name
    }
  }

  private func archive(_ request: CellTestRequest, name: String) async throws -> URL {
    guard case .layout(let directory, let digest) = request.image else {
      throw Failure(.input, code: "no-layout", "only an image in a layout becomes an archive")
    }
    let file = request.attemptFolder.appendingPathComponent("image.tar")
    if !FileManager.default.fileExists(atPath: file.path) {
      try await OCIArchive.write(
        digest, from: try OCILayoutStore(directory: directory), repository: "", names: [name], to: file)
    }
    return file
  }

  private func remove(_ image: String) async {
    // Also when the attempt was cancelled: what is left would be swept at the next start.
    _ = try? await engine.docker.run(["image", "rm", "--force", image])
  }

  private func run(_ test: SmokeTest, number: Int, image: String, _ request: CellTestRequest) async throws -> TestResult {
    let container = "kiln-\(executor)-\(request.job)-\(number)"
    guard let program = test.command.first else {
      throw Failure(.input, code: "no-command", "test '\(test.name)' has no command")
    }
    var arguments = [
      "run", "--rm", "--name", container, "--platform", request.platform.description, "--pull", "never",
      "--network", "none", "--memory", Self.memoryLimit, "--pids-limit", "\(Self.processLimit)",
      "--security-opt", "no-new-privileges", "--entrypoint", program,
    ]
    if let accelerator = request.accelerator { arguments += ["--gpus", accelerator.count.map { "\($0)" } ?? "all"] }
    arguments.append(image)
    arguments += test.command.dropFirst()
    let started = time.monotonicSeconds()
    let result: Program.Result
    do {
      result = try await engine.docker.run(arguments, deadlineSeconds: Double(test.timeoutSeconds))
    } catch {
      _ = try? await engine.docker.run(["rm", "--force", container])
      throw error
    }
    let output = result.output.suffix(Self.maxOutputBytes) + result.errors.suffix(Self.maxOutputBytes)
    var exitCode: Int?
    if case .exited(let code) = result.ending { exitCode = Int(code) }
    // 125: the engine could not run it at all, which says nothing about the image.
    if exitCode == 125 {
      throw Failure(.infrastructure, code: "engine-error", "test '\(test.name)' could not be run: \(result.errorText)")
    }
    if exitCode == nil { _ = try? await engine.docker.run(["rm", "--force", container]) }
    let said = test.expectedOutput.map { result.outputText.contains($0) } ?? true
    var tail = String(decoding: output.suffix(8192), as: UTF8.self)
    if !said, let expected = test.expectedOutput { tail += "\n(expected in the output: \(expected))" }
    return TestResult(
      name: test.name, passed: exitCode == 0 && said, exitCode: exitCode, seconds: time.monotonicSeconds() - started,
      outputTail: tail)
  }

  // MARK: SBOM

  package func describe(_ request: CellTestRequest, report: any BuildReport) async throws -> URL? {
    guard let syft else { return nil }
    let file = request.attemptFolder.appendingPathComponent("sbom.spdx.json")
    var environment = [
      "SYFT_CHECK_FOR_APP_UPDATE": "false", "HOME": request.attemptFolder.path, "TMPDIR": request.attemptFolder.path,
    ]
    environment["PATH"] = ProcessInfo.processInfo.environment["PATH"]
    let source: String
    switch request.image {
    case .registry(let reference):
      source = "registry:\(reference)"
      // Only a registry on this machine may speak plainly.
      if reference.hasPrefix("127.") || reference.hasPrefix("localhost") {
        environment["SYFT_REGISTRY_INSECURE_USE_HTTP"] = "true"
      }
    case .layout:
      source = "oci-archive:\(try await archive(request, name: "kiln-test:\(request.imageDigest.short)").path)"
    }
    let program = Program(
      syft,
      ["scan", source, "--platform", request.platform.description, "--quiet", "--output", "spdx-json=\(file.path)"],
      environment: environment, deadlineSeconds: request.deadlineSeconds)
    let result = try await program.run(time: time)
    guard result.succeeded else {
      throw Failure(.infrastructure, code: "sbom-failed", "syft could not describe the image: \(result.errorText)")
    }
    return file
  }
}

extension Engine {
  /// Loads an image archive.
  package func load(_ archive: URL, deadlineSeconds: Double = 600) async throws {
    _ = try await docker.output(["load", "--quiet", "--input", archive.path], deadlineSeconds: deadlineSeconds)
  }
}
