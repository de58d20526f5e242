import Foundation
import Model
import TestSupport

/// A folder of the test's own with a small catalog in it: a base from a layout beside it, a template,
/// fragments, products.
struct CatalogFolder {
  let root: URL
  var catalog: URL { root.appendingPathComponent("catalog", isDirectory: true) }

  init() throws {
    root = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-cli-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
  }

  func remove() { try? FileManager.default.removeItem(at: root) }

  /// Writes below the catalog.
  func write(_ path: String, _ text: String) throws {
    let file = catalog.appendingPathComponent(path)
    try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(text.utf8).write(to: file)
  }

  func write(_ files: [(String, String)]) throws { for (path, text) in files { try write(path, text) } }

  func read(_ path: String) throws -> String {
    try String(contentsOf: catalog.appendingPathComponent(path), encoding: .utf8)
  }

  /// `kiln` in this folder, with nothing of the environment but what programs need.
  func kiln(_ changes: [String: String] = [:]) -> KilnProgram {
    var environment = ["HOME": root.path, "LC_ALL": "C"]
    environment["PATH"] = ProcessInfo.processInfo.environment["PATH"]
    environment.merge(changes) { _, new in new }
    return KilnProgram(environment: environment, folder: root)
  }

  // MARK: Definitions

  static func settings(_ source: String = "oci-layout:../base") -> (String, String) {
    ("catalog.yml", "name: tiny\nbases:\n  busybox:\n    source: \(source)\n    tag: latest\n")
  }

  static func product(
    _ name: String, fragments: [String], platforms: [String] = ["linux/amd64"], repository: String? = nil,
    expecting text: String = "tea"
  ) -> [(String, String)] {
    let targets = platforms.map { "  - platform: \($0)\n" }.joined()
    let markers = fragments.map { "#--MODULE:\($0)--#\n#--ENDMODULE--#\n" }.joined()
    return [
      (
        "products/\(name).yml",
        """
        name: \(name)
        image: \(repository ?? "tiny/\(name)")
        version: 1.0.0
        manifest: \(name)
        tags: ["{version}"]
        targets:
        \(targets)tests:
          - name: says
            command: [cat, /said.txt]
            timeoutSeconds: 30
            expectedOutput: \(text)

        """
      ),
      (
        "manifests/\(name).yml",
        """
        name: \(name)
        template: \(name)@1.0.0
        base: busybox
        fragments: {\(fragments.map { "\($0): 1.0.0" }.joined(separator: ", "))}

        """
      ),
      ("templates/\(name)/1.0.0/Dockerfile.tpl", "FROM {base}\n\(markers)"),
    ]
  }

  static func fragment(_ name: String, _ text: String) -> [(String, String)] {
    [
      ("fragments/\(name)/1.0.0/fragment.yml", "name: \(name)\nversion: 1.0.0\ndescription: For the tests.\n"),
      ("fragments/\(name)/1.0.0/Dockerfile.fragment", text),
    ]
  }

  /// One product `tea` of two fragments, for two platforms.
  static let sample: [(String, String)] =
    [settings()]
    + product("tea", fragments: ["water", "leaves"], platforms: ["linux/amd64", "linux/arm64"])
    + fragment("water", "RUN echo water > /water.txt\n")
    + fragment("leaves", "COPY said.txt /said.txt\n") + [("fragments/leaves/1.0.0/said.txt", "tea\n")]
}

/// An OCI layout beside the catalog, written by hand: images without any layer.
struct HandmadeLayout {
  let folder: URL

  init(beside catalog: CatalogFolder) { folder = catalog.root.appendingPathComponent("base", isDirectory: true) }

  /// Moves the tag `latest` to new images for these platforms; returns their digests.
  @discardableResult
  func tag(_ content: String, platforms: [String]) throws -> [String: String] {
    try FileManager.default.createDirectory(
      at: folder.appendingPathComponent("blobs/sha256"), withIntermediateDirectories: true)
    var digests: [String: String] = [:]
    var entries: [String] = []
    for platform in platforms {
      let parts = platform.split(separator: "/")
      let (os, architecture) = (parts[0], parts[1])
      let config = try blob(
        """
        {"os":"\(os)","architecture":"\(architecture)","config":{"Labels":{"content":"\(content)"}},\
        "rootfs":{"type":"layers","diff_ids":[]}}
        """)
      let manifest = try blob(
        """
        {"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",\
        "config":{"mediaType":"application/vnd.oci.image.config.v1+json",\(config)},"layers":[]}
        """)
      entries.append(
        """
        {"mediaType":"application/vnd.oci.image.manifest.v1+json",\(manifest),\
        "platform":{"os":"\(os)","architecture":"\(architecture)"}}
        """)
      digests[platform] = String(manifest.split(separator: "\"")[2])
    }
    let index = try blob(
      """
      {"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",\
      "manifests":[\(entries.joined(separator: ","))]}
      """)
    try write("oci-layout", #"{"imageLayoutVersion":"1.0.0"}"#)
    try write(
      "index.json",
      """
      {"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json",\(index),\
      "annotations":{"org.opencontainers.image.ref.name":"latest"}}]}
      """)
    return digests
  }

  /// Its digest and size, as fields of a descriptor.
  private func blob(_ text: String) throws -> String {
    let digest = Digest(of: Data(text.utf8))
    try write("blobs/sha256/\(digest.hex)", text)
    return #""digest":"\#(digest)","size":\#(text.utf8.count)"#
  }

  private func write(_ path: String, _ text: String) throws {
    try Data(text.utf8).write(to: folder.appendingPathComponent(path))
  }
}
