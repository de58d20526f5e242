import Catalog
import Foundation
import Model
import Testing

/// A Dockerfile as a catalog: what becomes of its text and its files, what is listed, what is refused.
@Suite("A catalog from a Dockerfile") struct DockerfileInitTests {
  static let context = [
    "a.txt": "a\n", "src/run.sh": "#!/bin/sh\n", "src/b.txt": "b\n", "src/odd.log": "ignored\n",
    "fragment.yml": "own\n",
  ]

  static func source(_ text: String, _ change: (inout DockerfileSource) -> Void = { _ in }) -> DockerfileSource {
    var source = DockerfileSource(file: "Dockerfile", content: .file(Data(text.utf8), executable: false))
    source.context = context.map { path, text in
      CatalogTree.Entry(path: path, content: .file(Data(text.utf8), executable: path.hasSuffix(".sh")))
    }
    source.ignoreText = "**/*.log\n"
    change(&source)
    return source
  }

  static func draft(
    _ text: String, _ change: (inout DockerfileSource) -> Void = { _ in }
  ) throws -> CatalogDraft {
    try CatalogInit.run(source(text, change), name: "app")
  }

  static func text(_ draft: CatalogDraft, _ path: String) -> String? {
    if case .file(let bytes, _) = draft.files[path] { String(decoding: bytes, as: UTF8.self) } else { nil }
  }

  static func catalog(_ draft: CatalogDraft) throws -> Catalog {
    try Catalog.load(CatalogTree(draft.files.map { CatalogTree.Entry(path: $0.key, content: $0.value) }))
  }

  static func rendered(_ draft: CatalogDraft, _ name: String = "app") throws -> RenderedDockerfile {
    let catalog = try catalog(draft)
    let platform = try #require(Platform("linux/amd64"))
    return try catalog.render(catalog.compose(manifest: name), platform: platform, lock: Lock())
  }

