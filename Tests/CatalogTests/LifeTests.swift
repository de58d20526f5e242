import Catalog
import Foundation
import Model
import Testing

/// What happens to a version after it was released: it stays, it is deprecated, it goes.
@Suite struct LifeTests {
  // MARK: Days

  @Test(
    arguments: [
      (0, "1970-01-01"), (951_782_400_000, "2000-02-29"), (951_868_799_999, "2000-02-29"),
      (951_868_800_000, "2000-03-01"),
      (1_798_761_600_000, "2027-01-01"), (-1, "1969-12-31"), (4_107_542_400_000, "2100-03-01"),
    ] as [(Int64, String)])
  func dayOfATime(_ milliseconds: Int64, _ day: String) {
    #expect(Day(Timestamp(milliseconds: milliseconds)).description == day)
    #expect(Day(day)?.description == day)
  }

  @Test(arguments: [
    "2027-02-29", "2027-13-01", "2027-00-01", "2027-1-1", "27-01-01", "2027-01-32", "today", "2027-01-01 ",
  ])
  func noDay(_ text: String) { #expect(Day(text) == nil) }

  // MARK: Deprecated

  static func deprecated(_ what: String) -> [String: String?] {
    [
      "fragments/core/0.2.0/fragment.yml": "name: core\nversion: 0.2.0\ndescription: core\ndeprecated: \(what)\n",
      "fragments/core/0.3.0/fragment.yml": "name: core\nversion: 0.3.0\ndescription: core\n",
      "fragments/core/0.3.0/Dockerfile.fragment": "RUN true\n",
    ]
  }

  @Test func deprecatedWarnsThenDenies() throws {
    let catalog = try Fixture.catalog(Self.deprecated("{use: 0.3.0, until: 2027-03-01}"))
    let before = catalog.deprecations(on: try #require(Day("2027-02-28")))
    #expect(before.denied == [])
    #expect(
      before.warnings.map(\.description) == [
        "fragments/core/0.2.0/fragment.yml:4: field 'deprecated': core@0.2.0 is deprecated and will be refused from 2027-03-01 on, and hello still has it; use core@0.3.0"
      ])
    let after = catalog.deprecations(on: try #require(Day("2027-03-01")))
    #expect(after.warnings == [])
    #expect(
      after.denied.map(\.description) == [
        "fragments/core/0.2.0/fragment.yml:4: field 'deprecated': core@0.2.0 is deprecated and refused since 2027-03-01, and hello still has it; use core@0.3.0"
      ])
  }

  @Test func withoutADayItOnlyWarns() throws {
    let found = try Fixture.catalog(Self.deprecated("{}")).deprecations(on: try #require(Day("9999-12-31")))
    #expect(found.denied == [] && found.warnings.count == 1)
  }

  @Test func whatNoProductHasIsNotMentioned() throws {
    var changes = Self.deprecated("{use: 0.3.0, until: 2000-01-01}")
    changes["manifests/hello.yml"] = (Fixture.files["manifests/hello.yml"] ?? "").replacing(
      "core: 0.2.0", with: "core: 0.3.0")
    let day = try #require(Day("2027-01-01"))
    #expect(try Fixture.catalog(changes).deprecations(on: day).denied == [])
    let matrix = "tags: [\"{variant}\"]\nmatrix: {core: [0.2.0, 0.3.0]}"
    changes["products/hello.yml"] = (Fixture.files["products/hello.yml"] ?? "").replacing(
      "tags: [\"{version}\"]", with: matrix)
    #expect(try Fixture.catalog(changes).deprecations(on: day).denied.count == 1)
  }

  @Test(arguments: [
    ("{use: 0.4.0}", "field 'deprecated.use': fragment 'core' has no version '0.4.0'; did you mean '0.2.0'?"),
    ("{use: 0.2.0}", "field 'deprecated.use': a version cannot be used in place of itself"),
    ("{until: soon}", "field 'deprecated.until': 'soon' is not a day, such as 2027-01-31"),
    ("{untill: 2027-01-31}", "field 'deprecated.untill': unknown field; did you mean 'until'?"),
  ])
  func badDeprecation(_ what: String, _ error: String) throws {
    #expect(try Fixture.errors(Self.deprecated(what)) == ["fragments/core/0.2.0/fragment.yml:4: \(error)"])
  }

  // MARK: Released

  private func changes(_ changes: [String: String?], from before: [String: String?] = [:]) throws -> [String] {
    ReleasedVersions.changes(from: try Fixture.tree(before), to: try Fixture.tree(changes), revision: "v1")
      .map(\.description)
  }

  static let app = "fragments/app/1.0.0"
  static func line(_ file: String, _ what: String, _ id: String, _ folder: String) -> String {
    "\(file): \(what), but \(id) was released with v1; leave it as it was, and make a new version: a folder beside \(folder)"
  }

  @Test func aReleasedVersionStays() throws {
    #expect(try changes([:]) == [])
    #expect(
      try changes(["\(Self.app)/Dockerfile.fragment": "COPY main.sh /\n"])
        == [Self.line("\(Self.app)/Dockerfile.fragment", "was changed", "app@1.0.0", Self.app)])
    #expect(
      try changes(["\(Self.app)/more": "x"]) == [Self.line("\(Self.app)/more", "was added", "app@1.0.0", Self.app)])
    #expect(
      try changes(["\(Self.app)/main.sh": nil]) == [
        Self.line("\(Self.app)/main.sh", "was removed", "app@1.0.0", Self.app)
      ])
    #expect(
      try changes(["templates/base/1/Dockerfile.tpl": "FROM {base}\n"]) == [
        Self.line("templates/base/1/Dockerfile.tpl", "was changed", "base@1", "templates/base/1")
      ])
    let tree = try Fixture.tree()
    let executable = try CatalogTree(
      tree.entries.map { entry in
        guard case .file(let bytes, true) = entry.content else { return entry }
        return CatalogTree.Entry(path: entry.path, content: .file(bytes, executable: false))
      })
    #expect(
      ReleasedVersions.changes(from: tree, to: executable, revision: "v1").map(\.description)
        == [Self.line("\(Self.app)/main.sh", "was made not executable", "app@1.0.0", Self.app)])
  }

  @Test func newVersionsAndOtherDefinitionsMayChange() throws {
    #expect(
      try changes([
        "fragments/core/0.3.0/fragment.yml": "x", "products/hello.yml": "x", "manifests/hello.yml": nil,
        "\(Self.app)/fragment.yml": nil, "\(Self.app)/Dockerfile.fragment": nil, "\(Self.app)/main.sh": nil,
      ]) == [])
  }

  @Test func deprecationAndDescriptionMayChange() throws {
    let file = "\(Self.app)/fragment.yml"
    let text = "# deprecated\nversion: 1.0.0\nname: app\ndescription: other\ndeprecated: {use: 1.0.1}\n"
    #expect(try changes([file: text]) == [])
    for other in ["name: app\nversion: \"1.0.0\"\n", "name: app\nversion: 1.0.0\nreproducible: false\n"] {
      #expect(try changes([file: other]) == [Self.line(file, "was changed", "app@1.0.0", Self.app)])
    }
  }

  // MARK: Order

  @Test func orderIsCheckedAgainstTheTemplate() throws {
    func ordered(_ core: Int, _ app: Int) -> [String: String?] {
      [
        "fragments/core/0.2.0/fragment.yml": "name: core\nversion: 0.2.0\ndescription: core\norder: \(core)\n",
        "\(Self.app)/fragment.yml": "name: app\nversion: 1.0.0\ndescription: app\norder: \(app)\n",
      ]
    }
    #expect(try Fixture.errors(ordered(1, 2)) == [])
    #expect(try Fixture.errors(ordered(2, 2)) == [])
    #expect(
      try Fixture.errors(ordered(3, 2)) == [
        "manifests/hello.yml:3: field 'fragments': the template base@1 puts core@0.2.0 (order 3) below app@1.0.0 (order 2); change the order of its markers, or what 'order' says"
      ])
  }
}

