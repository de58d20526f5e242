import Foundation
import Invariants
import JobQueue
import JobQueueAMQP
import Logging
import Model
import RecordStore
import TestSupport
import Testing

/// One farm of a test: a database, a virtual host, a registry prefix and processes of its own, all gone
/// at the end.
// Unchecked: `daemons` is only touched under `lock`; everything else is constant.
final class TestFarm: @unchecked Sendable {
  let kiln: KilnProgram
  let catalog: TestCatalog
  let counter: HitCounter
  let registry: String
  let ports: [Int]
  let engineA: String
  let engineB: String
  let run: String
  private let platforms: [String]
  private let database: String
  private let lock = NSLock()
  private var daemons: [Process] = []

  /// - Parameters:
  ///   - attempts: how many at one job may fail for infrastructure, kills among it.
  ///   - tablespace: where the database lies, if not with all others.
  init(
    run name: String, platforms: [String], attempts: Int = 5, independent: Bool = false, tablespace: String? = nil
  ) async throws {
    self.platforms = platforms
    run = "\(name)\(ProcessInfo.processInfo.processIdentifier)"
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-farm-\(run)", isDirectory: true)
    try? FileManager.default.removeItem(at: folder)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    engineA = try Services.require("KILN_TEST_ENGINE_A")
    engineB = try Services.require("KILN_TEST_ENGINE_B")
    let host = try Services.require("KILN_TEST_REGISTRY")
    registry = "\(host)/farm-\(run)"
    counter = try HitCounter()
    let first = try unusedPorts(Self.mostCoordinators + 1)
    ports = [first, first + 1]
    database = "farm_\(run)"
    let token = UUID().uuidString
    let superuser = try Services.require("KILN_TEST_POSTGRES_URL")
    var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("KILN_") }
    let slash = try #require(superuser.lastIndex(of: "/"))
    environment["KILN_STORE_URL"] = superuser[..<slash] + "/\(database)"
    environment["KILN_QUEUE_URL"] = try Services.require("KILN_TEST_AMQP_URL")
    environment["KILN_REGISTRY"] = registry
    environment["KILN_SYFT"] = try Services.require("KILN_TEST_SYFT")
    environment["KILN_TOKEN"] = token
    environment["KILN_COORDINATOR"] = "http://127.0.0.1:\(ports[1])"
    environment["KILN_POOLS"] = folder.appendingPathComponent("pools").path
    kiln = KilnProgram(environment: environment, folder: folder)
    catalog = try TestCatalog(
      in: folder, base: "\(host)/farm-\(run)/base", port: counter.port, run: run, platforms: platforms,
      independent: independent)
    for (pool, emulated) in [("amd64", false), ("arm64", true)] {
      try write(
        "pools/\(pool).yml",
        """
        name: \(pool)-\(run)
        platforms: [linux/\(pool)]
        slots: 2
        emulated: \(emulated)
        network: host
        retries:
          infrastructure: {attempts: \(attempts), firstDelaySeconds: 1, maximumDelaySeconds: 5}
          build: {attempts: 2, firstDelaySeconds: 1, maximumDelaySeconds: 1}
        """)
    }
    let place = tablespace.map { " TABLESPACE \($0)" } ?? ""
    let created = try await tool("psql", [superuser, "-c", "CREATE DATABASE \(database)\(place)"])
    #expect(created.status == 0, "\(created.errors)")
    let base = try Services.require("KILN_TEST_BASE")
    let pushed = try await tool(
      "skopeo",
      ["copy", "--quiet", "--all", "--dest-tls-verify=false", "oci:\(base):latest", "docker://\(registry)/base:latest"])
    #expect(pushed.status == 0, "\(pushed.errors)")
    let migrated = try await kiln.run(["db", "migrate"])
    #expect(migrated.status == 0, "\(migrated.errors)")
    // From here on nobody is superuser any more.
    for role in Self.roles {
      let login = "CREATE ROLE \(role)_\(run) LOGIN PASSWORD '\(token)' IN ROLE kiln_\(role)"
      let made = try await tool("psql", [superuser, "-c", login])
      #expect(made.status == 0, "\(made.errors)")
    }
    try await lock(catalog)
  }

  private func lock(_ catalog: TestCatalog) async throws {
    let locked = try await kiln.run(["lock", "--catalog", catalog.folder.path])
    #expect(locked.status == 0, "\(locked.errors)")
  }

  /// One more catalog, that has no layer in common with any other of this farm.
  func anotherCatalog(_ number: Int) async throws -> TestCatalog {
    let catalog = try TestCatalog(
      in: kiln.folder, base: "\(registry)/base", port: counter.port, run: "\(run)r\(number)", platforms: platforms)
    try await lock(catalog)
    return catalog
  }

  /// Another image under the base's tag, and the lock moved to it.
  func moveBase() async throws {
    // Of a base with the same files, an engine may still have the steps above.
    try write("base/moved", "\(UUID())\n")
    try write("base/Dockerfile", "FROM \(registry)/base:latest\nCOPY moved /moved\n")
    try await OutsideTool("docker", environment: ["DOCKER_HOST": engineA]).run([
      "buildx", "build", "--platform", platforms.joined(separator: ","), "--provenance=false", "--push", "--tag",
      "\(registry)/base:latest", kiln.folder.appendingPathComponent("base").path,
    ])
    let moved = try await kiln.run(["lock", "--refresh", "--catalog", catalog.folder.path])
    #expect(moved.status == 0, "\(moved.errors)")
  }

  /// `FaultyFarm` has some besides the two, on the ports that follow.
  static let mostCoordinators = 4
  private static let roles = ["coordinator", "executor"]

  /// The store's address for a daemon with the rights of `role` alone.
  private func store(_ role: String) throws -> [String: String] {
    let url = try #require(kiln.environment["KILN_STORE_URL"].flatMap { URLComponents(string: $0) })
    var login = url
    login.user = "\(role)_\(run)"
    login.password = kiln.environment["KILN_TOKEN"]
    return ["KILN_STORE_URL": try #require(login.string)]
  }

  private func write(_ path: String, _ text: String) throws {
    let file = kiln.folder.appendingPathComponent(path)
    try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(text.utf8).write(to: file)
  }

  private func tool(_ name: String, _ arguments: [String]) async throws -> KilnProgram.Result {
    try await kiln.run(arguments, program: URL(fileURLWithPath: "/usr/bin/\(name)"))
  }

  func startCoordinator(_ name: String, port: Int, adding: [String: String] = [:]) throws -> Process {
    let environment = try store("coordinator").merging(adding) { _, new in new }
    return try keep(kiln.start(name, ["coordinator", "--listen", "127.0.0.1:\(port)"], adding: environment))
  }

  func startExecutor(_ name: String, pool: String, engine: String, adding: [String: String] = [:]) throws -> Process {
    let home = ["KILN_HOME": kiln.folder.appendingPathComponent("home-\(name)").path]
    let environment = try store("executor").merging(home) { _, new in new }.merging(adding) { _, new in new }
    return try keep(
      kiln.start(
        "executor-\(name)",
        ["executor", "--name", "\(name)-\(run)", "--pool", "pools/\(pool).yml", "--engine", engine],
        adding: environment))
  }

  /// Lines that a statement answers, by a superuser in the farm's own database; no column may hold a tab.
  func rows(_ statement: String) async throws -> [[String]] {
    let words = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--field-separator=\t"]
    let result = try await tool("psql", [try superuser()] + words + ["-c", statement])
    guard result.status == 0 else { throw KilnProgram.Unexpected(result.errors) }
    return result.output.split(whereSeparator: \.isNewline).map {
      $0.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
    }
  }

  private func superuser() throws -> String {
    let url = try Services.require("KILN_TEST_POSTGRES_URL")
    let slash = try #require(url.lastIndex(of: "/"))
    return url[..<slash] + "/\(database)?options=-csearch_path%3Dkiln"
  }

  /// Watches the farm's tables from now on.
  func watchInvariants() async throws {
    let file = kiln.folder.appendingPathComponent("invariants.sql")
    try Data(Invariants.installation(.postgres).joined(separator: ";\n").utf8).write(to: file)
    let made = try await tool(
      "psql", [try superuser(), "--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "-f", file.path])
    #expect(made.status == 0, "\(made.errors)")
  }

  /// Nothing was written that must not be, all has ended, and it fits together.
  func expectInvariants() async throws {
    for row in try await rows("SELECT what FROM oracle_violations LIMIT 20") { Issue.record("\(row)") }
    for (statement, wrong) in Invariants.statements(.postgres) {
      for row in try await rows("\(statement) LIMIT 20") { Issue.record("\(wrong): \(row)") }
    }
    for row in try await rows(Invariants.openWork) { Issue.record("not ended: \(row)") }
  }

  private func keep(_ process: Process) -> Process {
    lock.withLock { daemons.append(process) }
    return process
  }

  func waitForCoordinators() async throws {
    for port in ports {
      try await eventually("coordinator on \(port) answers") {
        try await tool("curl", ["--silent", "--fail", "http://127.0.0.1:\(port)/healthz"]).status == 0
      }
    }
  }

  func pool(_ name: String) -> PoolName { PoolName(text: "\(name)-\(run)") }

  /// Every connection to the farm's database, as a failing network or an operator does.
  func terminateConnections() async throws {
    let superuser = try Services.require("KILN_TEST_POSTGRES_URL")
    let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '\(database)'"
    let ended = try await tool("psql", [superuser, "-c", statement])
    #expect(ended.status == 0, "\(ended.errors)")
  }

  func submit() async throws -> BuildDetail {
    try await kiln.json(["submit", "--wait", "--json", "--catalog", catalog.folder.path])
  }

  func get<Value: Decodable>(_ path: String) async throws -> Value {
    let token = try #require(kiln.environment["KILN_TOKEN"])
    let result = try await tool(
      "curl",
      [
        "--silent", "--fail", "--header", "Authorization: Bearer \(token)",
        "http://127.0.0.1:\(ports[1])/api/v1/\(path)",
      ])
    return try JSONDecoder().decode(Value.self, from: Data(result.output.utf8))
  }

  /// The layers of every build so far, by what the API tells.
  func storeLayers() async throws -> [LayerStatus] {
    struct Page: Decodable { var items: [BuildSummary] }
    let page: Page = try await get("builds")
    var layers: [LayerStatus] = []
    for build in page.items {
      let detail: BuildDetail = try await get("builds/\(build.id)")
      layers += detail.layers
    }
    return layers
  }

  /// The digests of an image's layers, bottom first, as skopeo finds them in its manifest.
  func layerBlobs(_ image: String) async throws -> [String] {
    let manifest = try await tool(
      "skopeo", ["inspect", "--raw", "--tls-verify=false", "docker://\(registry)/\(image)"])
    struct Fields: Decodable {
      struct Blob: Decodable { var digest: String }
      var layers: [Blob]
    }
    return try JSONDecoder().decode(Fields.self, from: Data(manifest.output.utf8)).layers.map(\.digest)
  }

  /// Ends every process that this farm started and removes what it made; a failed farm's logs stay.
  func end(failed: Bool) async {
    for process in lock.withLock({ daemons }) where process.isRunning { process.terminate() }
    for process in lock.withLock({ daemons }) {
      let clock = ContinuousClock()
      let end = clock.now.advanced(by: .seconds(20))
      while process.isRunning, clock.now < end { try? await Task.sleep(for: .milliseconds(50)) }
      if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }
    counter.stop()
    if let url = kiln.environment["KILN_QUEUE_URL"],
      let configuration = try? AMQPConfiguration(url: url, role: .coordinator)
    {
      let queue = AMQPJobQueue(configuration: configuration, effects: .system(), logger: Logger(label: "farm-test"))
      try? await queue.remove(["amd64", "arm64"].map { PoolName(text: "\($0)-\(run)") })
      await queue.close()
    }
    if let superuser = try? Services.require("KILN_TEST_POSTGRES_URL") {
      _ = try? await tool("psql", [superuser, "-c", "DROP DATABASE \(database) WITH (FORCE)"])
      for role in Self.roles { _ = try? await tool("psql", [superuser, "-c", "DROP ROLE \(role)_\(run)"]) }
    }
    if failed {
      print("the farm's logs: \(kiln.folder.path)")
    } else {
      try? FileManager.default.removeItem(at: kiln.folder)
    }
  }
}
