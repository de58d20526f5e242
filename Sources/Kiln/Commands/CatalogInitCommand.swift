import ArgumentParser
import Catalog
import Foundation
import KilnExecutor
import Model

struct CatalogInitCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init",
    abstract: "Make a catalog of a Dockerfile, or of a bake file's targets.",
    discussion: """
      Each stage that the image is made of becomes a fragment, or, where comments mark sections, each of these: \
      '#--MODULE:NAME--#' or '#--MODULE:NAME@VERSION--#' before, '#--ENDMODULE--#' after. What a catalog has no \
      place for is listed on standard error: file, line, why. What is wrong is said at its line, and then nothing \
      is written.

      A file that ends in .hcl or .json is a bake file; docker buildx reads it, variables have their defaults.

      Examples:
        kiln catalog init --from Dockerfile
        kiln catalog init --from app/Dockerfile --context . --platform linux/amd64 --platform linux/arm64
        kiln catalog init --from docker-bake.hcl --target app --output catalog
      """)
  @Option(help: "A Dockerfile, or a bake file: *.hcl or *.json.", completion: .file()) var from: String
  @Option(help: "The catalog's folder: it must not be there, or be empty.") var output = "catalog"
  @Option(help: "A Dockerfile's build context (default: its folder).", completion: .directory) var context: String?
  @Option(help: "The stage of a Dockerfile (default: the last), or a target or group of a bake file; may be repeated.")
  var target: [String] = []
  @Option(name: .customLong("platform"), help: "A platform of a Dockerfile's image; may be repeated.")
  var platforms: [String] = []
  @OptionGroup var format: OutputOptions

  func run() async throws {
    let writer = try DraftWriter(output)
    let file = URL(fileURLWithPath: from).standardizedFileURL
    let isBake = ["hcl", "json"].contains(file.pathExtension)
    if ["yml", "yaml"].contains(file.pathExtension) {
      throw ValidationError("\(from): a compose file is not read; name its Dockerfile, or a bake file")
    }
    let draft = isBake ? try await bake(file) : try dockerfile(file)
    try writer.write(draft, json: format.json)
  }

  private func dockerfile(_ file: URL) throws -> CatalogDraft {
    guard target.count <= 1 else { throw ValidationError("--target: a Dockerfile's image is one stage") }
    let folder =
      context.map { URL(fileURLWithPath: $0, isDirectory: true).standardizedFileURL }
      ?? file.deletingLastPathComponent()
    for name in platforms where Platform(name) == nil {
      throw ValidationError("'\(name)' is not a platform; write it like linux/arm64")
    }
    var read: [[String]: [CatalogTree.Entry]] = [:]
    var source = try Self.source(
      try Self.bytes(file), file: from, ignoreFile: file.path + ".dockerignore", folder, read: &read)
    source.stage = target.first
    source.platforms = platforms
    return try CatalogInit.run(source, name: folder.lastPathComponent)
  }

  private func bake(_ file: URL) async throws -> CatalogDraft {
    guard context == nil, platforms.isEmpty else {
      throw ValidationError("--context and --platform are for a Dockerfile: a bake file's targets say theirs")
    }
    let bytes = try Self.bytes(file)
    let document = try BakeDocument(
      printed: try await BakePrinter.print(file, targets: target), file: from,
      text: String(decoding: bytes, as: UTF8.self), isEscaped: try await BakePrinter.keepsEscapes())
    let catalog = URL(fileURLWithPath: output, isDirectory: true).standardizedFileURL
    var sources: [String: DockerfileSource] = [:]
    var contexts: [[String]: [CatalogTree.Entry]] = [:]
    for target in document.targets {
      // As bake does, from where it runs.
      let folder = URL(fileURLWithPath: target.context, isDirectory: true).standardizedFileURL
      let dockerfile = URL(fileURLWithPath: target.dockerfile, relativeTo: folder).standardizedFileURL
      let text = try target.text.map { Data($0.utf8) } ?? Self.bytes(dockerfile)
      let name = target.text == nil ? target.context + "/" + target.dockerfile : "\(from) (target \(target.name))"
      var source = try Self.source(
        text, file: name, ignoreFile: dockerfile.path + ".dockerignore", folder, read: &contexts)
      source.stage = target.stage
      source.arguments = target.arguments
      source.platforms = target.platforms
      source.labels = target.labels
      source.images = target.contexts.mapValues { BakeDocument.image($0, catalog: catalog.path) }
      sources[target.name] = source
    }
    return try CatalogInit.run(document, sources: sources, name: catalog.lastPathComponent)
  }

  private static func bytes(_ file: URL) throws -> Data {
    guard let bytes = FileManager.default.contents(atPath: file.path) else {
      throw ValidationError("'\(file.path)' cannot be read")
    }
    return bytes
  }

  /// The Dockerfile with the files of its context that it names and does not ignore; what was `read` for
  /// another target is not read again.
  private static func source(
    _ text: Data, file: String, ignoreFile: String, _ folder: URL, read: inout [[String]: [CatalogTree.Entry]]
  ) throws -> DockerfileSource {
    let content = CatalogTree.Content.file(text, executable: false)
    var source = DockerfileSource(file: file, content: content)
    let ignoreFiles = [ignoreFile, folder.appendingPathComponent(".dockerignore").path]
    source.ignoreText = ignoreFiles.lazy.compactMap { FileManager.default.contents(atPath: $0) }.first
      .map { String(decoding: $0, as: UTF8.self) }
    let paths = DockerfileSource.neededPaths(of: content).sorted()
    let key = [folder.path, source.ignoreText ?? ""] + paths
    let context = try read[key] ?? CatalogTree.context(paths, in: folder, ignore: source.ignoreText)
    read[key] = context
    source.context = context
    return source
  }
}

/// `docker buildx bake --print`, which builds nothing and asks no engine.
enum BakePrinter {
  static func print(_ file: URL, targets: [String]) async throws -> Data {
    // Bake would take an address for the place of the definition.
    for target in targets where target.wholeMatch(of: /[A-Za-z0-9_][A-Za-z0-9_.-]*/) == nil {
      throw ValidationError("'\(target)' is not a target's name")
    }
    let result = try await run(["--file", file.path] + targets)
    guard result.succeeded else {
      throw Failure(
        .input, code: "bake", "\(file.path): docker buildx bake does not understand it:\n\(result.errorText)",
        hint: targets.isEmpty ? "without a group 'default', name what is meant by --target" : nil)
    }
    return Data(result.output)
  }

  /// Newer ones print a bake file again, in which `${` is escaped; older ones what is meant.
  static func keepsEscapes() async throws -> Bool {
    let probe = #"{"target": {"default": {"args": {"A": "$${B}"}}}}"#
    let result = try await run(["--file", "-"], input: .bytes(Data(probe.utf8), then: nil))
    return result.outputText.contains("$${B}")
  }

  private static func run(_ arguments: [String], input: Program.Input = .none) async throws -> Program.Result {
    var environment = ["LC_ALL": "C"]
    for name in ["PATH", "HOME", "DOCKER_CONFIG"] { environment[name] = Environment.value(name) }
    let program = Program(
      "docker", ["buildx", "bake", "--print"] + arguments, environment: environment, input: input, deadlineSeconds: 60)
    return try await program.run(time: SystemTime())
  }
}
