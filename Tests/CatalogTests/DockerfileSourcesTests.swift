import Foundation
import Model
import Testing

@testable import Catalog

/// What of a fragment's folder its text names, what that is called in the rendered Dockerfile, and
/// what is refused instead.
@Suite struct DockerfileSourcesTests {
  static let app = "fragments/app/1.0.0/"
  static let yml = app + "fragment.yml"
  static let files: [String: String?] = [
    app + "a.txt": "a", app + "b.txt": "b", app + "lib/c.md": "c", app + "lib/d.txt": "d", app + "lib/deep/e.md": "e",
    app + "a b/f": "f", app + "bin-amd64/tool": "1", app + "bin-arm64/tool": "2", app + "x[1].txt": "x",
  ]

  struct Case: Sendable, CustomTestStringConvertible {
    var testDescription: String
    let changes: [String: String?]
    let platform: String
    let text: String?
    let context: [String]

    /// `text`: what is rendered, with `@` for the fragment's folder; nil: the same as is written.
    init(
      _ written: String, _ text: String?, _ context: [String], yml: String = "", ignore: String? = nil,
      stages: String? = nil, platform: String = "linux/amd64"
    ) {
      testDescription = written
      var changes = DockerfileSourcesTests.files
      changes[app + "Dockerfile.fragment"] = written + "\n"
      changes[DockerfileSourcesTests.yml] = (Fixture.files[DockerfileSourcesTests.yml] ?? "") + yml
      if let ignore { changes[app + ".dockerignore"] = ignore }
      if let stages { changes[app + "Dockerfile.stages"] = stages }
      self.changes = changes
      self.platform = platform
      self.text = (text ?? written).replacing("@", with: app) + "\n"
      self.context = context
    }
  }

  static let cases = [
    Case("COPY [a-b].txt /x/", "COPY @[a-b].txt /x/", ["a.txt", "b.txt"]),
    Case("COPY [^b].txt lib/* /x/", "COPY @[^b].txt @lib/* /x/", ["a.txt", "lib/c.md", "lib/d.txt", "lib/deep/e.md"]),
    Case("COPY x\\\\[1].tx? /x/", "COPY @x\\\\[1].tx? /x/", ["x[1].txt"]),
    Case("COPY \"a\".txt 'b'.txt /x/", "COPY @\"a\".txt @'b'.txt /x/", ["a.txt", "b.txt"]),
    Case("COPY [\"a b/f\", \"/x\"]", "COPY [\"@a b/f\",\"/x\"]", ["a b/f"]),
    Case("COPY lib/../a.txt ./b.txt /x/", "COPY @a.txt @b.txt /x/", ["a.txt", "b.txt"]),
    Case("COPY -- a.txt /x/", "COPY @a.txt /x/", ["a.txt"]),
    Case("COPY\u{b}a.txt\u{c}/x/", "COPY @a.txt /x/", ["a.txt"]),
    Case("COPY --chown=\"1:1\" --link a.txt /x/", "COPY --chown=\"1:1\" --link @a.txt /x/", ["a.txt"]),
    Case("ARG D=lib\nCOPY ${D}/c.md /x", "ARG D=lib\nCOPY @${D}/c.md /x", ["lib/c.md"]),
    Case("ARG D\nCOPY $D /x", "ARG D=\"a b\"\nCOPY @$D /x", ["a b/f"], yml: "args: {D: a b}\n"),
    Case("ARG D=\nCOPY ${D:-a}.txt /x", "ARG D=\nCOPY @${D:-a}.txt /x", ["a.txt"]),
    Case("ARG D=lib\nCOPY ${D:+$D/}c.md /x", "ARG D=lib\nCOPY @${D:+$D/}c.md /x", ["lib/c.md"]),
    Case("ARG D=?.txt\nCOPY $D /x/", "ARG D=?.txt\nCOPY @$D /x/", ["a.txt", "b.txt"]),
    Case("ARG D=a.txt.gz\nADD ${D%.gz} /x/", "ARG D=a.txt.gz\nADD @${D%.gz} /x/", ["a.txt"]),
    Case("ARG TARGETARCH\nCOPY bin-$TARGETARCH /x", "ARG TARGETARCH\nCOPY @bin-$TARGETARCH /x", ["bin-amd64/tool"]),
    Case(
      "ARG TARGETARCH\nCOPY bin-$TARGETARCH /x", "ARG TARGETARCH\nCOPY @bin-$TARGETARCH /x", ["bin-arm64/tool"],
      platform: "linux/arm64"),
    Case(
      "ARG V=0123456789012345678901234567890123456789\nADD https://e.example/x.git#${V}:sub /x",
      "ARG V=0123456789012345678901234567890123456789\nADD https://e.example/x.git#${V}:sub /x", []),
    Case(
      "ARG D=lib\nRUN --mount=source=\"$D\",target=/l \\\n  --mount=type=tmpfs,target=/t true",
      "ARG D=lib\nRUN --mount=source=@$D,target=/l --mount=type=tmpfs,target=/t true",
      ["lib/c.md", "lib/d.txt", "lib/deep/e.md"]),
    Case(
      "RUN --mount='source=a b,target=/l' true", "RUN --mount=source=@a\\ b,target=/l true", ["a b/f"]),
    Case(
      "RUN --mount=type=bind,\\\nsource=a.txt,\\\ntarget=/l true",
      "RUN --mount=type=bind,source=@a.txt,target=/l true", ["a.txt"]),
    Case("COPY lib /x", "COPY @lib /x", ["lib/", "lib/d.txt", "lib/deep/"], ignore: "**/*.md\n"),
    Case("COPY lib /x", "COPY @lib /x", ["lib/deep/e.md"], ignore: "# none but one\n*\n!lib/deep/e.md\n"),
    Case(
      "COPY . /x", "COPY @ /x".replacing("@ ", with: "fragments/app/1.0.0 "), ["a.txt", "lib/", "lib/c.md"],
      ignore: "*\n!a.txt\n!lib\nlib/d.txt\nlib/deep\n"),
    Case("COPY * /x/", "COPY @* /x/", ["b.txt"], ignore: "*\n!b.txt\n"),
    Case(
      "COPY --from=debian /etc/issue /x", "COPY --from=registry.example/library/debian#sha /etc/issue /x", []),
    Case(
      "RUN --mount=from=debian,source=/etc,target=/e true",
      "RUN --mount=from=registry.example/library/debian#sha,source=/etc,target=/e true", []),
    Case("COPY --from=app-one /a.txt /x", nil, ["a.txt"], stages: "FROM scratch AS app-one\nCOPY a.txt /\n"),
    Case(
      "COPY --from=app-two /b /x", nil, ["a.txt"],
      stages: "FROM scratch AS app-one\nARG D=a\nCOPY $D.txt /b\nFROM app-one AS app-two\n"),
  ]

