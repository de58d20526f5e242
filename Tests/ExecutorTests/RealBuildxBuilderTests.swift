import Foundation
import Model
import Registry
import TestSupport
import Testing

@testable import KilnExecutor

/// On real engines.
@Suite struct RealBuildxBuilderTests {
  @Test(arguments: ["linux/amd64", "linux/arm64"]) func buildsAChain(_ platform: String) async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let base = try TestImage.base(platform)
    let report = RecordingReport()
    // New each time: what is in the engine's cache prints nothing.
    let greeting = UUID().uuidString
    let first = try await host.build(
      "FROM kiln-parent\nARG GREETING\nARG SOURCE_DATE_EPOCH\nCOPY a.txt /a.txt\nRUN echo $GREETING $(cat /a.txt) | tee /b.txt\n",
      on: base, context: [TarArchive.Entry(path: "a.txt", content: .file(Data("world".utf8), executable: false))],
      arguments: ["GREETING": greeting], report: report)
    #expect(await report.text.contains("\(greeting) world\n"))
    #expect(await report.steps.contains { $0.name.contains("COPY a.txt") })
    #expect(first.newBlobs.count == 2)

    let middle = try base.adding(first, in: host.folder)
    let second = try await host.build("FROM kiln-parent\nENV A=b\nRUN cat /b.txt > /c.txt\n", on: middle)
    let top = try middle.adding(second, in: host.folder)
    #expect(second.newBlobs.count == 1)
    // The parent's blobs are kept exactly, all the way down.
    #expect(try Array(top.blobs.prefix(1)) == base.blobs)
    #expect(try Array(top.blobs.prefix(3)) == middle.blobs)
    #expect(try top.parsed.blobs.count == 4)
  }

  @Test func anEmptyLayerAddsNoBlobs() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let base = try TestImage.base("linux/amd64")
    let built = try await host.build("FROM kiln-parent\nENV A=b\nLABEL c=d\n", on: base)
    #expect(built.newBlobs.isEmpty)
    #expect(try base.adding(built, in: host.folder).blobs == base.blobs)
  }

  @Test func twoEnginesGiveOneDigest() async throws {
    let dockerfile = """
      FROM kiln-parent
      ARG SOURCE_DATE_EPOCH
      # \(UUID().uuidString)
      RUN mkdir -p /x/y && echo content > /x/y/z && ln -s z /x/y/l && touch /x/now
      """
    let base = try TestImage.base("linux/amd64")
    var digests: [Digest] = []
    for engine in ["KILN_TEST_ENGINE_A", "KILN_TEST_ENGINE_B"] {
      let host = try await TestHost(engine)
      defer { host.remove() }
      digests.append(try await host.build(dockerfile, on: base).manifest.digest)
    }
    #expect(digests[0] == digests[1])
  }

  @Test func aParentOfAnotherPlatformIsRefused() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let arm = try TestImage.base("linux/arm64")
    let claimed = TestImage(
      layout: arm.layout, platform: try present(Platform("linux/amd64")), manifest: arm.image.manifest,
      config: arm.image.config)
    let failure = await failure { _ = try await host.build("FROM kiln-parent\nRUN true\n", on: claimed) }
    #expect(failure?.failureClass == .input)
    #expect(failure?.code == "platform-mismatch")
  }

  @Test func aFailedStepIsABuildFailure() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let failure = await failure {
      _ = try await host.build("FROM kiln-parent\nRUN echo oops; exit 9\n", on: try TestImage.base("linux/amd64"))
    }
    #expect(failure?.failureClass == .build)
    #expect(failure?.exitCode == 9)
    #expect(failure?.logTail == "oops\n")
  }

  @Test func deadlineAndSilenceEndABuild() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let base = try TestImage.base("linux/amd64")
    let late = await failure {
      _ = try await host.build(
        "FROM kiln-parent\nRUN while true; do echo \(UUID()); sleep 0.2; done\n", on: base, deadlineSeconds: 3)
    }
    #expect(late?.code == "deadline")
    let silent = await failure {
      _ = try await host.build("FROM kiln-parent\nRUN echo \(UUID()); sleep 60\n", on: base, noOutputSeconds: 12)
    }
    #expect(silent?.code == "no-output")
    #expect(silent?.failureClass == .build, "\(String(describing: silent))")
  }

  @Test func cancellationEndsTheStepItself() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let base = try TestImage.base("linux/amd64")
    let marker = "4\(UInt32.random(in: 100_000...999_999))"
    let task = Task { try await host.build("FROM kiln-parent\nRUN sleep \(marker)\n", on: base) }
    while !Processes.running(argument: marker) { try await Task.sleep(for: .milliseconds(50)) }
    task.cancel()
    await #expect(throws: CancellationError.self) { _ = try await task.value }
    let end = ContinuousClock.now + .seconds(5)
    while Processes.running(argument: marker), ContinuousClock.now < end {
      try await Task.sleep(for: .milliseconds(50))
    }
    #expect(!Processes.running(argument: marker))
  }

  @Test func aSecretIsSeenAndNotKept() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let file = host.folder.appendingPathComponent("to, ken")
    try Data("hush".utf8).write(to: file)
    let built = try await host.build(
      "FROM kiln-parent\nRUN --mount=type=secret,id=token,required=true wc -c < /run/secrets/token > /n\n",
      on: try TestImage.base("linux/amd64"), secrets: ["token": file])
    #expect(built.newBlobs.count == 1)
    #expect(!String(decoding: built.config, as: UTF8.self).contains("hush"))
  }

  @Test func damagedExportsAreMadeAgain() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let base = try TestImage.base("linux/amd64")
    let dockerfile = "FROM kiln-parent\nRUN echo \(UUID()) > /x\n"
    let good = try await host.build(dockerfile, on: base)
    let blob = try present(good.newBlobs.first).blob
    let stored = host.builder.layout.folder.appendingPathComponent("blobs/sha256/\(blob.digest.hex)")
    try FileManager.default.removeItem(at: stored)
    try Data("cut".utf8).write(to: stored)
    let again = try await host.build(dockerfile, on: base)
    #expect(again.manifest == good.manifest)
    #expect(try Data(contentsOf: try present(again.newBlobs.first).file).count == Int(blob.sizeBytes))
  }

  /// A snapshot vanishes from the engine's disk behind its back.
  @Test func aDamagedCacheIsPrunedAndDoneWithout() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let base = try TestImage.base("linux/amd64")
    let word = UUID().uuidString
    let step = "FROM kiln-parent\nRUN echo \(word) > /word-\(word)\n"
    let good = try await host.build(step, on: base)
    let files = FileManager.default
    func children(_ folder: URL) -> [URL] {
      (try? files.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
    }
    let data = URL(fileURLWithPath: try Services.require("KILN_TEST_ENGINE_A_DATA"))
    let lost = children(data.appendingPathComponent("containerd/daemon"))
      .flatMap { children($0.appendingPathComponent("snapshots")) }
      .filter { snapshot in
        ["fs/word-\(word)", "word-\(word)"].contains {
          files.fileExists(atPath: snapshot.appendingPathComponent($0).path)
        }
      }
    #expect(!lost.isEmpty)
    for snapshot in lost { try FileManager.default.removeItem(at: snapshot) }
    let report = RecordingReport()
    let more = try await host.build(step + "RUN cat /word-\(word)\n", on: base, report: report)
    #expect(more.manifest != good.manifest)
    let said = await report.text
    #expect(said.contains("pruning the cache"), "\(said)")
  }

  private func failure(_ body: () async throws -> Void) async -> Failure? {
    do {
      try await body()
      return nil
    } catch {
      return error as? Failure
    }
  }
}

