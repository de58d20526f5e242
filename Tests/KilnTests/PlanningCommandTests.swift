import Foundation
import Model
import RecordStore
import RecordStoreSQLite
import TestSupport
import Testing

/// `kiln lock NAME`, `kiln plan --against`, `--plan`, and how a catalog stands to git.
@Suite("Planning") struct PlanningCommandTests {
  struct Report: Decodable {
    struct Cause: Decodable {
      var input: String
      var name: String?
    }
    struct Layer: Decodable {
      var title: String
      var platform: String
      var causes: [Cause]
    }
    var layers: [Layer]
    var unchangedLayers: Int

    /// `title: cause name, …` of one platform.
    var words: [String] {
      layers.filter { $0.platform == "linux/amd64" }.map { layer in
        let causes = layer.causes.map { $0.input + ($0.name.map { " \($0)" } ?? "") }
        return "\(layer.title): \(causes.joined(separator: ", "))"
      }
    }
  }

  struct PlanReport: Decodable { var movesTags: Bool }

  static let platforms = ["linux/amd64", "linux/arm64"]

  private func withLocked(_ body: (CatalogFolder) async throws -> Void) async throws {
    let folder = try CatalogFolder()
    defer { folder.remove() }
    try folder.write(CatalogFolder.sample)
    try HandmadeLayout(beside: folder).tag("1", platforms: Self.platforms)
    let refresh = "name: water\nversion: 1.0.0\ndescription: For the tests.\nrefresh: 7d\n"
    try folder.write("fragments/water/1.0.0/fragment.yml", refresh)
    let locked = try await folder.kiln().run(["lock"])
    #expect(locked.status == 0, "\(locked)")
    try await body(folder)
  }

  // MARK: an older Kiln's store

  @Test("what an older Kiln kept is brought up to date where it is read, unless somebody is at work in it")
  func olderStore() async throws {
    try await withLocked { folder in
      let file = folder.root.appendingPathComponent(".kiln/store.sqlite")
      try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
      let old = try SQLiteEngine(path: file.path, time: SystemTime())
      _ = try await old.migrate(Array(Schema.migrations(.sqlite).prefix(1)), procedures: [])
      let busy = try await folder.kiln().run(["plan"])
      #expect(busy.status == 4 && busy.errors.contains("in use by process"), "\(busy)")
      await old.close()
      for command in ["plan", "status", "dead-letters"] {
        let read = try await folder.kiln().run([command])
        #expect(read.status == 0, "\(command): \(read)")
      }
    }
  }

  // MARK: lock

  @Test("a refresh of one fragment or one base moves that alone, and says from what to what")
  func refreshesOne() async throws {
    try await withLocked { folder in
      // A day that has been.
      let text = try folder.read("catalog.lock")
      let epoch = try #require(text.firstMatch(of: /"water@1.0.0": ([0-9]+)/)).1
      try folder.write("catalog.lock", text.replacing("\"water@1.0.0\": \(epoch)", with: "\"water@1.0.0\": 86400"))
      let new = try HandmadeLayout(beside: folder).tag("2", platforms: Self.platforms)
      let fragment = try await folder.kiln().run(["lock", "--refresh", "water"])
      #expect(fragment.status == 0, "\(fragment)")
      let line = fragment.output
      #expect(line.hasPrefix("water@1.0.0 epoch 20") && line.hasSuffix(" (was 1970-01-02T00:00:00Z)\n"), "\(line)")
      let moved = try folder.read("catalog.lock")
      #expect(new.values.allSatisfy { !moved.contains($0) })
      let base = try await folder.kiln().run(["lock", "--refresh", "busybox"])
      let lines = base.output.split(separator: "\n")
      #expect(lines.count == 2, "\(base)")
      for (platform, digest) in new {
        #expect(lines.contains { $0.hasPrefix("busybox \(platform) \(digest) (was sha256:") }, "\(base)")
      }
      let unknown = try await folder.kiln().run(["lock", "--refresh", "watr"])
      #expect(unknown.status == 3 && unknown.errors.contains("did you mean 'water'?"), "\(unknown)")
      let bare = try await folder.kiln().run(["lock", "water"])
      #expect(bare.status == 2 && bare.errors.contains("--refresh"), "\(bare)")
    }
  }

  // MARK: plan --against