  @Test(arguments: cases) func isUnderstood(_ example: Case) throws {
    let catalog = try Fixture.catalog(example.changes)
    let platform = try #require(Platform(example.platform))
    let rendered = try catalog.render(catalog.compose(manifest: "hello"), platform: platform, lock: LockTests.lock())
    let section = try #require(rendered.sections.first { $0.title == "app@1.0.0" })
    let digest = "debian@\(Digest(of: "linux/amd64"))"
    #expect(section.text.replacing(digest, with: "debian#sha") == example.text)
    let limits = TarArchive.Limits(maxArchiveBytes: 1 << 20, maxFileBytes: 1 << 20, maxEntries: 100)
    let entries = try TarArchive.read(section.context?.bytes ?? Data(count: 1024), limits: limits)
    let isIgnoring = example.changes[Self.app + ".dockerignore"] != nil
    let paths = entries.compactMap { entry -> String? in
      guard entry.path.hasPrefix(Self.app) else { return nil }
      let path = entry.path.replacing(Self.app, with: "")
      return entry.content == .directory ? isIgnoring ? path + "/" : nil : path
    }
    #expect(Set(paths).subtracting(["lib/deep/", "lib/"]) == Set(example.context).subtracting(["lib/deep/", "lib/"]))
    if isIgnoring { #expect(Set(example.context).isSubset(of: Set(paths))) }
  }

  @Test func aPatternThatMatchesNothingIsNoErrorBesideASourceThatDoes() throws {
    #expect(try Fixture.errors(Self.text("COPY a.txt *.none /x/")) == [])
    #expect(
      try Fixture.errors(Self.text("COPY a.txt nowhere/*.txt /x/"))
        == [Self.at(1, "'nowhere/*.txt' matches nothing in the fragment's folder")])
    #expect(
      try Fixture.errors(Self.text("ARG N=none\nCOPY *.$N n*.txt /x/"))
        == ["*.none", "n*.txt"].map { Self.at(2, "'\($0)' matches nothing in the fragment's folder") })
    #expect(
      try Fixture.errors(Self.text("COPY *.none n*.txt /x/"))
        == ["*.none", "n*.txt"].map { Self.at(1, "'\($0)' matches nothing in the fragment's folder") })
  }

  static func at(_ line: Int, _ message: String) -> String { "\(app)Dockerfile.fragment:\(line): \(message)" }
  static func text(_ text: String) -> [String: String?] {
    files.merging([app + "Dockerfile.fragment": text + "\n"]) { $1 }
  }

  static let refused: [BadInput] = [
    BadInput(
      "a variable that nothing declares", text("COPY $HOME/x /x"),
      at(
        1,
        "'$HOME/x' has the variable 'HOME', which no ARG above it declares: which files are meant must be known before the build"
      )),
    BadInput(
      "an ARG below", text("COPY $D /x\nARG D=lib"),
      at(
        1,
        "'$D' has the variable 'D', which no ARG above it declares: which files are meant must be known before the build"
      )
    ),
    BadInput(
      "an ENV over an ARG", text("ARG D=lib\nENV D=x\nCOPY $D /x"),
      at(3, "'$D' has the ENV variable 'D': which files are meant must be known before the build; use an ARG")),
    BadInput(
      "an argument that leads nowhere", text("ARG D=lob\nCOPY $D /x"),
      at(2, "'lob' matches nothing in the fragment's folder")),
    BadInput(
      "an argument that leads out", text("ARG D=..\nCOPY $D/core /x"), at(2, "'../core' leaves the fragment's folder")),
    BadInput(
      "a quote without end", text("COPY \"a b\"/f /x/"),
      at(1, "'\"a' has a quote without its end; blanks always separate paths, the JSON form keeps them"),
      at(1, "'b\"/f' has a quote without its end; blanks always separate paths, the JSON form keeps them")),
    BadInput(
      "a set without end", text("COPY [a.txt /x/"), at(1, "'[a.txt' has a set of characters or a backslash without end")
    ),
    BadInput(
      "a pattern in a mount", text("RUN --mount=source=*.txt,target=/x true"),
      at(1, "'*.txt' matches nothing in the fragment's folder")),
    BadInput(
      "JSON that is none", text("COPY [\"a.txt\" /x/"),
      at(1, "'[a.txt' has a set of characters or a backslash without end"),
      at(1, "COPY looks like the JSON form, but is not valid JSON")),
    BadInput(
      "a checksum of a file", text("ADD --checksum=sha256:\(String(repeating: "0", count: 64)) a.txt /x/"),
      at(1, "--checksum is for what http:// or https:// brings")),
    BadInput(
      "another protocol", text("ADD ftp://e.example/x /x/"),
      at(1, "'ftp://e.example/x' is not a URL that ADD reads: http://, https://, or of git")),
    BadInput(
      "a commit from a branch's name", text("ARG V=main\nADD https://e.example/x.git#$V /x"),
      at(
        2,
        "ADD of 'https://e.example/x.git#main' without a commit: a branch or a tag can move; say #COMMIT with 40 hex digits"
      )),
    BadInput(
      "what is ignored is not there", text("COPY lib/c.md /x").merging([app + ".dockerignore": "**/*.md"]) { $1 },
      at(1, "'lib/c.md' matches nothing in the fragment's folder")),
    BadInput(
      "bad rule", files.merging([app + ".dockerignore": "a\n[\n"]) { $1 },
      app + ".dockerignore:2: '[' is not a pattern: a set without its end, or a backslash before nothing or a letter"),
    BadInput(
      "rules without effect",
      files.merging([
        app + ".dockerignore": "a\n", yml: (Fixture.files[yml] ?? "") + "context: catalog\n",
        app + "Dockerfile.fragment": "RUN true\n",
      ]) { $1 },
      app + ".dockerignore: has no effect: the paths of this fragment are the catalog's"),
    BadInput(
      "a stage that comes later",
      files.merging([
        app + "Dockerfile.stages":
          "FROM scratch AS app-one\nCOPY --from=app-two / /\nFROM scratch AS app-two\nCOPY a.txt /\n"
      ]) { $1 },
      app
        + "Dockerfile.stages:2: 'app-two' is neither an earlier stage of this fragment's Dockerfile.stages nor a base image of catalog.yml, so it is not locked"
    ),
    BadInput(
      "an argument of another stage",
      files.merging([
        app + "Dockerfile.stages": "FROM scratch AS app-one\nARG D=lib\nFROM scratch AS app-two\nCOPY $D /\n"
      ]) { $1 },
      app
        + "Dockerfile.stages:4: '$D' has the variable 'D', which no ARG above it declares: which files are meant must be known before the build"
    ),
    BadInput(
      "letters in a flag", text("COPY --chown=à a.txt /x/"),
      at(1, "a flag has a character that is not ASCII, which BuildKit breaks: --chown=à")),
  ]

  @Test(arguments: refused) func isRefused(_ bad: BadInput) throws {
    #expect(try Fixture.errors(bad.changes) == bad.expected)
  }

  @Test func whatOnlyThePlatformDecidesIsRefusedWithItsLineWhenRendered() throws {
    let catalog = try Fixture.catalog(Self.text("ARG TARGETARCH\nCOPY bin-$TARGETARCH /x"))
    let platform = try #require(Platform("linux/386"))
    let error = #expect(throws: CatalogErrors.self) {
      try catalog.render(catalog.compose(manifest: "hello"), platform: platform, lock: LockTests.lock())
    }
    #expect(error?.description == Self.at(2, "'bin-386' matches nothing in the fragment's folder"))
  }

  @Test func imagesThatFilesAreTakenFromAreLocked() throws {
    var changes = Self.text("COPY --from=tools /a /b\nRUN --mount=from=more,target=/x true")
    changes["catalog.yml"] =
      "name: x\nbases:\n"
      + ["debian", "tools", "more", "other"].map { "  \($0): {source: r.example/\($0)}\n" }.joined()
    #expect(try Fixture.catalog(changes).lockedBasesNeeded().map(\.base.name) == ["debian", "more", "tools"])
  }
}
