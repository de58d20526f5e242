package import Foundation
package import Model

/// A container engine, through its client.
package struct Engine: Sendable {
  package let docker: DockerClient
  /// Our own files for it: probes.
  package let workFolder: URL

  package init(docker: DockerClient, workFolder: URL) {
    self.docker = docker
    self.workFolder = workFolder
  }

  package struct Facts: Sendable, Hashable {
    package var version: String
    package var builderVersion: String
    /// What it builds, natively or emulated.
    package var platforms: [Platform]
    /// The machine's own.
    package var architecture: String
    package var usesContainerdStore: Bool
    package var cpuCount: Int
    /// Where the engine keeps its data, if that is a folder of this machine.
    package var localRoot: URL?

    package init(
      version: String, builderVersion: String, platforms: [Platform], architecture: String,
      usesContainerdStore: Bool, cpuCount: Int, localRoot: URL?
    ) {
      self.version = version
      self.builderVersion = builderVersion
      self.platforms = platforms
      self.architecture = architecture
      self.usesContainerdStore = usesContainerdStore
      self.cpuCount = cpuCount
      self.localRoot = localRoot
    }
  }

  /// Asks the engine. Throws `Failure` where it is out of reach or has no buildx.
  package func facts() async throws -> Facts {
    let info = try JSONDecoder().decode(
      Info.self, from: Data(try await docker.output(["info", "--format", "{{json .}}"]).utf8))
    if let error = info.serverErrors?.first {
      throw Failure(.infrastructure, code: "engine-unreachable", error, hint: "is the engine running?")
    }
    let buildx = try await docker.output(["buildx", "version"])
    let inspection = try await docker.output(["buildx", "inspect"])
    let root = try await isLocal() ? info.dockerRootDir.map { URL(fileURLWithPath: $0) } : nil
    return Facts(
      version: info.serverVersion ?? "unknown", builderVersion: Self.builderVersion(buildx),
      platforms: Self.platforms(inspection), architecture: Self.architecture(info.architecture ?? ""),
      usesContainerdStore: (info.driverStatus ?? []).contains { $0.contains("io.containerd.snapshotter.v1") },
      cpuCount: info.cpuCount ?? 0,
      localRoot: root.flatMap { FileManager.default.fileExists(atPath: $0.path) ? $0 : nil })
  }

  /// Whether the engine builds: a tiny build, from nothing, with the flags that layers are built with.
  /// `docker version` and `docker ps` answer from an engine that is frozen.
  ///
  /// Nil if it does, else why not.
  package func liveness(deadlineSeconds: Double = 30) async throws -> Failure? {
    let folder = workFolder.appendingPathComponent("probe-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let archive = ContextArchive.withDockerfile(archive: nil, dockerfile: "FROM scratch\nCOPY . /\n")
    let layout = folder.appendingPathComponent("layout")
    let result = try await docker.run(
      [
        "buildx", "build", "--file", ContextArchive.dockerfileName, "--provenance=false", "--sbom=false",
        "--progress", "plain", "--output", BuildxArguments.output(to: layout), "-",
      ], input: .bytes(archive, then: nil), deadlineSeconds: deadlineSeconds)
    if result.succeeded { return nil }
    if case .stopped = result.ending {
      return Failure(
        .infrastructure, code: "engine-frozen", "a tiny build did not end within \(Int(deadlineSeconds)) s",
        hint: "the engine's builder hangs, maybe on a registry; restart the engine")
    }
    if result.errorText.contains("exporter is not supported") { return Self.noContainerdStore }
    return Failure(.infrastructure, code: "engine-error", "a tiny build failed: \(result.errorText)")
  }

  /// Removes something of the builder's cache. The next builds do again what was there.
  package func prune(_ what: Pruning, deadlineSeconds: Double = 600) async throws {
    let choice: [String]
    switch what {
    case .unusedFor(let hours): choice = ["--filter", "until=\(hours)h"]
    case .bytes(let bytes): choice = ["--all", "--keep-storage", "\(max(0, try await cacheBytes() - bytes))"]
    case .all: choice = ["--all"]
    }
    let result = try await docker.run(["buildx", "prune", "--force"] + choice, deadlineSeconds: deadlineSeconds)
    guard result.succeeded else {
      throw Failure(.infrastructure, code: "engine-error", "docker buildx prune: \(result.errorText)")
    }
  }

  /// What the builder's cache takes beyond what images have too, as `buildx du` says at its end:
  /// `Private: 1.25GB`, or `Total:` where nothing is shared. That is what `--keep-storage` is compared to.
  package func cacheBytes() async throws -> Int64 {
    let text = try await docker.output(["buildx", "du"])
    let lines = text.split(whereSeparator: \.isNewline)
    let total = lines.last { $0.hasPrefix("Private:") } ?? lines.last { $0.hasPrefix("Total:") }
    guard let word = total?.split(whereSeparator: \.isWhitespace).last, let bytes = Self.bytes(String(word)) else {
      throw Failure(.infrastructure, code: "engine-error", "docker buildx du: no total in '\(text.suffix(200))'")
    }
    return bytes
  }

  /// `12.5kB`, in powers of a thousand, as docker writes sizes.
  static func bytes(_ text: String) -> Int64? {
    guard let match = text.wholeMatch(of: /([0-9.]+(?:e[+-]?[0-9]+)?)(k|K|M|G|T|P)?i?B/), let number = Double(match.1)
    else {
      return nil
    }
    let units: [Substring: Double] = ["k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15]
    return Int64(number * (match.2.flatMap { units[$0] } ?? 1))
  }

  /// Loads an image archive into the engine.
  package func load(_ archive: URL, deadlineSeconds: Double = 600) async throws {
    _ = try await docker.output(["load", "--quiet", "--input", archive.path], deadlineSeconds: deadlineSeconds)
  }

  package static let noContainerdStore = Failure(
    .infrastructure, code: "engine-unsuited", "the engine has no containerd image store, so it cannot export layers",
    hint: #"set {"features": {"containerd-snapshotter": true}} in its daemon.json, or use a docker-container builder"#)

  /// Free bytes where a folder of this machine is; nil if that cannot be known.
  package static func freeBytes(at folder: URL?) -> Int64? {
    guard let folder,
      let attributes = try? FileManager.default.attributesOfFileSystem(forPath: folder.path)
    else { return nil }
    return (attributes[.systemFreeSize] as? NSNumber)?.int64Value
  }

  private func isLocal() async throws -> Bool {
    if let host = docker.environment["DOCKER_HOST"] { return host.hasPrefix("unix://") }
    let host = try await docker.output(["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"])
    return host.hasPrefix("unix://")
  }

  // MARK: Reading what it says

  private struct Info: Decodable {
    var serverVersion: String?
    var architecture: String?
    var driverStatus: [[String]]?
    var dockerRootDir: String?
    var cpuCount: Int?
    var serverErrors: [String]?

    /// Docker's own names.
    enum CodingKeys: String, CodingKey {
      case serverVersion = "ServerVersion"
      case architecture = "Architecture"
      case driverStatus = "DriverStatus"
      case dockerRootDir = "DockerRootDir"
      case cpuCount = "NCPU"
      case serverErrors = "ServerErrors"
    }
  }

  /// `github.com/docker/buildx 0.13.1+ds1 0.13.1+ds1-3` → `0.13.1+ds1`
  static func builderVersion(_ text: String) -> String {
    let words = text.split(separator: " ")
    return words.count > 1 ? String(words[1]) : text
  }

  /// Of `docker buildx inspect`, every node's `Platforms:` line; a `*` marks what a person set.
  static func platforms(_ inspection: String) -> [Platform] {
    var platforms: [Platform] = []
    for line in inspection.split(separator: "\n") where line.hasPrefix("Platforms:") {
      for word in line.dropFirst("Platforms:".count).split(separator: ",") {
        let name = word.filter { $0 != "*" && !$0.isWhitespace }
        if let platform = Platform(name), !platforms.contains(platform) { platforms.append(platform) }
      }
    }
    return platforms
  }

  static func architecture(_ name: String) -> String {
    Platform(os: "linux", architecture: name, platformVariant: nil)?.architecture ?? name
  }
}