/// Files that are not in the catalog's own directory.
@Suite struct OutsideTests {
  static let commit = String(repeating: "a", count: 40)
  static let app = "fragments/app/1.0.0"

  static func app(_ context: String, _ text: String = "COPY . /app\nCOPY src/*.py go.mod /x/\n") -> [String: String?] {
    [
      "\(app)/fragment.yml": "name: app\nversion: 1.0.0\ndescription: app\ncontext: \(context)\n",
      "\(app)/Dockerfile.fragment": text,
    ]
  }

  static func source(_ path: String, _ text: String) -> [String: String?] { ["contexts/app/1.0.0/\(path)": text] }

  @Test func anApplicationsSourceIsAsked() throws {
    let tree = try Fixture.tree(
      Self.app("{dir: ../app}", "COPY src/*.py go.mod ./deep/x /x/\nRUN --mount=source=m,target=/m true\n"))
    let asked = try #require(tree.outsideSources().first)
    #expect(tree.outsideSources().count == 1)
    #expect(asked.kind == .application([".dockerignore", "deep/x", "go.mod", "m", "src"]))
    #expect(asked.place == .folder("../app"))
    #expect(asked.folder == "contexts/app/1.0.0")
  }

  @Test func onlyWhatTheTextNamesIsSentAndKeyed() throws {
    func section(_ extra: [String: String?]) throws -> RenderedDockerfile.Section {
      let files = Self.app("{dir: ../app}", "COPY src /src\n").merging(Self.source("src/a.py", "a")) { $1 }
      let catalog = try Fixture.catalog(files.merging(extra) { $1 })
      let rendered = try catalog.render(
        catalog.compose(manifest: "hello"), platform: #require(Platform("linux/amd64")), lock: LockTests.lock())
      return try #require(rendered.sections.first { $0.title == "app@1.0.0" })
    }
    let plain = try section([:])
    #expect(plain.text == "COPY contexts/app/1.0.0/src /src\n")
    #expect(try plain.context == section(Self.source("other.py", "x")).context)
    #expect(try plain.context != section(Self.source("src/b.py", "x")).context)
  }

  @Test func theWholeSourceMayBeTaken() throws {
    let files = Self.app("{dir: ../app}", "COPY . /app\n").merging(Self.source("a.py", "a")) { $1 }
    let catalog = try Fixture.catalog(files)
    let rendered = try catalog.render(
      catalog.compose(manifest: "hello"), platform: #require(Platform("linux/amd64")), lock: LockTests.lock())
    let section = try #require(rendered.sections.first { $0.title == "app@1.0.0" })
    #expect(section.text == "COPY contexts/app/1.0.0 /app\n")
    let names = try TarArchive.read(try #require(section.context).bytes, limits: limits).map(\.path)
    #expect(names.last == "contexts/app/1.0.0/a.py")
  }

  @Test(arguments: [
    ("{dir: /etc}", "field 'context.dir': '/etc' is not a path relative to the catalog's folder"),
    ("{dir: -x}", "field 'context.dir': '-x' is not a path relative to the catalog's folder"),
    (
      "{dir: a, git: b, revision: c}",
      "field 'context.revision': 'c' is not a whole commit id, and what is not one can move; say the 40 hex digits that 'git rev-parse' prints"
    ),
    ("{git: https://h.example/a}", "field 'context.revision': is required"),
    (
      "{git: https://h.example/a, revision: main}",
      "field 'context.revision': 'main' is not a whole commit id, and what is not one can move; say the 40 hex digits that 'git rev-parse' prints"
    ),
    (
      "{git: https://h.example/a, revision: \(commit), path: ../x}",
      "field 'context.path': '../x' is not a folder in a repository"
    ),
    ("{gti: x}", "field 'context.gti': unknown field; did you mean 'git'?"),
  ])
  func badSource(_ context: String, _ error: String) throws {
    let errors = try Fixture.errors(Self.app(context, "RUN true\n"))
    #expect(errors.contains { $0 == "\(Self.app)/fragment.yml:4: \(error)" }, "\(errors)")
  }

  @Test(arguments: [
    "--upload-pack=x", "-x", "file:///etc", "ext::sh -c x", "http://h.example/a", "git://h.example/a",
    "ftp://h.example/a",
    "ssh://-oProxyCommand=x/a", "https://", "https:///a", "u@-h:a", "-u@h:a", "u@h:-x", "u@h::a", "fd::3", "a:b",
    "$(x)", "a'b",
  ])
  func noRepository(_ text: String) throws {
    let errors = try Fixture.errors(Self.app("{git: \"\(text)\", revision: \(Self.commit)}", "RUN true\n"))
    #expect(
      errors.contains { $0.contains("field 'context.git': ") && $0.contains("is not a place that git may fetch from") },
      "\(errors)")
  }

  @Test(arguments: [
    "https://h.example/a.git", "https://u@h.example:8443/a", "ssh://git@h.example/a", "git@h.example:team/a.git",
    "../a", "/srv/a.git",
  ])
  func repository(_ text: String) throws {
    #expect(try Fixture.errors(Self.app("{git: \"\(text)\", revision: \(Self.commit)}", "RUN true\n")) == [])
  }

  // MARK: Another catalog

  static let foreign: [String: String?] = [
    "catalog.yml": (Fixture.files["catalog.yml"] ?? "")
      + "catalogs:\n  shared:\n    git: ../shared\n    revision: \(commit)\n",
    "catalogs/shared/fragments/core/2.0.0/fragment.yml":
      "name: core\nversion: 2.0.0\ndescription: theirs\nrequires: {low: any}\n",
    "catalogs/shared/fragments/core/2.0.0/Dockerfile.fragment": "COPY file /file\nCOPY --from=core-make /m /m\n",
    "catalogs/shared/fragments/core/2.0.0/Dockerfile.stages": "FROM debian AS core-make\nRUN true > /m\n",
    "catalogs/shared/fragments/core/2.0.0/file": "theirs\n",
    "catalogs/shared/fragments/low/1/fragment.yml": "name: low\nversion: \"1\"\ndescription: low\ncontext: catalog\n",
    "catalogs/shared/fragments/low/1/Dockerfile.fragment": "COPY files/x /x\n",
    "catalogs/shared/files/x": "x\n",
    "templates/base/1/Dockerfile.tpl": """
    FROM {base}
    #--MODULE:shared.low--#
    #--ENDMODULE--#
    #--MODULE:shared.core--#
    #--ENDMODULE--#
    #--MODULE:app--#
    #--ENDMODULE--#

    """,
    "manifests/hello.yml":
      "template: base@1\nbase: debian\nfragments:\n  shared.low: \"1\"\n  shared.core: 2.0.0\n  app: 1.0.0\n",
  ]

  @Test func fragmentsOfAnotherCatalogAreUsedByItsName() throws {
    let catalog = try Fixture.catalog(Self.foreign)
    let composition = try catalog.compose(manifest: "hello")
    #expect(composition.fragments.map(\.id.description) == ["shared.low@1", "shared.core@2.0.0", "app@1.0.0"])
    #expect(composition.impossibility == nil)
    let rendered = try catalog.render(composition, platform: #require(Platform("linux/amd64")), lock: LockTests.lock())
    #expect(
      rendered.text.contains("COPY catalogs/shared/files/x /x\nCOPY catalogs/shared/fragments/core/2.0.0/file /file\n"))
    #expect(rendered.text.contains(" AS core-make\n"))
    #expect(catalog.tree.outsideSources().map(\.folder) == ["catalogs/shared"])
  }

  @Test func itsFilesAreThoseThatWereLocked() throws {
    let catalog = try Fixture.catalog(Self.foreign)
    let line = "catalog.yml:7: field 'catalogs.shared': "
    #expect(
      catalog.unlockedCatalogs(Lock()).map(\.description) == [
        "\(line)the catalog 'shared' is not locked at \(Self.commit); run 'kiln lock'"
      ])
    var lock = Lock()
    lock.catalogs = catalog.foreignLocks
    #expect(catalog.unlockedCatalogs(lock) == [])
    #expect(try Lock.load(Fixture.tree([Lock.fileName: lock.text()])).catalogs == lock.catalogs)
    let changed = try Fixture.catalog(
      Self.foreign.merging(["catalogs/shared/fragments/core/2.0.0/file": "changed"]) { $1 })
    #expect(
      changed.unlockedCatalogs(lock).map(\.description) == [
        "\(line)the files of 'shared' are not those that were locked, though the revision is the same; find out why; 'kiln lock --refresh' takes them as they are"
      ])
    let moved = try Fixture.catalog(
      Self.foreign.merging(["catalog.yml": (Self.foreign["catalog.yml"] ?? nil)?.replacing("aaaa", with: "bbbb")]) {
        $1
      })
    #expect(moved.unlockedCatalogs(lock).count == 1)
  }

