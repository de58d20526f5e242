import Foundation
import TestSupport
import Testing

/// The real program on what is not in a catalog's own folder, and on its history; git judges.
@Suite("Catalog commands", .timeLimit(.minutes(3)))
struct CatalogCommandTests {
  private func withCatalog(_ body: (CatalogFolder) async throws -> Void) async throws {
    let folder = try CatalogFolder()
    defer { folder.remove() }
    try folder.write(CatalogFolder.sample)
    try HandmadeLayout(beside: folder).tag("1", platforms: ["linux/amd64", "linux/arm64"])
    try await body(folder)
  }

  /// A repository in `folder` with everything in it committed; the commit's id.
  private func commit(_ folder: URL) async throws -> String {
    let git = OutsideTool("git")
    let options = ["-C", folder.path, "-c", "user.name=t", "-c", "user.email=t@example.com"]
    try await git.run(["init", "--quiet", folder.path])
    try await git.run(options + ["add", "--all"])
    try await git.run(options + ["commit", "--quiet", "--message", "x"])
    return try await git.output(options + ["rev-parse", "HEAD"]).trimmingCharacters(in: .whitespacesAndNewlines)
  }

  @Test("a changed file of a released version is refused, and a revision is never an option")
  func against() async throws {
    try await withCatalog { folder in
      _ = try await commit(folder.catalog)
      let check = ["catalog", "check", "--against", "HEAD"]
      #expect(try await folder.kiln().run(check).status == 0)
      try folder.write("fragments/leaves/1.0.0/said.txt", "coffee\n")
      let told = try await folder.kiln().run(check)
      #expect(told.status == 3 && told.output.isEmpty, "\(told)")
      #expect(
        told.errors.contains("fragments/leaves/1.0.0/said.txt: was changed, but leaves@1.0.0 was released with HEAD"),
        "\(told.errors)")
      #expect(try await folder.kiln().run(["catalog", "check"]).status == 0)
      for revision in ["nothing", "--output=x", "-h"] {
        let wrong = try await folder.kiln().run(["catalog", "check", "--against=\(revision)"])
        #expect(wrong.status == 2 && wrong.errors.contains("is no git revision"), "\(wrong)")
      }
    }
  }

  @Test("what is deprecated warns until its day, then is refused")
  func deprecated() async throws {
    try await withCatalog { folder in
      func say(_ day: String) throws {
        try folder.write(
          "fragments/water/1.0.0/fragment.yml",
          "name: water\nversion: 1.0.0\ndescription: x\ndeprecated: {until: \(day)}\n")
      }
      struct Report: Decodable { var warnings: [String] }
      try say("9999-12-31")
      let warned = try await folder.kiln().run(["catalog", "check", "--json"])
      #expect(
        warned.status == 0 && warned.errors.contains("warning: fragments/water/1.0.0/fragment.yml:4"), "\(warned)")
      #expect(try JSONDecoder().decode(Report.self, from: Data(warned.output.utf8)).warnings.count == 1)
      try say("2001-01-01")
      let denied = try await folder.kiln().run(["plan", "--catalog-only"])
      #expect(denied.status == 3 && denied.errors.contains("refused since 2001-01-01"), "\(denied)")
    }
  }

  @Test("fragments of another catalog come by commit, and only as they were locked")
  func otherCatalog() async throws {
    try await withCatalog { folder in
      let other = folder.root.appendingPathComponent("other")
      for (path, text) in CatalogFolder.fragment("leaves", "COPY said.txt /said.txt\n") + [
        ("fragments/leaves/1.0.0/said.txt", "theirs\n"), ("catalog.yml", "name: other\n"),
        (".gitattributes", "said.txt export-ignore filter=x\n"),
      ] {
        let file = other.appendingPathComponent("sub/\(path)")
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
      }
      let revision = try await commit(other)
      let (_, settings) = CatalogFolder.settings()
      try folder.write(
        "catalog.yml", settings + "catalogs:\n  far:\n    git: ../other\n    revision: \(revision)\n    path: sub\n")
      for (path, text) in CatalogFolder.product("tea", fragments: ["far.leaves"]) { try folder.write(path, text) }
      let unlocked = try await folder.kiln().run(["render", "tea"])
      #expect(
        unlocked.status == 3 && unlocked.errors.contains("is not locked at \(revision); run 'kiln lock'"), "\(unlocked)"
      )
      #expect(try await folder.kiln().run(["lock"]).status == 0)
      let rendered = try await folder.kiln().run(["render", "tea"])
      #expect(rendered.output.contains("COPY catalogs/far/fragments/leaves/1.0.0/said.txt /said.txt\n"), "\(rendered)")
      #expect(try await folder.kiln().run(["plan", "--catalog-only"]).status == 0)
      let lock = try folder.read("catalog.lock")
      let digest = try #require(lock.split(separator: "\n").first { $0.hasPrefix("    digest: ") })
      try folder.write(
        "catalog.lock", lock.replacing(digest, with: "    digest: sha256:\(String(repeating: "0", count: 64))"))
      let changed = try await folder.kiln().run(["plan", "--catalog-only"])
      #expect(changed.status == 3 && changed.errors.contains("are not those that were locked"), "\(changed)")
    }
  }

  @Test("an application's source comes from its folder or its commit; what is not named changes nothing")
  func application() async throws {
    try await withCatalog { folder in
      let source = folder.root.appendingPathComponent("source")
      func write(_ path: String, _ text: String) throws {
        let file = source.appendingPathComponent(path)
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
      }
      func say(_ context: String) throws {
        try folder.write(
          "fragments/leaves/1.0.0/fragment.yml",
          "name: leaves\nversion: 1.0.0\ndescription: x\ncontext: \(context)\n")
      }
      func plan() async throws -> String {
        let told = try await folder.kiln().run(["plan", "--catalog-only"])
        #expect(told.status == 0, "\(told)")
        return told.output.split(separator: "\n").filter { $0.hasPrefix("leaves@1.0.0") }.joined()
      }
      try write("src/said.txt", "tea\n")
      try write("unnamed.txt", "1\n")
      try folder.write("fragments/leaves/1.0.0/Dockerfile.fragment", "COPY src/said.txt /said.txt\n")
      try say("{dir: ../source}")
      #expect(try await folder.kiln().run(["lock"]).status == 0)
      let first = try await plan()
      try write("unnamed.txt", "2\n")
      #expect(try await plan() == first)
      let revision = try await commit(source)
      try say("{git: ../source, revision: \(revision)}")
      #expect(try await plan() == first)
      try write("src/said.txt", "changed\n")
      #expect(try await plan() == first)
      try say("{dir: ../source}")
      #expect(try await plan() != first)
      try say("{git: ../source, revision: \(String(repeating: "0", count: 40))}")
      let none = try await folder.kiln().run(["plan", "--catalog-only"])
      #expect(none.status == 2 && none.errors.contains("has no commit 0000"), "\(none)")
    }
  }

  @Test("a store is imported whole or not at all")
  func importing() async throws {
    let folder = try CatalogFolder()
    defer { folder.remove() }
    let files = [
      (
        "control_plane/data/manifest.json",
        #"{"m": {"template": {"id": "t", "version": "1"}, "modules": [{"name": "a", "version": "2"}], "odd": 1}}"#
      ),
      ("dockerfiles/templates/t/1/Dockerfile.tpl", "FROM debian:12\n#--MODULE:a--#\n#--ENDMODULE--#\nUSER 1"),
      ("control_plane/data/modules/a/2/module.json", #"{"name": "a", "version": "2"}"#),
      ("control_plane/data/modules/a/2/Dockerfile.fragment", "COPY app/x.sh /x"), ("app/x.sh", "x\n"), ("other", "o\n"),
    ]
    let store = folder.root.appendingPathComponent("store")
    for (path, text) in files {
      let file = store.appendingPathComponent(path)
      try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data(text.utf8).write(to: file)
    }
    let told = try await folder.kiln().run(["catalog", "import", "store", "--output", "catalog"])
    #expect(told.status == 0, "\(told)")
    #expect(
      told.errors == "not taken over: control_plane/data/manifest.json: field 'm.odd': a catalog has nothing like it\n")
    #expect(
      told.output.hasSuffix(
        "0 products, 1 manifests, 1 templates, 1 fragments, 0 test plans; 1 things not taken over, 0 to be mended\n"))
    let rendered = try await folder.kiln().run(["render", "m"])
    #expect(
      rendered.output == "FROM docker.io/library/debian:12\nARG SOURCE_DATE_EPOCH\nCOPY app/x.sh /x\n\nUSER 1\n",
      "\(rendered)")
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.catalog.path).sorted()
    #expect(names == ["app", "catalog.yml", "fragments", "manifests", "templates"])
    let again = try await folder.kiln().run(["catalog", "import", "store", "--output", "catalog"])
    #expect(again.status == 2 && again.errors.contains("is there already"), "\(again)")
    try FileManager.default.removeItem(at: store.appendingPathComponent("control_plane/data/manifest.json"))
    let none = try await folder.kiln().run(["catalog", "import", "store", "--output", "new"])
    #expect(none.status == 3 && none.errors.contains("is missing: this is not a store"), "\(none)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.root.path).sorted() == ["catalog", "store"])
  }

  @Test("a Dockerfile is taken over whole or not at all, with its context; what is ignored is not read")
  func initializing() async throws {
    let folder = try CatalogFolder()
    defer { folder.remove() }
    func write(_ path: String, _ text: String) throws {
      let file = folder.root.appendingPathComponent("app/\(path)")
      try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data(text.utf8).write(to: file)
    }
    try write(
      "Dockerfile", "FROM debian:12 AS base\nRUN true\nFROM base\nCOPY . /app\nRUN --mount=type=secret,id=k true\n")
    try write("Dockerfile.dockerignore", "skipped\n*ignore\n")
    try write(".dockerignore", "main.sh\n")
    try write("main.sh", "#!/bin/sh\n")
    // What cannot be read into a catalog does no harm where it is ignored.
    let skipped = folder.root.appendingPathComponent("app/skipped/empty")
    try FileManager.default.createDirectory(at: skipped, withIntermediateDirectories: true)
    let told = try await folder.kiln().run(["catalog", "init", "--from", "app/Dockerfile", "--platform", "linux/arm64"])
    #expect(told.status == 0, "\(told)")
    #expect(
      told.errors == "not taken over: app/Dockerfile:5: that the secret 'k' may be missing: it is required now\n")
    #expect(
      told.output.hasSuffix(
        "1 products, 1 manifests, 1 templates, 2 fragments, 0 test plans; 1 things not taken over, 0 to be mended\n"))
    #expect(try folder.read("fragments/app/1.0.0/context/main.sh") == "#!/bin/sh\n")
    #expect(try folder.read("products/app.yml").contains("linux/arm64"))
    let checked = try await folder.kiln().run(["catalog", "check"])
    #expect(checked.status == 0, "\(checked)")
    struct Report: Decodable {
      struct Item: Decodable { var line: Int? }
      var leftOut: [Item]
    }
    let report: Report = try await folder.kiln().json(
      ["catalog", "init", "--from", "app/Dockerfile", "--output", "app/skipped/catalog", "--json"])
    #expect(report.leftOut.map(\.line) == [5])
    let again = try await folder.kiln().run(["catalog", "init", "--from", "app/Dockerfile"])
    #expect(again.status == 2 && again.errors.contains("is there already"), "\(again)")

    try write("Dockerfile", "FROM debian\nRUN true\n\nVOLUM /x\nCOPY skipped /s\n")
    let bad = try await folder.kiln().run(["catalog", "init", "--from", "app/Dockerfile", "--output", "new/catalog"])
    #expect(bad.status == 3 && bad.output.isEmpty, "\(bad)")
    #expect(bad.errors.contains("app/Dockerfile:4: 'VOLUM' is not an instruction; did you mean 'VOLUME'?\n"))
    #expect(bad.errors.contains("app/Dockerfile:5: 'skipped' matches nothing in the build context\n"))
    let none = try await folder.kiln().run(["catalog", "init", "--from", "compose.yml", "--output", "new/catalog"])
    #expect(none.status == 2 && none.errors.contains("a compose file is not read"), "\(none)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.root.path).sorted() == ["app", "catalog"])
  }

  @Test("a buildx that prints a bake file again, escapes and all, is understood like one that does not")
  func newerBake() async throws {
    let folder = try CatalogFolder()
    defer { folder.remove() }
    let programs = folder.root.appendingPathComponent("programs")
    try FileManager.default.createDirectory(at: programs, withIntermediateDirectories: true)
    let docker = programs.appendingPathComponent("docker")
    // Says what was asked, and what buildx 0.23 answers.
    try Data(
      #"""
      #!/bin/sh
      echo "$@" >> "$HOME/asked"
      if [ "$5" = - ]; then
        echo '{"target": {"default": {"args": {"A": "$${B}"}}}}'
      else
        printf '%s' '{"target": {"a": {"dockerfile-inline": "FROM debian\nRUN echo $${HOME}\n"}}}'
      fi

      """#.utf8
    ).write(to: docker)
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: docker.path)
    try Data().write(to: folder.root.appendingPathComponent("bake.json"))
    let path = programs.path + ":" + (ProcessInfo.processInfo.environment["PATH"] ?? "")
    let told = try await folder.kiln(["PATH": path]).run(
      ["catalog", "init", "--from", "bake.json", "--target", "a", "--target", "b-c"])
    #expect(told.status == 0, "\(told)")
    #expect(try folder.read("fragments/a/1.0.0/Dockerfile.fragment") == "RUN echo ${HOME}\n")
    let asked = try String(contentsOf: folder.root.appendingPathComponent("asked"), encoding: .utf8)
    #expect(
      asked.split(separator: "\n") == [
        "buildx bake --print --file \(folder.root.path)/bake.json a b-c", "buildx bake --print --file -",
      ])
  }
}
