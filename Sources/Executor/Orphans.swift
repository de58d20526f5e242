package import Foundation
package import Logging
package import Model

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Ends what a predecessor of this executor left when it was killed: clients, containers, images, and
/// RUN steps of an engine that was killed itself.
///
/// To be called when an executor starts, before it makes anything, by the one process that owns
/// `workFolder`. Best effort: what cannot be ended is logged.
package struct Orphans: Sendable {
  package let executor: ExecutorName
  package let engine: Engine
  package let facts: Engine.Facts
  /// Every client that an executor starts has a path in here among its arguments or its environment's.
  package let workFolder: URL
  let logger: Logger

  package init(executor: ExecutorName, engine: Engine, facts: Engine.Facts, workFolder: URL, logger: Logger) {
    self.executor = executor
    self.engine = engine
    self.facts = facts
    self.workFolder = workFolder
    self.logger = logger
  }

  /// How much was ended, by kind.
  package struct Ended: Sendable, Hashable {
    package var clients = 0
    package var containers = 0
    package var images = 0
    package var steps = 0
  }

  package func end() async throws -> Ended {
    var ended = Ended()
    // The clients first: they may still be making containers.
    ended.clients = try await endClients()
    ended.containers = try await remove(
      listing: ["ps", "--all", "--quiet", "--no-trunc", "--filter", "label=\(EngineNames.label(executor))"],
      by: ["rm", "--force", "--volumes"])
    ended.images = try await remove(
      listing: [
        "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter",
        "reference=\(EngineNames.imagePrefix)/\(executor):*",
      ], by: ["image", "rm", "--force"])
    ended.steps = try await endSteps()
    if ended != Ended() {
      logger.notice(
        "ended what an earlier executor left",
        metadata: [
          "clients": "\(ended.clients)", "containers": "\(ended.containers)", "images": "\(ended.images)",
          "steps": "\(ended.steps)",
        ])
    }
    return ended
  }

  private func remove(listing: [String], by command: [String]) async throws -> Int {
    let names = try await engine.docker.output(listing).split(separator: "\n").map(String.init)
    guard !names.isEmpty else { return 0 }
    let result = try await engine.docker.run(command + names, deadlineSeconds: 120)
    if !result.succeeded { logger.warning("could not remove all", metadata: ["error": "\(result.errorText)"]) }
    return names.count
  }

  // MARK: Clients

  /// buildx goes on when its parent is killed. It is recognised by the paths on its command line, which
  /// lie in our work folder, so that a reused process number is never mistaken for it.
  private func endClients() async throws -> Int {
    let found = ProcessTable.all().filter { isClient($0) }
    guard !found.isEmpty else { return 0 }
    for process in found { kill(process.id, SIGINT) }
    let deadline = engine.docker.time.monotonicSeconds() + Double(Program.defaultGraceSeconds)
    while engine.docker.time.monotonicSeconds() < deadline, ProcessTable.all().contains(where: isClient) {
      try await engine.docker.time.sleep(seconds: 0.1)
    }
    for process in ProcessTable.all() where isClient(process) { kill(process.id, SIGKILL) }
    return found.count
  }

  private func isClient(_ process: ProcessTable.Entry) -> Bool {
    let name = process.arguments.first.map { $0.split(separator: "/").last.map(String.init) ?? $0 } ?? ""
    guard ["docker", "docker-buildx", "syft"].contains(name), process.id != getpid() else { return false }
    let folder = workFolder.path.hasSuffix("/") ? workFolder.path : workFolder.path + "/"
    return process.arguments.dropFirst().contains { $0.contains(folder) }
  }

  // MARK: Steps

  /// A RUN step outlives a dockerd that was killed, even its restart; then nobody waits for it any more. What
  /// somebody waits for is left alone: this may be called at any time.
  func endSteps() async throws -> Int {
    guard let root = facts.localRoot else { return 0 }
    guard getuid() == 0 else {
      logger.info("steps of a killed engine are not looked for: that needs root")
      return 0
    }
    guard let list = try? await runc(["list", "--format", "json"]), list.succeeded else { return 0 }
    struct Container: Decodable {
      var id: String
      var bundle: String
    }
    // runc writes `null` for none.
    let containers = (try? JSONDecoder().decode([Container]?.self, from: Data(list.output))) ?? nil
    let bundles = root.appendingPathComponent("buildkit/executor").path + "/"
    let commands = ProcessTable.all().map(\.arguments)
    var ended = 0
    for container in containers ?? [] where container.bundle.hasPrefix(bundles) {
      let isOwned = commands.contains { command in
        command.first?.hasSuffix("runc") == true && command.contains("run") && command.contains(container.bundle)
      }
      guard !isOwned else { continue }
      let result = try await runc(["delete", "--force", container.id])
      if result.succeeded {
        ended += 1
      } else {
        logger.warning("could not end a step", metadata: ["error": "\(result.errorText)"])
      }
      _ = try? await Program(
        "umount", ["--recursive", "\(container.bundle)/rootfs"], environment: engine.docker.environment,
        deadlineSeconds: 20
      ).run(time: engine.docker.time)
    }
    return ended
  }

  private func runc(_ arguments: [String]) async throws -> Program.Result {
    try await Program("runc", arguments, environment: engine.docker.environment, deadlineSeconds: 20).run(
      time: engine.docker.time)
  }
}

/// The machine's processes, where the system shows them as files; else nothing.
enum ProcessTable {
  struct Entry: Sendable {
    var id: Int32
    var arguments: [String]
  }

  static func all() -> [Entry] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.compactMap { name in
      guard let id = Int32(name), let line = FileManager.default.contents(atPath: "/proc/\(name)/cmdline"),
        !line.isEmpty
      else { return nil }
      return Entry(id: id, arguments: line.split(separator: 0).map { String(decoding: $0, as: UTF8.self) })
    }
  }
}
