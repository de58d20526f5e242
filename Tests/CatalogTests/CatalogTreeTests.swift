import Catalog
import Foundation
import Model
import Testing

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

@Suite struct CatalogTreeTests {
  /// A catalog on disk, for one test.
  private func withFolder<Result>(_ files: [String: String], _ body: (URL) throws -> Result) throws -> Result {
    let root = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-catalog-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: root) }
    for (path, text) in files {
      let url = root.appendingPathComponent(path)
      try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data(text.utf8).write(to: url)
      if path.hasSuffix(".sh") { chmod(url.path, 0o711) }
    }
    return try body(root)
  }

  private func errors(_ body: (URL) throws -> Void) throws -> [String] {
    try withFolder(Fixture.files) { root in
      try body(root)
      do {
        _ = try CatalogTree(directory: root)
        return []
      } catch let errors as CatalogErrors {
        return errors.diagnostics.map(\.description)
      }
    }
  }

  @Test func folderAndTarGiveTheSameTree() throws {
    let tree = try withFolder(Fixture.files.merging(["README.md": "x", "fragments.txt": "y"]) { $1 }) {
      try CatalogTree(directory: $0)
    }
    #expect(try tree == Fixture.tree())
    #expect(try CatalogTree(tar: tree.tar()) == tree)
    #expect(try tree.digest == Fixture.tree().digest)
  }

  @Test func digestChangesWithContentModeAndName() throws {
    let tree = try Fixture.tree()
    let file = "fragments/app/1.0.0/extra"
    func digest(_ path: String, _ content: CatalogTree.Content) throws -> Digest {
      try CatalogTree(tree.entries + [CatalogTree.Entry(path: path, content: content)]).digest
    }
    let digests = try [
      tree.digest, digest(file, .file(Data("x".utf8), executable: false)),
      digest(file, .file(Data("y".utf8), executable: false)), digest(file, .file(Data("x".utf8), executable: true)),
      digest(file + "2", .file(Data("x".utf8), executable: false)), digest(file, .symlink(target: "x")),
    ]
    #expect(Set(digests).count == digests.count)
  }

  @Test func theOrderOfFilesDoesNotMatter() throws {
    let tree = try Fixture.tree()
    #expect(try CatalogTree(tree.entries.reversed()) == tree)
  }

  @Test func specialFilesAreRefused() throws {
    let app = "fragments/app/1.0.0"
    #expect(
      try errors { mkfifo($0.path + "/\(app)/pipe", 0o644) } == [
        "\(app)/pipe: is neither a file nor a folder nor a symlink"
      ])
    #expect(
      try errors { symlink("/etc/passwd", $0.path + "/\(app)/link") }
        == ["\(app)/link: the symlink to '/etc/passwd' leaves the folder of its definition"])
    #expect(
      try errors { link($0.path + "/\(app)/main.sh", $0.path + "/\(app)/other.sh") } == [
        "\(app)/main.sh: a hardlink: its content has another name too; make it a file of its own",
        "\(app)/other.sh: a hardlink: its content has another name too; make it a file of its own",
      ])
    #expect(
      try errors { mkdir($0.path + "/\(app)/empty", 0o755) }
        == ["\(app)/empty: an empty folder, which git does not keep; put a file into it or remove it"])
    #expect(
      try errors { try Data("*".utf8).write(to: $0.appendingPathComponent(".dockerignore")) }
        == [".dockerignore: docker would leave files out that Kiln sends; remove it"])
    #expect(
      try errors { truncate($0.path + "/\(app)/main.sh", off_t(CatalogTree.maxFileBytes + 1)) }
        == ["\(app)/main.sh: has 67108865 bytes; at most 67108864 are allowed"])
  }

  @Test func aFolderOfDefinitionsIsNotFollowed() throws {
    let found = try errors { root in
      try FileManager.default.removeItem(at: root.appendingPathComponent("products"))
      symlink("/etc", root.path + "/products")
    }
    #expect(found == ["products: a symlink; the catalog's own folders and files must be in it themselves"])
    #expect(throws: CatalogErrors.self) { try CatalogTree(directory: URL(fileURLWithPath: "/nonexistent")) }
  }
}
