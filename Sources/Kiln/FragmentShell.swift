import Catalog
import Foundation
import KilnExecutor
import Model
import Planner
import Registry

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// A container of a layer's parent with what the layer's steps would see. It has a folder, a client's
/// configuration, an image's name and a container of its own, so that builds may go on beside it.
struct FragmentShell {
  static let labelKey = "kiln.shell"
  /// Where the fragment's files are in the container.
  static let place = "kiln"

  private let layer: PlannedLayer
  private let contents: ShellContents
  private let name: String
  private let image: String
  private let label: String
  private let network: Pool.Network
  private let folder: URL
  private let engine: Engine

  init(
    _ loaded: LoadedCatalog, _ layer: PlannedLayer, of work: PlannedWork, product: String, for build: LocalBuild
  ) throws {
    self.layer = layer
    contents = try ShellContents(
      layer, context: layer.context.flatMap { work.contexts[$0.digest] },
      fragment: layer.fragment.flatMap { loaded.catalog.fragments[$0] }, secretFiles: build.secretFiles)
    network = build.options.network
    let identifier = UUID().uuidString.lowercased()
    name = "kiln-shell-\(identifier)"
    image = "kiln-shell/\(product):\(identifier)"
    label = "\(Self.labelKey)=\(product)"
    folder = Embedded.folder(for: loaded.folder).appendingPathComponent("shell-\(identifier)", isDirectory: true)
    engine = Engine(
      docker: try DockerClient(
        builder: Pool.Builder(host: build.engine), configurationFolder: folder.appendingPathComponent("docker"),
        time: build.effects.time),
      workFolder: folder)
  }

  func removeFolder() { try? FileManager.default.removeItem(at: folder) }

  /// Brings the parent into the engine, under the shell's own name.
  func load(_ parent: Digest, from images: any ImageStore, _ repository: String) async throws {
    let archive = folder.appendingPathComponent("parent.tar")
    try await OCIArchive.write(parent, from: images, repository: repository, names: [image], to: archive)
    try await engine.load(archive)
    try? FileManager.default.removeItem(at: archive)
  }

  /// The shell's exit status. Nothing of it is left in the engine.
  func run(_ command: [String]) async throws -> Int32 {
    // Ctrl-C is for what runs in the terminal; what is started has its own say again.
    let before = signal(SIGINT) { _ in }
    defer { signal(SIGINT, before) }
    let result: Result<Int32, any Error>
    do { result = .success(try await enter(command)) } catch { result = .failure(error) }
    _ = try? await engine.docker.run(["rm", "--force", "--volumes", name])
    _ = try? await engine.docker.run(["image", "rm", "--force", image])
    return try result.get()
  }

  private func enter(_ command: [String]) async throws -> Int32 {
    let command = command.isEmpty ? ["/bin/sh"] : command
    var arguments = [
      "create", "--rm", "--interactive", "--name", name, "--label", label, "--platform", "\(layer.platform)", "--pull",
      "never",
    ]
    if network != .default { arguments += ["--network", network.rawValue] }
    if isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1 { arguments.append("--tty") }
    for (name, value) in contents.environment.sorted(by: { $0.key < $1.key }) {
      arguments += ["--env", "\(name)=\(value)"]
    }
    for target in contents.temporary { arguments += ["--tmpfs", target] }
    for target in contents.caches { arguments += ["--volume", target] }
    arguments += ["--entrypoint", command[0], image] + command.dropFirst()
    _ = try await engine.docker.output(arguments, deadlineSeconds: 120)
    _ = try await engine.docker.output(
      ["cp", "-", "\(name):/"], input: .bytes(contents.archive, then: nil), deadlineSeconds: 120)
    for missing in contents.missing { Exit.complain("kiln: not in this shell: \(missing)") }
    Exit.complain(
      "kiln: where \(layer.title) would be built for \(layer.platform): its files are in /\(Self.place)/context, "
        + "its text is /\(Self.place)/Dockerfile")
    return try await engine.docker.program(
      ["start", "--attach", "--interactive", name], deadlineSeconds: .infinity
    ).runInForeground()
  }
}

/// What a layer's steps would see besides their parent. Pure.
struct ShellContents {
  /// To be unpacked at the container's root.
  let archive: Data
  let environment: [String: String]
  let temporary: [String]
  let caches: [String]
  /// What cannot be there, for people.
  let missing: [String]

  init(_ layer: PlannedLayer, context: Data?, fragment: Fragment?, secretFiles: [String: URL]) throws {
    let limits = TarArchive.Limits(
      maxArchiveBytes: 2 * CatalogTree.maxTotalBytes, maxFileBytes: CatalogTree.maxFileBytes,
      maxEntries: 2 * CatalogTree.maxFiles)
    let files = try context.map { try TarArchive.read($0, limits: limits) } ?? []
    let folder = fragment.map { $0.contextRoot == .fragment ? $0.folder + "/" : "" } ?? ""
    func named(_ path: String) -> String { path.hasPrefix(folder) ? String(path.dropFirst(folder.count)) : path }
    var entries = [
      TarArchive.Entry(
        path: "\(FragmentShell.place)/Dockerfile", content: .file(Data(layer.dockerfile.utf8), executable: false))
    ]
    for file in files where file.content != .directory {
      entries.append(
        TarArchive.Entry(path: "\(FragmentShell.place)/context/\(named(file.path))", content: file.content))
    }
    var (temporary, caches, missing): ([String], [String], [String]) = ([], [], [])
    for mount in fragment?.stepMounts ?? [] {
      let target = mount.target ?? (mount.type == "secret" ? "/run/secrets/\(mount.id ?? "")" : "/")
      switch mount.type {
      case "tmpfs": temporary.append(target)
      case "cache" where mount.from == nil: caches.append(target)
      case "bind" where mount.from == nil:
        let source = (mount.source ?? "").split(separator: "/").filter { $0 != "." }.joined(separator: "/")
        let place = target.split(separator: "/").joined(separator: "/")
        for file in files {
          let path = named(file.path)
          guard path == source || path.hasPrefix(source + "/") else { continue }
          entries.append(
            TarArchive.Entry(path: place + path.dropFirst(source.count), content: file.content))
        }
      case "secret" where secretFiles[mount.id ?? ""] != nil:
        guard let file = secretFiles[mount.id ?? ""] else { continue }
        let place = target.split(separator: "/").joined(separator: "/")
        entries.append(
          TarArchive.Entry(path: place, content: .file(try Data(contentsOf: file), executable: false)))
      default: missing.append("the \(mount.type) mount at \(target)\(mount.from.map { " from '\($0)'" } ?? "")")
      }
    }
    archive = TarArchive.write(entries)
    environment = layer.arguments.merging(["SOURCE_DATE_EPOCH": "\(Recipe.sourceDateEpochSeconds)"]) { own, _ in own }
    self.temporary = Array(Set(temporary)).sorted()
    self.caches = Array(Set(caches)).sorted()
    self.missing = Array(Set(missing)).sorted()
  }
}