  @Test func aNameOfAnotherCatalogsFragmentIsItsOwn() throws {
    let errors = try Fixture.errors(
      Self.foreign.merging([
        "fragments/shared.core/1/fragment.yml": "name: shared.core\nversion: \"1\"\ndescription: x\n",
        "fragments/shared.core/1/Dockerfile.fragment": "RUN true\n",
      ]) { $1 })
    #expect(
      errors == [
        "catalog.yml:7: field 'catalogs.shared': the fragment 'shared.core' of this catalog has the name of one of 'shared'"
      ])
  }

  @Test func itCannotReachOtherFiles() throws {
    let errors = try Fixture.errors(
      Self.foreign.merging([
        "catalogs/shared/fragments/low/1/fragment.yml":
          "name: low\nversion: \"1\"\ndescription: low\ncontext: {dir: ../..}\n"
      ]) { $1 })
    #expect(
      errors.contains { $0.contains("a fragment of another catalog can only have files of that catalog") }, "\(errors)")
  }

  // MARK: Files beside the definitions

  @Test func catalogYmlNamesWhatFragmentsMayTakeFrom() throws {
    let settings = Fixture.files["catalog.yml"] ?? ""
    func changes(_ context: String) -> [String: String?] {
      Self.app("catalog", "COPY src/a.txt /a\n").merging(["catalog.yml": settings + context, "src/a.txt": "a"]) { $1 }
    }
    #expect(try Fixture.errors(changes("context: [src]\n")) == [])
    #expect(
      try Fixture.errors(changes("")) == [
        "\(Self.app)/Dockerfile.fragment:1: 'src/a.txt' matches nothing in the catalog"
      ])
    for bad in ["products", ".git", "a/b", "..", "-x", "catalog.lock"] {
      #expect(
        try Fixture.errors(changes("context: [src, \"\(bad)\"]\n")) == [
          "catalog.yml:6: field 'context[1]': '\(bad)' is not a folder or file beside the definitions that fragments may name"
        ])
    }
    #expect(
      try Fixture.errors(changes("context: [src, nothing]\n")) == [
        "catalog.yml:6: field 'context[1]': there is no 'nothing' in the catalog"
      ])
  }
}
