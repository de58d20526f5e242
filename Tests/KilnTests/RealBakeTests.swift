import Foundation
import TestSupport
import Testing

/// What `kiln plan --format bake` prints, in the hands of the program that it is for.
@Suite("Bake file", .timeLimit(.minutes(3)))
struct RealBakeTests {
  @Test("docker buildx bake builds the same image from the bake file as Kiln from the catalog")
  func sameImage() async throws {
    try await EmbeddedFolder.with(CatalogFolder.product("tea", fragments: ["water", "leaves"])) { folder in
      let planned = try await folder.kiln.run(["plan", "tea", "--format", "bake"])
      #expect(planned.status == 0 && planned.errors.contains("not in the bake file: 1 smoke tests"), "\(planned)")
      let root = folder.catalog.root
      try Data(planned.output.utf8).write(to: root.appendingPathComponent("bake.json"))
      let archive = root.appendingPathComponent("tea.tar").path
      let baked = try await folder.kiln.run(
        [
          "docker", "buildx", "bake", "--file", "bake.json", "--progress", "plain", "--set",
          "*.output=type=oci,dest=\(archive),rewrite-timestamp=true", "tea",
        ], program: URL(fileURLWithPath: "/usr/bin/env"))
      #expect(baked.status == 0, "\(baked.errors)")
      let built = try await folder.kiln.run(["build", "--output", "images"])
      #expect(built.status == 0, "\(built)")
      var theirs = try await facts("oci-archive:\(archive)")
      var ours = try await facts("oci:\(root.path)/images/tiny-tea:1.0.0")
      // Bake's exporter may write the base's blob anew; Kiln's images keep the base's own.
      theirs.rootfs.diffIDs.removeFirst()
      ours.rootfs.diffIDs.removeFirst()
      #expect(theirs.rootfs.diffIDs.count == 3)
      #expect(ours == theirs)
    }
  }

  /// An image's config, of which only what was built counts: blobs' contents and how it runs.
  private struct Facts: Decodable, Equatable {
    struct RootFS: Decodable, Equatable {
      var diffIDs: [String]
      enum CodingKeys: String, CodingKey { case diffIDs = "diff_ids" }
    }
    struct Run: Decodable, Equatable {
      var environment: [String]?
      var command: [String]?
      var folder: String?
      enum CodingKeys: String, CodingKey {
        case environment = "Env"
        case command = "Cmd"
        case folder = "WorkingDir"
      }
    }
    var rootfs: RootFS
    var config: Run
  }

  private func facts(_ image: String) async throws -> Facts {
    let config = try await OutsideTool("skopeo").output(["inspect", "--config", "--override-arch", "amd64", image])
    return try JSONDecoder().decode(Facts.self, from: Data(config.utf8))
  }
}
