import Foundation
import TestSupport

/// A catalog that is built on a real engine, with a counter that its RUN steps call.
struct EmbeddedFolder {
  let catalog: CatalogFolder
  let counter: HitCounter
  let engine: String
  /// In every name that leaves the folder: in the engine, in the registry.
  let tag: String
  private let gateway: String

  /// Makes the folder, locks it, and removes it after `body`, with what it left in the engine.
  static func with(_ products: [(String, String)], _ body: (EmbeddedFolder) async throws -> Void) async throws {
    let folder = try await EmbeddedFolder()
    do {
      try await folder.fill(products)
      try await body(folder)
    } catch {
      await folder.end()
      throw error
    }
    await folder.end()
  }

  private init() async throws {
    engine = try Services.require("KILN_TEST_ENGINE_A")
    tag = "cli" + UUID().uuidString.prefix(8).lowercased()
    // Steps run in the engine's own network: from there, its gateway is this machine.
    gateway = try await OutsideTool("docker", environment: ["DOCKER_HOST": engine]).output([
      "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}",
    ]).trimmingCharacters(in: .whitespacesAndNewlines)
    counter = try HitCounter(address: gateway)
    catalog = try CatalogFolder()
  }

  private func fill(_ products: [(String, String)]) async throws {
    let base = URL(fileURLWithPath: try Services.require("KILN_TEST_BASE"))
    try FileManager.default.copyItem(at: base, to: catalog.root.appendingPathComponent("base"))
    try catalog.write([CatalogFolder.settings()] + products)
    for name in ["water", "leaves"] where products.contains(where: { $0.1.contains("\(name): 1.0.0") }) {
      try step(name)
    }
    let locked = try await kiln.run(["lock"])
    guard locked.status == 0 else { throw KilnProgram.Unexpected(locked.errors) }
  }

  var kiln: KilnProgram { catalog.kiln(["DOCKER_HOST": engine]) }
  var docker: OutsideTool { OutsideTool("docker", environment: ["DOCKER_HOST": engine]) }

  /// A fragment whose RUN says `text`, which is counted as TEXT-TAG-MACHINE.
  func step(_ name: String, calling text: String? = nil) throws {
    var files = ""
    if name == "leaves" {
      files = "COPY said.txt /said.txt\n"
      try catalog.write("fragments/leaves/1.0.0/said.txt", "tea\n")
    }
    let call = "\(text ?? name)-\(tag)"
    try catalog.write(
      CatalogFolder.fragment(
        name,
        "\(files)RUN wget -q -O /dev/null http://\(gateway):\(counter.port)/\(call)-$(uname -m) && echo made \(call)\n")
    )
  }

  /// How often a step ran, on one machine.
  func count(_ text: String, _ machine: String = "x86_64") -> Int {
    counter.all["\(text)-\(tag)-\(machine)", default: 0]
  }

  /// Starts a build that stands still once the step that calls `part` has begun.
  func buildHeld(at part: String) async throws -> Process {
    counter.hold(part)
    let build = try kiln.start("build", ["build"])
    try await eventually("'\(part)' has begun") { !counter.waiting.isEmpty || !build.isRunning }
    guard build.isRunning else { throw KilnProgram.Unexpected(log) }
    return build
  }

  /// What the build that was started has printed.
  var log: String {
    (try? String(contentsOf: catalog.root.appendingPathComponent("build.log"), encoding: .utf8)) ?? "(no log)"
  }

  /// Its exit status, or the signal that ended it.
  func end(of build: Process) async throws -> Int32 {
    try await eventually("the build has ended") { !build.isRunning }
    return build.terminationStatus
  }

  private func end() async {
    counter.stop()
    let images = try? await docker.output(["images", "--quiet", "--filter", "reference=\(tag)/*"])
    for image in Set((images ?? "").split(separator: "\n").map(String.init)) {
      try? await docker.run(["image", "rm", "--force", image])
    }
    catalog.remove()
  }
}
