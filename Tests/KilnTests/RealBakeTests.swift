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
      let theirs = try await ImageFacts.read("oci-archive:\(archive)")
      let ours = try await ImageFacts.read("oci:\(root.path)/images/tiny-tea:1.0.0")
      #expect(theirs.aboveBase.rootfs.diffIDs.count == 3)
      #expect(ours.aboveBase == theirs.aboveBase)
    }
  }
}