/// The machine's processes, containers' included.
enum Processes {
  static func running(argument: String) -> Bool {
    let folders = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return folders.contains { folder in
      guard Int(folder) != nil, let line = FileManager.default.contents(atPath: "/proc/\(folder)/cmdline") else {
        return false
      }
      let words = line.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
      return words.first == "sleep" && words.dropFirst().contains(argument)
    }
  }
}

@Suite struct RealParentInARegistryTests {
  @Test(arguments: ["linux/amd64", "linux/arm64"]) func givesTheSameImageAsAParentInALayout(_ platform: String)
    async throws
  {
    let host = try await TestHost()
    defer { host.remove() }
    let base = try TestImage.base(platform)
    let pushed = try await TestRegistry.push(base)
    let dockerfile = "FROM kiln-parent\nRUN echo \(UUID()) > /x\nENV A=b\n"
    let fromRegistry = try await host.build(dockerfile, on: base, at: pushed)
    let fromLayout = try await host.build(dockerfile, on: base)
    #expect(fromRegistry.manifest == fromLayout.manifest)
    #expect(fromRegistry.config == fromLayout.config)
    #expect(fromRegistry.newBlobs.map(\.blob) == fromLayout.newBlobs.map(\.blob))
  }

  @Test func aLostParentIsSaidToBeLost() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let base = try TestImage.base("linux/amd64")
    // An image that neither the registry nor the engine has.
    let built = try await host.build("FROM kiln-parent\nENV A=\(UUID())\n", on: base)
    let lost = TestImage(
      layout: base.layout, platform: base.platform, manifest: built.manifest, config: built.config)
    let pushed = try await TestRegistry.push(base)
    guard case .registry(let reference) = pushed else { throw Missing() }
    let repository = reference.prefix { $0 != "@" }
    for location in [lost.location, .registry("\(repository)@\(built.manifest.digest)")] {
      let failure = await #expect(throws: Failure.self) {
        _ = try await host.build("FROM kiln-parent\nRUN true\n", on: lost, at: location)
      }
      #expect(failure?.code == "parent-lost", "\(String(describing: failure))")
    }
  }
}
