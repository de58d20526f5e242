import Foundation
import Model
import RecordStore
import TestSupport

/// A copy of the sample catalog, for one platform, to be built on real engines with apt and pip.
struct ServingFolder {
  let root: URL
  let platform: String

  static func with(_ platform: String, _ body: (ServingFolder) async throws -> Void) async throws {
    let folder = try ServingFolder(platform)
    defer { try? FileManager.default.removeItem(at: folder.root) }
    let locked = try await folder.kiln("KILN_TEST_ENGINE_A").run(["lock"])
    guard locked.status == 0 else { throw KilnProgram.Unexpected(locked.errors) }
    try await body(folder)
  }

  private init(_ platform: String) throws {
    self.platform = platform
    let files = FileManager.default
    let project = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    root = files.temporaryDirectory.appendingPathComponent("kiln-serving-\(UUID().uuidString)")
    try files.createDirectory(at: root, withIntermediateDirectories: true)
    try files.copyItem(at: project.appendingPathComponent("catalog"), to: root.appendingPathComponent("catalog"))
    // The bases are where the catalog says, beside it.
    try files.createSymbolicLink(
      at: root.appendingPathComponent(".farm"), withDestinationURL: project.appendingPathComponent(".farm"))
    for product in ["hello", "serving"] {
      let file = root.appendingPathComponent("catalog/products/\(product).yml")
      let other = platform == "linux/amd64" ? "linux/arm64" : "linux/amd64"
      let text = try String(contentsOf: file, encoding: .utf8).replacing("  - platform: \(other)\n", with: "")
      try Data(text.utf8).write(to: file)
    }
    if platform != "linux/amd64" {
      try files.removeItem(at: root.appendingPathComponent("catalog/products/serving-cuda.yml"))
    }
  }

  /// On one engine, with a store of that engine's own.
  func kiln(_ engine: String) throws -> KilnProgram {
    var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("KILN_") }
    environment["DOCKER_HOST"] = try Services.require(engine)
    environment["KILN_SYFT"] = try Services.require("KILN_TEST_SYFT")
    environment["KILN_HOME"] = root.appendingPathComponent(engine).path
    return KilnProgram(environment: environment, folder: root)
  }

  /// RUN reaches apt's mirror and PyPI the way this machine does.
  static let outside = ["--network", "host", "--secret", "ca=/etc/ssl/certs/ca-certificates.crt"]

  func build(_ engine: String, _ words: [String], status: Int32 = 0) async throws -> BuildDetail {
    try await kiln(engine).json(["build", "--json"] + Self.outside + words, status: status)
  }

  func docker(_ engine: String = "KILN_TEST_ENGINE_A") throws -> OutsideTool {
    OutsideTool("docker", environment: ["DOCKER_HOST": try Services.require(engine)])
  }
}