  @Test("what rebuilds since a revision or a lock, and why")
  func against() async throws {
    try await withLocked { folder in
      try await git(folder, ["init", "--quiet"])
      try await commit(folder)
      let kiln = folder.kiln()
      func report(_ other: String) async throws -> Report {
        try await kiln.json(["plan", "--against", other, "--json"])
      }
      #expect(try await report("HEAD").layers.isEmpty)
      try folder.write("fragments/leaves/1.0.0/said.txt", "coffee\n")
      #expect(try await report("HEAD").words == ["leaves@1.0.0: file fragments/leaves/1.0.0/said.txt"])
      try await commit(folder)
      try folder.write("fragments/water/1.0.0/Dockerfile.fragment", "RUN echo wine > /water.txt\n")
      #expect(try await report("HEAD").words == ["water@1.0.0: text", "leaves@1.0.0: parent water@1.0.0"])
      let both = try await report("HEAD~1").words
      #expect(
        both == [
          "water@1.0.0: text", "leaves@1.0.0: file fragments/leaves/1.0.0/said.txt, parent water@1.0.0",
        ])
      // From a folder below too.
      var below = kiln
      below.folder = folder.root.appendingPathComponent("some/where")
      try FileManager.default.createDirectory(at: below.folder, withIntermediateDirectories: true)
      let table = try await below.run(["plan", "--against", "HEAD~1"])
      #expect(table.status == 0 && table.output.contains("4 layers are others, 0 the same"), "\(table)")
      #expect(table.output.contains("critical path: water@1.0.0 linux/a"), "\(table)")

      try folder.write("old.lock", try folder.read("catalog.lock"))
      try HandmadeLayout(beside: folder).tag("2", platforms: Self.platforms)
      #expect(try await kiln.run(["lock", "--refresh", "busybox"]).status == 0)
      #expect(
        try await report("catalog/old.lock").words == [
          "water@1.0.0: base busybox", "leaves@1.0.0: parent water@1.0.0",
        ])
    }
  }

  @Test(
    "a revision is never an option, and what is none is told",
    arguments: ["-x", "--output=/tmp/kiln-never", "nowhere", "HEAD:catalog", "HEAD catalog"])
  func noRevision(_ text: String) async throws {
    try await withLocked { folder in
      try await git(folder, ["init", "--quiet"])
      try await commit(folder)
      let told = try await folder.kiln().run(["plan", "--against=\(text)"])
      #expect(told.status == 2 && told.output.isEmpty, "\(told)")
      #expect(told.errors.contains("is neither a lock file nor a revision"), "\(told)")
      #expect(!FileManager.default.fileExists(atPath: "/tmp/kiln-never"))
    }
  }

  @Test("an old catalog that is wrong says so with its revision; without git there are no revisions")
  func wrongRevision() async throws {
    try await withLocked { folder in
      let none = try await folder.kiln().run(["plan", "--against", "HEAD"])
      #expect(none.status == 2 && none.errors.contains("'HEAD' is neither"), "\(none)")
      try await git(folder, ["init", "--quiet"])
      let good = try folder.read("manifests/tea.yml")
      try folder.write("manifests/tea.yml", good + "nonsense: 1\n")
      try await commit(folder)
      try folder.write("manifests/tea.yml", good)
      let told = try await folder.kiln().run(["plan", "--against", "HEAD"])
      #expect(told.status == 3 && told.errors.contains("HEAD:manifests/tea.yml:5: field 'nonsense'"), "\(told)")
    }
  }

  // MARK: Changes that git does not have

  @Test("only a catalog with changes that are not committed moves no tag")
  func dirty() async throws {
    try await withLocked { folder in
      let kiln = folder.kiln()
      func look(_ moves: Bool, _ what: String, _ says: String = "") async throws {
        let told = try await kiln.run(["plan", "--json"])
        let report = try JSONDecoder().decode(PlanReport.self, from: Data(told.output.utf8))
        #expect(report.movesTags == moves, "\(what)")
        #expect(told.errors.isEmpty == moves && (says.isEmpty || told.errors.contains(says)), "\(what): \(told.errors)")
      }
      try await look(true, "in no repository")
      try await git(folder, ["init", "--quiet"])
      try await look(false, "nothing committed", "catalog.lock and ")
      try await commit(folder)
      try await look(true, "all committed")
      try Data("x".utf8).write(to: folder.root.appendingPathComponent("elsewhere.txt"))
      try await look(true, "a change elsewhere")
      try folder.write("fragments/leaves/1.0.0/said.txt", "coffee\n")
      try await look(false, "changed", "fragments/leaves/1.0.0/said.txt): no tag is moved")
      try await git(folder, ["add", "--all"])
      try await look(false, "staged", "said.txt")
      try await commit(folder)
      try folder.write("fragments/leaves/1.0.0/new.txt", "new\n")
      try await look(false, "a new file", "new.txt")
      // A build would read it all the same.
      try Data("new.txt\n".utf8).write(to: folder.root.appendingPathComponent(".gitignore"))
      try await look(false, "a new file that git ignores", "new.txt")
      try Data("catalog\n".utf8).write(to: folder.root.appendingPathComponent(".gitignore"))
      try await git(folder, ["rm", "-r", "--quiet", "--cached", "catalog"])
      try await commit(folder)
      try await look(true, "a folder that is none of the repository's")
      // Whatever git cannot say is no clean catalog.
      try await git(folder, ["add", "--force", "catalog"])
      try await commit(folder)
      try Data("broken".utf8).write(to: folder.root.appendingPathComponent(".git/HEAD"))
      try await look(false, "a repository that git cannot read", "git status")
    }
  }

  @Test("an application's source that is not committed moves no tag either; an old catalog has it too")
  func dirtySource() async throws {
    try await withLocked { folder in
      let source = folder.root.appendingPathComponent("source/said.txt")
      try FileManager.default.createDirectory(
        at: source.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data("tea\n".utf8).write(to: source)
      try folder.write(
        "fragments/leaves/1.0.0/fragment.yml",
        "name: leaves\nversion: 1.0.0\ndescription: x\ncontext: {dir: ../source}\n")
      // What git leaves out of its archives is in a catalog all the same.
      try folder.write(".gitattributes", "fragments/** export-ignore\n")
      try await git(folder, ["init", "--quiet"])
      try await commit(folder)
      let report: PlanReport = try await folder.kiln().json(["plan", "--json"])
      #expect(report.movesTags)
      // What git ignores counts where it is sent.
      try folder.write("fragments/leaves/1.0.0/Dockerfile.fragment", "COPY . /said/\n")
      for (path, text) in [(".gitignore", "built\n"), (".dockerignore", "built\n"), ("built/all.txt", "all\n")] {
        let file = source.deletingLastPathComponent().appendingPathComponent(path)
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
      }
      try await commit(folder)
      let unsent = try await folder.kiln().run(["plan", "--json"])
      #expect(unsent.output.contains(#""movesTags" : true"#), "\(unsent)")
      try Data("".utf8).write(to: source.deletingLastPathComponent().appendingPathComponent(".dockerignore"))
      try await commit(folder)
      let sent = try await folder.kiln().run(["plan", "--json"])
      #expect(sent.errors.contains("../source: source/built/"), "\(sent)")
      #expect(sent.output.contains(#""movesTags" : false"#), "\(sent)")
      try folder.write("fragments/leaves/1.0.0/Dockerfile.fragment", "COPY said.txt /said.txt\n")
      try await commit(folder)
      try Data("coffee\n".utf8).write(to: source)
      let told = try await folder.kiln().run(["plan", "--json"])
      #expect(told.output.contains(#""movesTags" : false"#) && told.errors.contains("said.txt"), "\(told)")
      try folder.write("fragments/water/1.0.0/Dockerfile.fragment", "RUN echo wine > /water.txt\n")
      let compared: Report = try await folder.kiln().json(["plan", "--against", "HEAD", "--json"])
      #expect(compared.words == ["water@1.0.0: text", "leaves@1.0.0: parent water@1.0.0"])
    }
  }

  // MARK: Test plans

  @Test("a test plan is planned in place of products")
  func testPlan() async throws {
    try await withLocked { folder in
      try folder.write("plans/try.yml", "product: tea\nfixed: {water: 1.0.0}\n")
      let told = try await folder.kiln().run(["plan", "--plan", "try"])
      #expect(told.status == 0 && told.output.contains("tea [water=1.0.0]"), "\(told)")
      let report: PlanReport = try await folder.kiln().json(["plan", "--plan", "try", "--json"])
      #expect(!report.movesTags)
      for command in ["plan", "build", "submit"] {
        let both = try await folder.kiln().run([command, "tea", "--plan", "try"])
        #expect(both.status == 2 && both.errors.contains("not both"), "\(both)")
      }
      let unknown = try await folder.kiln().run(["plan", "--plan", "tri"])
      #expect(unknown.status == 3 && unknown.errors.contains("did you mean 'try'?"), "\(unknown)")
    }
  }

  private func git(_ folder: CatalogFolder, _ arguments: [String]) async throws {
    try await OutsideTool("git", environment: ["HOME": folder.root.path]).run(["-C", folder.root.path] + arguments)
  }

  private func commit(_ folder: CatalogFolder) async throws {
    try await git(folder, ["add", "--all"])
    let person = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    try await git(folder, person + ["commit", "--quiet", "--message", "test"])
  }
}
