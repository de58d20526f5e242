import Foundation
import Model
import TestSupport
import Testing

@testable import Registry

/// The file that `docker load` takes, judged by `tar`.
@Suite("OCI archive", .timeLimit(.minutes(1)))
struct OCIArchiveTests {
  private struct Index: Decodable {
    struct Entry: Decodable {
      var digest: String
      var size: Int
      var mediaType: String
      var annotations: [String: String]
    }
    var schemaVersion: Int
    var manifests: [Entry]
  }

  /// Two platforms whose images share their blobs, and the index of both.
  private func twoPlatforms(in store: OCILayoutStore) async throws -> Manifest {
    let amd64 = SampleImage()
    var arm64 = SampleImage(platform: "linux/arm64", blobs: 0)
    arm64.blobs = amd64.blobs
    let text = String(decoding: amd64.manifest.bytes, as: UTF8.self)
    // The other config, the same blobs.
    let other = text.replacing("\(Digest(of: amd64.config))", with: "\(Digest(of: arm64.config))")
      .replacing("\"size\": \(amd64.config.count)}", with: "\"size\": \(arm64.config.count)}")
    arm64.manifest = Manifest(mediaType: MediaType.imageManifest, bytes: Data(other.utf8))
    try await amd64.push(to: store, "one")
    try await arm64.push(to: store, "one")
    let index = try ImageIndex.assemble([
      IndexChild(platform: Platform("linux/amd64")!, manifest: amd64.manifest),
      IndexChild(platform: Platform("linux/arm64")!, manifest: arm64.manifest),
    ])
    try await store.put(index, in: "one", tag: nil)
    return index
  }

  @Test("holds a layout: each blob once and as its name says, the index under every name")
  func contents() async throws {
    try await withLayout { store, layout in
      let index = try await twoPlatforms(in: store)
      let folder = layout.deletingLastPathComponent().appendingPathComponent("made", isDirectory: true)
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      let archive = folder.appendingPathComponent("image.tar")
      try Data("old".utf8).write(to: archive)
      try await OCIArchive.write(
        index.digest, from: store, repository: "one", names: ["team/tea:1.0.0", "host:5000/tea"], to: archive)
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["image.tar"], "nothing else is left")

      let tar = OutsideTool("tar")
      let entries = try await tar.output(["-tf", archive.path]).split(separator: "\n").map(String.init)
      #expect(entries.prefix(2) == ["oci-layout", "index.json"])
      // The index, two manifests, two configs, two blobs that both have.
      #expect(entries.count == 2 + 7 && Set(entries).count == entries.count, "\(entries)")
      try await tar.run(["-xf", archive.path, "-C", folder.path])
      for path in entries.dropFirst(2) {
        let bytes = try Data(contentsOf: folder.appendingPathComponent(path))
        #expect(path == "blobs/sha256/\(Digest(of: bytes).hex)")
      }
      #expect(
        try String(contentsOf: folder.appendingPathComponent("oci-layout"), encoding: .utf8)
          == #"{"imageLayoutVersion":"1.0.0"}"#)
      let root = try JSONDecoder().decode(
        Index.self, from: Data(contentsOf: folder.appendingPathComponent("index.json")))
      #expect(root.schemaVersion == 2)
      #expect(root.manifests.allSatisfy { $0.digest == "\(index.digest)" && $0.size == index.bytes.count })
      #expect(root.manifests.allSatisfy { $0.mediaType == MediaType.imageIndex })
      #expect(
        root.manifests.map(\.annotations) == [
          [
            "io.containerd.image.name": "docker.io/team/tea:1.0.0", "org.opencontainers.image.ref.name": "1.0.0",
          ],
          ["io.containerd.image.name": "host:5000/tea:latest", "org.opencontainers.image.ref.name": "latest"],
        ])
    }
  }

  @Test("an image that is not there, or lost a blob, leaves no archive and no parts of one")
  func incomplete() async throws {
    try await withLayout { store, layout in
      let index = try await twoPlatforms(in: store)
      let folder = layout.deletingLastPathComponent().appendingPathComponent("made", isDirectory: true)
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      let archive = folder.appendingPathComponent("image.tar")
      func code(_ digest: Digest) async throws -> String? {
        try await failureCode {
          try await OCIArchive.write(digest, from: store, repository: "one", names: ["a"], to: archive)
        }
      }
      #expect(try await code(Digest(of: "nothing")) == "image-gone")
      let child = try #require(try ImageIndex.children(index).last)
      let image = try ImageManifest(try #require(try await store.manifest(.digest(child.descriptor.digest), in: "one")))
      let lost = try #require(image.blobs.last?.digest)
      try FileManager.default.removeItem(at: OCILayoutStoreTests.blobFile(layout, lost))
      #expect(try await code(index.digest) != nil)
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
    }
  }
}
