import Foundation
import Hummingbird
import Logging
import Model
import Registry
import Synchronization
import TestSupport
import Testing

@testable import KilnExecutor

/// On real engines.
@Suite struct RealEngineTests {
  @Test func aGoodHostIsTaken() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let pool = Pool(name: PoolName(text: "p"), platforms: try [present(Platform("linux/amd64"))])
    let (facts, engine) = try await HostCheck.check(
      pool, engine: host.engine, executor: ExecutorName(text: "e"), kilnVersion: "1")
    #expect(facts.platforms.contains(pool.platforms[0]))
    #expect(facts.freeBytes ?? 0 > 0)
    #expect(engine.usesContainerdStore && engine.localRoot != nil)
  }

  @Test func anEngineThatIsNotThereIsSaidToBeSo() async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-none-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    let docker = try DockerClient(
      builder: Pool.Builder(host: "unix://\(folder.path)/no.sock"),
      configurationFolder: folder.appendingPathComponent("docker"),
      time: SystemTime())
    let failure = await #expect(throws: Failure.self) {
      _ = try await Engine(docker: docker, workFolder: folder).facts()
    }
    #expect(failure?.code == "engine-unreachable")
  }

  @Test func aFrozenEngineIsFoundOutInTime() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    // A socket that takes connections and never answers.
    let socket = host.folder.appendingPathComponent("deaf.sock")
    let deaf = try DeafSocket(path: socket.path)
    defer { deaf.close() }
    let docker = try DockerClient(
      builder: Pool.Builder(host: "unix://\(socket.path)"),
      configurationFolder: host.folder.appendingPathComponent("docker2"),
      time: SystemTime())
    let failure = try await Engine(docker: docker, workFolder: host.folder).liveness(deadlineSeconds: 1)
    #expect(failure?.code == "engine-frozen")
  }

  @Test func aPrunedBuilderHasForgotten() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    func cached() async throws -> Int {
      let usage = try await host.engine.docker.run(["buildx", "du"])
      return usage.outputText.split(separator: "\n").count { $0.contains("true") }
    }
    for (name, size) in [("older", "4M"), ("newer", "1k")] {
      let dockerfile = host.folder.appendingPathComponent(name)
      try FileManager.default.createDirectory(at: dockerfile, withIntermediateDirectories: true)
      try Data("FROM scratch\nCOPY \(name) /\n".utf8).write(to: dockerfile.appendingPathComponent("Dockerfile"))
      try await OutsideTool("dd").run([
        "if=/dev/urandom", "of=\(dockerfile.appendingPathComponent(name).path)", "bs=\(size)", "count=1",
      ])
      _ = try await host.engine.docker.output(["buildx", "build", "--quiet", dockerfile.path])
    }
    let before = try await cached()
    try await host.engine.prune(.unusedFor(hours: 100_000))
    #expect(try await cached() == before && before > 0)
    let full = try await host.engine.cacheBytes()
    try await host.engine.prune(.bytes(1_000_000))
    let less = try await host.engine.cacheBytes()
    #expect(less <= full - 1_000_000 && less > 0, "\(full) bytes became \(less)")
    try await host.engine.prune(.all)
    #expect(try await cached() == 0)
  }

  @Test func proxySettingsAndOtherVariablesDoNotEnterABuild() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let user = host.folder.appendingPathComponent("user")
    try FileManager.default.createDirectory(at: user, withIntermediateDirectories: true)
    let settings = #"{"auths":{"r":{"auth":"eA=="}},"proxies":{"default":{"httpProxy":"http://u:secret@p"}}}"#
    try Data(settings.utf8).write(to: user.appendingPathComponent("config.json"))
    let docker = try DockerClient(
      builder: Pool.Builder(host: "unix:///x"), configurationFolder: host.folder.appendingPathComponent("own"),
      inherited: ["DOCKER_CONFIG": user.path, "HTTP_PROXY": "http://u:secret@p", "TOKEN": "secret", "PATH": "/bin"],
      time: SystemTime())
    let written = try String(contentsOf: host.folder.appendingPathComponent("own/config.json"), encoding: .utf8)
    #expect(written == #"{"auths":{"r":{"auth":"eA=="}}}"#)
    #expect(!docker.environment.values.contains { $0.contains("secret") })
    #expect(docker.environment["DOCKER_HOST"] == "unix:///x")
  }

  /// The client asks a host's own helper before the user's for all hosts; no name means the file itself.
  @Test func aLoginIsFoundBesideTheUsersHelper() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let user = host.folder.appendingPathComponent("user")
    try FileManager.default.createDirectory(at: user, withIntermediateDirectories: true)
    try Data(#"{"credsStore":"absent","credHelpers":{"o":"other"}}"#.utf8)
      .write(to: user.appendingPathComponent("config.json"))
    let seen = Mutex<[String]>([])
    try await withServer { router in
      router.head("v2/**") { request, _ in
        guard let login = request.headers[.authorization] else {
          return Response(status: .unauthorized, headers: [.wwwAuthenticate: "Basic realm=\"r\""])
        }
        seen.withLock { $0.append(login) }
        return Response(status: .notFound)
      }
    } _: { address in
      let registry = address.replacing("http://", with: "")
      let docker = try DockerClient(
        builder: Pool.Builder(host: try Services.require("KILN_TEST_ENGINE_A")),
        configurationFolder: host.folder.appendingPathComponent("own"),
        login: RegistryLogin(host: registry, credentials: RegistryCredentials(user: "u", password: "p")),
        inherited: ["DOCKER_CONFIG": user.path, "PATH": ProcessInfo.processInfo.environment["PATH"] ?? ""],
        time: SystemTime())
      let result = try await docker.run(["buildx", "imagetools", "inspect", "\(registry)/some/image:latest"])
      #expect(!result.succeeded)
    }
    #expect(seen.withLock { $0.first } == "Basic \(Data("u:p".utf8).base64EncodedString())")
  }

  @Test func whatAKilledExecutorLeftIsEnded() async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let executor = ExecutorName(text: "orphan\(UInt32.random(in: 0...UInt32.max))")
    let base = try TestImage.base("linux/amd64")
    let image = EngineNames.image(executor, JobID(text: "j"))
    let archive = host.folder.appendingPathComponent("image.tar")
    try await OCIArchive.write(
      base.image.manifest.digest, from: try OCILayoutStore(directory: base.layout), repository: "", names: [image],
      to: archive)
    _ = try await host.engine.docker.output(["load", "--input", archive.path])
    for name in [executor.text, executor.text + "-2"] {
      _ = try await host.engine.docker.output([
        "run", "--detach", "--name", "kiln-\(name)-j-0", "--label", EngineNames.label(ExecutorName(text: name)),
        "--network",
        "none", image, "sleep", "600",
      ])
    }
    let marker = "5\(UInt32.random(in: 100_000...999_999))"
    let build = Task { try await host.build("FROM kiln-parent\nRUN sleep \(marker)\n", on: base) }
    while !Processes.running(argument: marker) { try await Task.sleep(for: .milliseconds(50)) }

    let orphans = Orphans(
      executor: executor, engine: host.engine, facts: host.facts, workFolder: host.folder, logger: Logger(label: "test")
    )
    let ended = try await orphans.end()
    #expect(ended.clients >= 1)
    #expect(ended.containers == 1)
    #expect(ended.images == 1)
    await #expect(throws: Failure.self) { _ = try await build.value }
    let others = try await host.engine.docker.output(["ps", "--format", "{{.Names}}", "--filter", "name=\(executor)"])
    #expect(others == "kiln-\(executor)-2-j-0", "another executor's container stays")
    _ = try await host.engine.docker.output(["rm", "--force", "kiln-\(executor)-2-j-0"])
    #expect(try await orphans.end() == Orphans.Ended())
  }
}

/// Listens, and never accepts.
final class DeafSocket {
  private let descriptor: Int32

  init(path: String) throws {
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
    let bound = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard bound == 0, listen(descriptor, 8) == 0 else { throw Missing() }
  }

  func close() { _ = Foundation.close(descriptor) }
}
