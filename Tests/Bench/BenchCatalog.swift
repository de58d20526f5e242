import Catalog
import Foundation
import Model
import Planner
import Registry

/// A generated catalog with one product: its fragments one upon the other, its matrix the versions of
/// those that have several.
struct BenchCatalog {
  struct Fragment {
    var name: String
    var versions = ["1.0.0"]
    /// `{version}` in it is the version: with equal texts, they would be one layer.
    var text: String
    var files: [String: Data] = [:]
    var independent = false
    /// A version with one line more.
    var changed: String?
  }

  var fragments: [Fragment]
  /// On all platforms of the base, not on the first alone.
  var everywhere = false

  /// `count` chains of `length` layers that share none, and a cell on each; no layer is in a plan of
  /// another salt.
  static func chains(_ count: Int, length: Int, salt: String) -> BenchCatalog {
    let versions = (1...count).map { "1.0.\($0)" }
    return BenchCatalog(
      fragments: (0..<length).map { index in
        Fragment(
          name: "f\(index)", versions: index == 0 ? versions : ["1.0.0"],
          text: index == 0 ? "RUN true \(salt) {version}\n" : "RUN true\n")
      })
  }

  func plan(_ base: SampleBase) throws -> PlannedWork {
    try Planner.plan(
      catalog: catalog(), lock: lock(base), request: PlanRequest(platforms: everywhere ? [] : [base.platform]),
      catalogRevision: nil)
  }

  private func catalog() throws -> Catalog {
    try Catalog.load(CatalogTree(files.sorted { $0.key < $1.key }.map(Self.entry)))
  }

  private func lock(_ base: SampleBase) -> Lock {
    Lock(bases: [
      "busybox": Lock.Base(source: SampleBase.source, tag: "latest", platforms: base.digests)
    ])
  }

  /// Writes the catalog's files and what `docker buildx bake` reads; its path. The base comes from
  /// `repository`.
  func writeBakeFile(_ base: SampleBase, baseIn repository: String, below folder: URL) throws -> URL {
    for (path, bytes) in files {
      let file = folder.appendingPathComponent(path)
      try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
      try bytes.write(to: file)
    }
    let text = try BakeFile(plan(base), catalog: catalog(), lock: lock(base), catalogPath: folder.path).text()
    let file = folder.appendingPathComponent("bake.json")
    try Data(text.replacing("\(SampleBase.source)@", with: "\(repository)@").utf8).write(to: file)
    return file
  }

  private static func entry(path: String, bytes: Data) -> CatalogTree.Entry {
    CatalogTree.Entry(path: path, content: .file(bytes, executable: false))
  }

  private var files: [String: Data] {
    var files: [String: Data] = [:]
    func write(_ path: String, _ text: String) { files[path] = Data(text.utf8) }
    let markers = fragments.map { "#--MODULE:\($0.name)--#\n#--ENDMODULE--#\n" }.joined()
    write("catalog.yml", "name: bench\nbases:\n  busybox: {source: \(SampleBase.source), tag: latest}\n")
    write("templates/base/1/Dockerfile.tpl", "FROM {base}\n\(markers)")
    let chosen = fragments.map { "  \($0.name): \($0.versions[0])\n" }.joined()
    let axes = fragments.filter { $0.versions.count > 1 }
    write("manifests/bench.yml", "template: base@1\nbase: busybox\nfragments:\n\(chosen)")
    let matrix = "matrix:\n" + axes.map { "  \($0.name): [\($0.versions.joined(separator: ", "))]\n" }.joined()
    write(
      "products/bench.yml",
      """
      image: bench/image
      version: 1.0.0
      manifest: bench
      tags: ["{version}\(axes.isEmpty ? "" : "-{variant}")"]
      targets:
        - platform: linux/amd64
        - platform: linux/arm64
      \(axes.isEmpty ? "" : matrix)tests:
        - name: runs
          command: ["true"]

      """)
    for fragment in fragments {
      for version in fragment.versions {
        let folder = "fragments/\(fragment.name)/\(version)"
        let more = fragment.independent ? "independent: true\n" : ""
        write(
          "\(folder)/fragment.yml", "name: \(fragment.name)\nversion: \(version)\ndescription: nothing\n\(more)")
        write(
          "\(folder)/Dockerfile.fragment",
          fragment.text.replacing("{version}", with: version)
            + (fragment.changed == version ? "LABEL more=line\n" : ""))
        for (name, bytes) in fragment.files { files["\(folder)/\(name)"] = bytes }
      }
    }
    return files
  }
}

/// The sample base image of the tests.
struct SampleBase: Sendable {
  /// What catalogs call it; where it really is, only `open` knows.
  static let source = "localhost/base"

  /// linux/amd64.
  let platform: Platform
  private(set) var digests: [Platform: Digest]
  private(set) var layout: URL

  /// Of `platform`.
  var digest: Digest { digests[platform] ?? Digest(of: Data()) }

  static func open() async throws -> SampleBase {
    let layout = URL(fileURLWithPath: try Address.require("KILN_TEST_BASE"), isDirectory: true)
    let store = try OCILayoutStore(directory: layout)
    let platforms = try await PlatformResolution.resolve("latest", in: "", of: store)
    guard let platform = Platform("linux/amd64"), platforms[platform] != nil else {
      throw BenchError("the sample base image is not for linux/amd64")
    }
    return SampleBase(platform: platform, digests: platforms, layout: layout)
  }

  /// Other images with the same blobs, in a copy of the layout in `folder`.
  func moved(to folder: URL) async throws -> SampleBase {
    try FileManager.default.copyItem(at: layout, to: folder)
    let store = try OCILayoutStore(directory: folder)
    var base = self
    base.layout = folder
    for (platform, digest) in digests {
      guard let old = try await store.manifest(.digest(digest), in: "") else { throw BenchError("no base \(digest)") }
      let image = try ImageManifest(old)
      var config = try JSONValue.parse(
        try await store.blob(image.config.digest, in: "", maxBytes: 1 << 20), what: "the base's config")
      config["comment"] = .string("moved")
      let bytes = config.canonicalBytes
      try await store.upload(bytes, digest: Digest(of: bytes), to: "")
      var manifest = try JSONValue.parse(old.bytes, what: "the base's manifest")
      manifest["config"]?["digest"] = .string("\(Digest(of: bytes))")
      manifest["config"]?["size"] = .integer(Int64(bytes.count))
      let new = Manifest(mediaType: old.mediaType, bytes: manifest.canonicalBytes)
      try await store.put(new, in: "", tag: nil)
      base.digests[platform] = new.digest
    }
    return base
  }
}