  /// What a Dockerfile becomes: some of the files that are made, by their paths.
  struct Case: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var text: String
    var files: [String: String]
    var names: [String]?
  }

  static let cases = [
    Case(
      testDescription: "one stage without a name is called as the product", text: "FROM debian:12\nRUN true\n",
      files: [
        "catalog.yml": """
        name: app
        bases:
          "debian:12":
            source: "docker.io/library/debian"
            tag: "12"

        """,
        "manifests/app.yml": "name: app\ntemplate: app@1.0.0\nbase: \"debian:12\"\nfragments:\n  app: \"1.0.0\"\n",
        "products/app.yml": """
        name: app
        image: "app"
        version: "1.0.0"
        manifest: app
        tags: ["{version}"]
        targets:
          - platform: "linux/amd64"

        """,
        "templates/app/1.0.0/Dockerfile.tpl": "FROM {base}\n#--MODULE:app--#\n#--ENDMODULE--#\n",
        "fragments/app/1.0.0/Dockerfile.fragment": "RUN true\n",
        "fragments/app/1.0.0/fragment.yml":
          "name: app\nversion: \"1.0.0\"\ndescription: \"From the stage number 0.\"\n",
      ]),
    Case(
      testDescription: "one fragment for each stage of the chain; a stage sees the arguments of those below it",
      text: """
        ARG MODE=fast
        FROM debian AS base
        ARG ONE="a b" MODE
        ARG KEPT=1
        ENV KEPT=$KEPT
        # the next one
        FROM base
        RUN echo $ONE
        """,
      files: [
        "templates/app/1.0.0/Dockerfile.tpl": """
        ARG MODE=fast
        FROM {base}
        #--MODULE:base--#
        #--ENDMODULE--#
        #--MODULE:app--#
        #--ENDMODULE--#

        """,
        "fragments/base/1.0.0/Dockerfile.fragment": "ARG ONE=\"a b\" MODE\nARG KEPT=1\nENV KEPT=$KEPT\n",
        "fragments/app/1.0.0/Dockerfile.fragment":
          "ARG ONE=\"a b\"\nARG MODE\n# the next one\nRUN echo $ONE\n",
      ]),
    Case(
      testDescription: "what is only copied from becomes stages of the fragment that does",
      text: """
        FROM --platform=$BUILDPLATFORM golang:1.22 AS Build
        COPY src /src
        FROM scratch AS files
        COPY --from=0 /out /out
        FROM debian AS base
        RUN true
        FROM base AS extra
        RUN touch /extra
        FROM base
        COPY --from=files /out /out
        RUN --mount=from=extra,target=/m cat /m/extra
        COPY --from=busybox:1.36 /bin/busybox /bin/
        """,
      files: [
        "fragments/app/1.0.0/Dockerfile.fragment": """
        COPY --from=app-files /out /out
        RUN --mount=from=app-extra,target=/m cat /m/extra
        COPY --from=busybox:1.36 /bin/busybox /bin/

        """,
        "fragments/app/1.0.0/Dockerfile.stages": """
        FROM golang:1.22 AS app-build
        COPY src /src
        FROM scratch AS app-files
        COPY --from=app-build /out /out
        FROM debian AS app-base
        RUN true
        FROM app-base AS app-extra
        RUN touch /extra

        """,
        "fragments/base/1.0.0/Dockerfile.fragment": "RUN true\n",
        "fragments/app/1.0.0/src/run.sh": "#!/bin/sh\n",
      ]),
    Case(
      testDescription: "marked sections are fragments, the rest is the template's",
      text: """
        # check=skip=none
        FROM debian AS final
        ARG SOURCE_DATE_EPOCH
        LABEL a=1
        #--MODULE:core@0.2.0--#
        COPY fragments/core/0.2.0/a.txt /a
        #--ENDMODULE--#
        # between
        #--MODULE:none--#
        # nothing
        #--ENDMODULE--#
          #--MODULE:app--#
        USER 1
        #--ENDMODULE--#
        STOPSIGNAL SIGTERM
        """,
      files: [
        "templates/app/1.0.0/Dockerfile.tpl": """
        # check=skip=none
        FROM {base} AS final
        LABEL a=1
        #--MODULE:core--#
        #--ENDMODULE--#
        # between
        #--MODULE?:none--#
        # nothing
        #--ENDMODULE--#
        #--MODULE:app--#
        #--ENDMODULE--#
        STOPSIGNAL SIGTERM

        """,
        "fragments/core/0.2.0/Dockerfile.fragment": "COPY a.txt /a\n", "fragments/core/0.2.0/a.txt": "of core\n",
        "fragments/app/1.0.0/Dockerfile.fragment": "USER 1\n",
        "manifests/app.yml":
          "name: app\ntemplate: app@1.0.0\nbase: \"debian\"\nfragments:\n  core: \"0.2.0\"\n  app: \"1.0.0\"\n",
      ]),
    Case(
      testDescription: "files are taken over where they are named, but what is ignored",
      text: "FROM debian\nARG DIR=src\nCOPY /a.txt ./a.txt\nCOPY $DIR /src\n",
      files: [
        "fragments/app/1.0.0/Dockerfile.fragment": "ARG DIR=src\nCOPY a.txt ./a.txt\nCOPY $DIR /src\n"
      ],
      names: ["Dockerfile.fragment", "a.txt", "fragment.yml", "src/b.txt", "src/run.sh"]),
    Case(
      testDescription: "what could mean a definition is in a folder of its own",
      text: "FROM debian\nCOPY . /all\nRUN --mount=type=bind,target=/src ls /src\n",
      files: [
        "fragments/app/1.0.0/Dockerfile.fragment":
          "COPY context /all\nRUN --mount=type=bind,target=/src,source=context ls /src\n",
        "fragments/app/1.0.0/context/fragment.yml": "own\n",
      ],
      names: [
        "Dockerfile.fragment", "context/a.txt", "context/fragment.yml", "context/fragments/core/0.2.0/a.txt",
        "context/src/b.txt", "context/src/run.sh", "fragment.yml",
      ]),
    Case(
      testDescription: "a cache mount says that the fragment is not reproducible, a secret has a version",
      text: "FROM debian\nRUN --mount=type=cache,target=/c --mount=type=secret,id=key,required=true true\n",
      files: [
        "fragments/app/1.0.0/fragment.yml": """
        name: app
        version: "1.0.0"
        description: "From the stage number 0."
        # It has a cache mount.
        reproducible: false
        # Raise a version whenever the secret's value changes what is built.
        secrets:
          "key": 1

        """
      ]),
    Case(
      testDescription: "FROM says the platform", text: "FROM --platform=linux/arm64 debian\nRUN true\n",
      files: [
        "products/app.yml": """
        name: app
        image: "app"
        version: "1.0.0"
        manifest: app
        tags: ["{version}"]
        targets:
          - platform: "linux/arm64"

        """
      ]),
    Case(
      testDescription: "a stage may have the name of its own image, or of another's",
      text:
        "FROM debian AS debian\nRUN one\nFROM debian AS alpine\nRUN two\nFROM busybox\n"
        + "COPY --from=debian /a /a\nCOPY --from=alpine /b /b\nCOPY --from=debian /c /c\n",
      files: [
        "fragments/app/1.0.0/Dockerfile.fragment":
          "COPY --from=app-debian /a /a\nCOPY --from=app-alpine /b /b\nCOPY --from=app-debian /c /c\n",
        "fragments/app/1.0.0/Dockerfile.stages":
          "FROM debian AS app-debian\nRUN one\nFROM app-debian AS app-alpine\nRUN two\n",
      ]),
    Case(
      testDescription: "line ends and a byte order mark are made plain",
      text: "\u{FEFF}FROM debian\r\nRUN true && \\\r\n  true\r\n",
      files: ["fragments/app/1.0.0/Dockerfile.fragment": "RUN true && \\\n  true\n"]),
  ]

  @Test("each part goes where it belongs, and the check has nothing against it", arguments: cases)
  func becomes(_ example: Case) throws {
    let draft = try Self.draft(example.text) { source in
      let core = CatalogTree.Content.file(Data("of core\n".utf8), executable: false)
      source.context.append(CatalogTree.Entry(path: "fragments/core/0.2.0/a.txt", content: core))
    }
    for (path, text) in example.files { #expect(Self.text(draft, path) == text, "\(path)") }
    if let names = example.names {
      let folder = "fragments/app/1.0.0/"
      #expect(
        draft.files.keys.filter { $0.hasPrefix(folder) }.map { String($0.dropFirst(folder.count)) }.sorted() == names)
    }
    #expect(draft.wrong == [])
  }

  @Test("a file keeps its right to be executed")
  func executable() throws {
    let draft = try Self.draft("FROM debian\nCOPY src /s\n")
    guard case .file(_, let executable) = draft.files["fragments/app/1.0.0/src/run.sh"] else {
      Issue.record("it is not there")
      return
    }
    #expect(executable)
  }

  @Test("a target, arguments, platforms and images that the caller says")
  func asked() throws {
    let text = "ARG V=1\nFROM my-base AS one\nARG V=1\nRUN echo $V\nFROM one AS two\nRUN false\n"
    let draft = try Self.draft(text) { source in
      source.stage = "one"
      source.arguments = ["V": "2"]
      source.platforms = ["linux/amd64", "linux/arm64"]
      source.images = ["my-base": "oci-layout:../base:edge"]
      source.labels = ["who": "me & $you"]
    }
    #expect(Self.text(draft, "catalog.yml")?.contains("source: \"oci-layout:../base\"\n    tag: \"edge\"\n") == true)
    #expect(Self.text(draft, "fragments/one/1.0.0/Dockerfile.fragment") == "ARG V=2\nRUN echo $V\n")
    #expect(
      Self.text(draft, "templates/app/1.0.0/Dockerfile.tpl")
        == "ARG V=2\nFROM {base} AS one\n#--MODULE:one--#\n#--ENDMODULE--#\nLABEL who=\"me & \\$you\"\n")
    #expect(
      try Self.catalog(draft).products["app"]?.targets.map(\.target.platform.description) == [
        "linux/amd64", "linux/arm64",
      ])
    #expect(draft.leftOut.map(\.description) == ["Dockerfile:5: the stage 'two': nothing of it is in the image"])
  }

  // MARK: What is listed

  static let listed: [(text: String, items: [String])] = [
    (
      "# syntax=docker/dockerfile:1\nFROM debian\nRUN true\n",
      ["Dockerfile:1: '# syntax=docker/dockerfile:1': a frontend of its own, which no key covers, is not run"]
    ),
    (
      "ARG V=12\nFROM debian:${V}-slim\nRUN true\n",
      [
        "Dockerfile:2: the argument in 'FROM debian:${V}-slim': the image is 'debian:12-slim' now; "
          + "another base is another manifest"
      ]
    ),
    (
      "FROM debian\nARG A=1\nARG B=$A-x C\nRUN echo $B\n",
      [
        "Dockerfile:3: the variables in the default of 'B': it is '1-x' now, whatever they are",
        "Dockerfile:3: the argument 'C' without a value: it is empty now, not unset; say its value in a manifest's args",
      ]
    ),
    (
      "FROM debian AS Base_Image-\nRUN true\n",
      [
        "Dockerfile:1: field 'FROM': 'base_image-' is not a name: lower-case letters and digits, separated by '.', '_' or "
          + "'-', at most 63; it is called 'base-image' now"
      ]
    ),
    (
      "FROM debian@sha256:\(String(repeating: "0", count: 64))\nRUN --mount=type=secret,id=k true\n",
      [
        "Dockerfile:1: the digest of 'debian@sha256:\(String(repeating: "0", count: 64))': digests are in catalog.lock; "
          + "'kiln lock' pins what the tag is now",
        "Dockerfile:2: that the secret 'k' may be missing: it is required now",
      ]
    ),
    (
      "FROM debian\n#--MODULE:a--#\nARG X=1\n#--ENDMODULE--#\n#--MODULE:b--#\nRUN true\n#--ENDMODULE--#\n",
      [
        "Dockerfile:5: the argument 'X', which this section does not name: its steps no longer see it; "
          + "'ARG X' in the section declares it"
      ]
    ),
    (
      "FROM --platform=$BUILDPLATFORM debian AS b\nRUN true\nFROM debian\nCOPY --from=b /x /x\n",
      ["Dockerfile:1: FROM --platform=$BUILDPLATFORM: a stage is built on the platform of its image"]
    ),
  ]

  @Test("what has no place in a catalog is listed with its line", arguments: listed.indices)
  func lists(_ index: Int) throws {
    let example = Self.listed[index]
    #expect(try Self.draft(example.text).leftOut.sorted().map(\.description) == example.items.sorted())
  }

  // MARK: What is refused

  static let refused: [(text: String, errors: [String])] = [
    ("RUN true\n", ["Dockerfile:1: has no FROM: this is not a Dockerfile"]),
    (
      "FROM scratch\nCOPY a.txt /\n",
      [
        "Dockerfile:1: an image from scratch has no base, and a catalog's images have one; name a small image"
      ]
    ),
    ("FROM debian\nRUM true\n", ["Dockerfile:2: 'RUM' is not an instruction; did you mean 'RUN'?"]),
    (
      "# escape=x\nFROM debian\nRUN true\n", ["Dockerfile:1: the escape character is '\\' or '`', not 'x'"]
    ),
    (
      "FROM debian\n\nRUN true\nADD https://x.example/y /y\n",
      [
        "Dockerfile:4: ADD of 'https://x.example/y' without a checksum: it can be another file tomorrow; "
          + "say --checksum=sha256:…"
      ]
    ),
    (
      "# syntax=x\nFROM debian\nRUN true\nFROM debian AS b\nONBUILD RUN true\nFROM debian\nCOPY --from=b /x /x\nMAINTAINER me\n",
      [
        "Dockerfile:5: ONBUILD takes effect in the next layer, but not in a single Dockerfile",
        "Dockerfile:8: MAINTAINER is obsolete; say LABEL org.opencontainers.image.authors=…",
      ]
    ),
    ("FROM debian\nCOPY none.txt /\n", ["Dockerfile:2: 'none.txt' matches nothing in the build context"]),
    ("FROM debian\nCOPY src/odd.log /\n", ["Dockerfile:2: 'src/odd.log' matches nothing in the build context"]),
    ("FROM debian\nCOPY ../x /\n", ["Dockerfile:2: '../x' leaves the build context"]),
    (
      "FROM debian AS a\nCMD [\"x\"]\nFROM a\nENTRYPOINT [\"y\"]\n",
      [
        "Dockerfile:4: ENTRYPOINT clears the CMD of fragment 'a' (Dockerfile:2) in a layer, "
          + "but not in the single Dockerfile; say CMD here too"
      ]
    ),
    (
      "FROM debian AS a\nARG V=1\nRUN true\nFROM debian\nARG V=2\nCOPY --from=a /x /x\n",
      [
        "Dockerfile:2: the argument 'V' is '1' here and '2' on line 5; give one of the two another name: "
          + "in a catalog an argument has one value in one image"
      ]
    ),
    (
      "FROM debian:$TARGETARCH\nRUN true\n",
      [
        "Dockerfile:1: 'debian:$TARGETARCH' is another image on another platform: one base has one name; "
          + "name the image itself"
      ]
    ),
    (
      "FROM debian:$V\nRUN true\n",
      [
        "Dockerfile:1: 'debian:$V' has the argument 'V', which no ARG before the first FROM declares; "
          + "name the image itself"
      ]
    ),
    ("FROM debian\nCOPY --from=3 /a /a\n", ["Dockerfile:2: there is no stage number 3 before this one"]),
    (
      "FROM debian AS b\nRUN true\nFROM debian\nCOPY --from=b /x /x\n#--MODULE:m--#\nRUN true\n#--ENDMODULE--#\n",
      [
        "Dockerfile:4: what is outside of the sections takes something from the stage 'b'; "
          + "put it between '#--MODULE:NAME--#' and '#--ENDMODULE--#'"
      ]
    ),
    (
      "FROM debian\n#--MODULE:m--#\nRUN true\n#--MODULE:n--#\n#--ENDMODULE--#\n#--ENDMODULE--#\n#--MODULE:M--#\n#--MODUL--#\n",
      [
        "Dockerfile:4: a section inside 'm', which began on line 2; end it by #--ENDMODULE--#",
        "Dockerfile:6: #--ENDMODULE--# without a section before it",
        "Dockerfile:7: 'M' is not a name: lower-case letters and digits, separated by '.', '_' or '-', at most 63",
        "Dockerfile:7: the section 'M' has no #--ENDMODULE--#",
      ]
    ),
    (
      "FROM debian\n#--MODULE:m--#\nRUN true\n#--ENDMODULE--#\n#--MODULE:m--#\nRUN true\n#--ENDMODULE--#\n",
      ["Dockerfile:5: a second part 'm'; the first begins on line 3"]
    ),
    (
      "FROM debian\nRUN --mount=type=secret,id=k,required=true true\n#--MODULE:m--#\nRUN true\n#--ENDMODULE--#\n",
      [
        "Dockerfile:2: a secret or a cache mount outside of the sections; "
          + "put it between '#--MODULE:NAME--#' and '#--ENDMODULE--#'"
      ]
    ),
  ]

  @Test("what cannot be a catalog is refused whole, at its line", arguments: refused.indices)
  func refuses(_ index: Int) throws {
    let example = Self.refused[index]
    let errors = #expect(throws: CatalogErrors.self) { try Self.draft(example.text) }
    #expect(errors?.diagnostics.map(\.description) == example.errors)
  }

  @Test("a stage that is not there is not found; a name that is close is suggested")
  func noStage() {
    let errors = #expect(throws: CatalogErrors.self) {
      try Self.draft("FROM debian AS final\nRUN true\n") { $0.stage = "finel" }
    }
    #expect(errors?.description == "Dockerfile: has no stage 'finel'; did you mean 'final'?")
  }

  // MARK: Round trips

  @Test("what a catalog renders with its markers gives its fragments and renders the same")
  func roundTrip() throws {
    let first = try Fixture.catalog([
      "fragments/app/1.0.0/Dockerfile.stages": "FROM debian AS app-b\nCOPY main.sh /b\n",
      "fragments/app/1.0.0/Dockerfile.fragment":
        "ARG WHO=me\nCOPY main.sh /main.sh\nCOPY --from=app-b /b /b\nRUN echo ${WHO} \\\n  # a comment\n  x\n",
      "templates/base/1/Dockerfile.tpl":
        "# Above.\nFROM {base} AS final\nLABEL a=b\n#--MODULE:core--#\n#--ENDMODULE--#\n\n#--MODULE?:light--#\n"
        + "#--ENDMODULE--#\n#--MODULE:app--#\n#--ENDMODULE--#\nUSER 1\n",
    ])
    let platform = try #require(Platform("linux/amd64"))
    let rendered = try first.render(first.compose(manifest: "hello"), platform: platform, lock: Lock())
    let draft = try CatalogInit.run(
      Self.source(rendered.markedText) { $0.context = first.tree.entries }, name: "hello")
    let second = try Self.catalog(draft)
    #expect(second.fragments.keys.map(\.description).sorted() == ["app@1.0.0", "core@0.2.0"])
    for id in second.fragments.keys {
      #expect(second.fragments[id]?.text.items == first.fragments[id]?.text.items, "\(id)")
    }
    let again = try second.render(second.compose(manifest: "hello"), platform: platform, lock: Lock())
    #expect(again.markedText == rendered.markedText)
    #expect(again.text == rendered.text)
    #expect(again.sections.map(\.context) == rendered.sections.map(\.context))
    #expect(draft.leftOut == [])
  }
}
