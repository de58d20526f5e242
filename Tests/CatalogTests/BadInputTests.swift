import Catalog
import Foundation
import Model
import Testing

/// One change to a good catalog, and every line that people then read: file, line, field, suggestion.
struct BadInput: Sendable, CustomTestStringConvertible {
  let name: String
  fileprivate(set) var changes: [String: String?]
  fileprivate(set) var expected: [String]

  init(_ name: String, _ changes: [String: String?], _ expected: String...) {
    self.name = name
    self.changes = changes
    self.expected = expected
  }

  var testDescription: String { name }
}

@Suite struct BadInputTests {
  @Test func theFixtureIsFine() throws { #expect(try Fixture.errors([:]) == []) }

  @Test(arguments: definitions + texts + independent + combinations) func isReported(_ bad: BadInput) throws {
    let errors = try Fixture.errors(bad.changes)
    #expect(errors == bad.expected)
  }

  static let product = "products/hello.yml"
  static let manifest = "manifests/hello.yml"
  static let app = "fragments/app/1.0.0/fragment.yml"
  static let appText = "fragments/app/1.0.0/Dockerfile.fragment"
  static let core = "fragments/core/0.2.0/fragment.yml"
  static let coreText = "fragments/core/0.2.0/Dockerfile.fragment"
  static let template = "templates/base/1/Dockerfile.tpl"

  static func product(_ change: (String, String)) -> [String: String?] { changed(product, change) }
  static func changed(_ file: String, _ change: (String, String)) -> [String: String?] {
    let text = Fixture.files[file] ?? ""
    precondition(text.contains(change.0), "nothing to change in \(file)")
    return [file: text.replacing(change.0, with: change.1)]
  }
  static func adding(_ file: String, _ line: String) -> [String: String?] {
    [file: (Fixture.files[file] ?? "") + line + "\n"]
  }
  static func text(_ text: String) -> [String: String?] { [appText: text + "\n"] }

  // MARK: Definitions

  static let definitions: [BadInput] = [
    BadInput(
      "unknown field", changed(manifest, ("fragments:", "fragmnets:")),
      "manifests/hello.yml:3: field 'fragmnets': unknown field; did you mean 'fragments'?"),
    BadInput(
      "unknown field, nested", product(("platform: linux/amd64", "platform: linux/amd64\n    requird: false")),
      "products/hello.yml:8: field 'targets[0].requird': unknown field; did you mean 'required'?"),
    BadInput(
      "a required field misspelt is said once", product(("version: 1.0.0", "verzion: 1.0.0")),
      "products/hello.yml:3: field 'verzion': unknown field; did you mean 'version'?"),
    BadInput(
      "a required field left out", product(("version: 1.0.0\n", "")),
      "products/hello.yml:1: field 'version': is required"),
    BadInput(
      "unknown fragment", changed(manifest, ("core: 0.2.0", "cora: 0.2.0")),
      "manifests/hello.yml:4: field 'fragments[0]': there is no fragment 'cora'; did you mean 'core'?"),
    BadInput(
      "wrong version", changed(manifest, ("core: 0.2.0", "core: 0.3.0")),
      "manifests/hello.yml:4: field 'fragments[0]': fragment 'core' has no version '0.3.0'; did you mean '0.2.0'?"),
    BadInput(
      "wrong version, far off", changed(manifest, ("core: 0.2.0", "core: v7-beta")),
      "manifests/hello.yml:4: field 'fragments[0]': fragment 'core' has no version 'v7-beta'; there is 0.2.0"),
    BadInput(
      "unknown template", changed(manifest, ("base@1", "bass@1")),
      "manifests/hello.yml:1: field 'template': there is no template 'bass'; did you mean 'base'?"),
    BadInput(
      "unknown base", changed(manifest, ("base: debian", "base: debain")),
      "manifests/hello.yml:2: field 'base': there is no base image 'debain' in catalog.yml; did you mean 'debian'?"),
    BadInput(
      "unknown manifest", product(("manifest: hello", "manifest: helo")),
      "products/hello.yml:4: field 'manifest': there is no manifest 'helo'; did you mean 'hello'?"),
    BadInput(
      "two platforms of one name",
      product(("  - platform: linux/amd64", "  - platform: linux/amd64\n  - platform: linux/x86_64")),
      "products/hello.yml:8: field 'targets[1].platform': linux/amd64 is a target already, on line 7"),
    BadInput(
      "unknown platform", product(("linux/amd64", "linux/amd46")),
      "products/hello.yml:7: field 'targets[0].platform': 'linux/amd46' is not a platform that Kiln knows; did you mean 'linux/amd64'?"
    ),
    BadInput(
      "option as a name", changed(app, ("name: app", "name: --privileged")),
      "fragments/app/1.0.0/fragment.yml:1: field 'name': '--privileged' is not a name: lower-case letters and digits, separated by '.', '_' or '-', at most 63"
    ),
    BadInput(
      "option as a version", changed(manifest, ("core: 0.2.0", "core: -v")),
      "manifests/hello.yml:4: field 'fragments.core': '-v' is not a version: letters, digits, '_', '.' and '-', not first a '.' or '-', at most 128"
    ),
    BadInput(
      "option as an image", product(("image: fixture/hello", "image: -v")),
      "products/hello.yml:2: field 'image': '-v' is not a repository: names separated by '/', without registry or tag"),
    BadInput(
      "option as a tag", product(("\"{version}\"", "--privileged")),
      "products/hello.yml:5: field 'tags[0]': '--privileged' gives no valid tag: letters, digits, '_', '.' and '-', not first a '.' or '-', at most 128"
    ),
    BadInput(
      "option as a test's program", adding(product, "tests:\n  - name: t\n    command: [--privileged]"),
      "products/hello.yml:10: field 'tests[0].command': expected a program and its arguments, as a list"),
    BadInput(
      "retries of what is the pool's", adding(product, "retries:\n  build: {attempts: 3}"),
      "products/hello.yml:9: field 'retries.build': unknown field"),
    BadInput(
      "no attempt at a test", adding(product, "retries:\n  test: {attempts: 0}"),
      "products/hello.yml:9: field 'retries.test.attempts': expected a whole number from 1 to 100"),
    BadInput(
      "delays that shrink", adding(product, "retries:\n  test: {firstDelaySeconds: 9, maximumDelaySeconds: 3}"),
      "products/hello.yml:9: field 'retries.test.firstDelaySeconds': the first delay is longer than the maximum"),
    BadInput(
      "option as a base's source", changed("catalog.yml", ("registry.example/library/debian", "--privileged")),
      "catalog.yml:4: field 'bases.debian.source': '--privileged' is neither host[:port]/repository (without tag or digest) nor oci-layout:PATH"
    ),
    BadInput(
      "option as a file's name", ["products/-v.yml": Fixture.files[product]],
      "products/-v.yml: '-v' is not a name: lower-case letters and digits, separated by '.', '_' or '-', at most 63"),
    BadInput(
      "unknown place in a tag", product(("{version}", "{versoin}")),
      "products/hello.yml:5: field 'tags[0]': unknown place '{versoin}'; there are {product}, {revision}, {variant}, {version}; did you mean 'version'?"
    ),
    BadInput(
      "said twice", product(("version: 1.0.0", "version: 1.0.0\nversion: 2.0.0")),
      "products/hello.yml:3: field 'version': 'version' is said twice"),
    BadInput(
      "not YAML", changed(manifest, ("base: debian", "base: [debian")),
      "manifests/hello.yml:3: not YAML: while parsing a flow sequence: did not find expected ',' or ']'"),
    BadInput(
      "aliases without end", adding(manifest, "x: [\(Array(repeating: "*a", count: 20).joined(separator: ", "))]"),
      "manifests/hello.yml: more than 16 aliases"),
    BadInput(
      "nested without end", adding(manifest, "x: " + String(repeating: "[", count: 20_000)),
      "manifests/hello.yml:6: not YAML: while parsing: "
        + "Maximum nesting level reached, set with yaml_set_max_nest_level())"),
    BadInput("no catalog.yml", ["catalog.yml": nil], "catalog.yml: is missing"),
    BadInput(
      "refresh", adding(core, "refresh: soon"),
      "fragments/core/0.2.0/fragment.yml:4: field 'refresh': expected a number and a unit, such as 12h, 7d or 4w"),
    BadInput(
      "a secret without a version", adding(core, "secrets: {token: }"),
      "fragments/core/0.2.0/fragment.yml:4: field 'secrets.token': expected a version, such as 1: the builder cannot see whether the value changed"
    ),
    BadInput(
      "a setting of the builder as an argument", adding(core, "args: {BUILDKIT_SYNTAX: x}"),
      "fragments/core/0.2.0/fragment.yml:4: field 'args.BUILDKIT_SYNTAX': 'BUILDKIT_SYNTAX' is a setting of the builder, not an argument"
    ),
  ]

  // MARK: Dockerfile text

  static func at(_ line: Int, _ message: String) -> String { "\(appText):\(line): \(message)" }

  static let texts: [BadInput] = [
    BadInput(
      "ONBUILD", text("RUN true\nONBUILD RUN true"),
      at(2, "ONBUILD takes effect in the next layer, but not in a single Dockerfile")),
    BadInput(
      "FROM", text("RUN true\nFROM scratch"),
      at(2, "FROM begins another image; builder stages go to Dockerfile.stages")),
    BadInput(
      "COPY out of the context", text("# first\nCOPY ../../core/0.2.0/fragment.yml /x"),
      at(2, "'../../core/0.2.0/fragment.yml' leaves the fragment's folder")),
    BadInput(
      "absolute COPY", text("COPY /etc/passwd /x"),
      at(1, "'/etc/passwd' is absolute; paths are relative to the fragment's folder")),
    BadInput(
      "COPY of nothing", text("COPY main.s? main.shh /x/"), at(1, "'main.shh' matches nothing in the fragment's folder")
    ),
    BadInput("glob of nothing", text("COPY *.txt /x/"), at(1, "'*.txt' matches nothing in the fragment's folder")),
    BadInput(
      "COPY of the whole folder", text("COPY . /x/"),
      at(1, "'.' is the fragment's folder as a whole, with its definition; name files or a folder in it")),
    BadInput(
      "glob that takes a definition", text("COPY *.yml /x/"),
      at(
        1,
        "'*.yml' takes the definition 'fragments/app/1.0.0/fragment.yml' into the image; name the files that are meant")
    ),
    BadInput(
      "source from ENV", text("ENV F=main.sh\nCOPY $F /x"),
      at(2, "'$F' has the ENV variable 'F': which files are meant must be known before the build; use an ARG")),
    BadInput(
      "# syntax", text("# syntax=docker/dockerfile:1\nRUN true"),
      at(1, "'# syntax' would run a frontend that no key covers")),
    BadInput(
      "# Syntax, later", text("RUN true\n#Syntax = x/y\nRUN true"),
      at(2, "'# syntax' would run a frontend that no key covers")),
    BadInput(
      "# syntax in a template", changed(template, ("FROM {base}", "# syntax=a/b\nFROM {base}")),
      "\(template):1: '# syntax' would run a frontend that no key covers"),
    BadInput(
      "# escape", changed(template, ("FROM {base}", "# escape=`\nFROM {base}")),
      "\(template):1: fragments are written for the escape character '\\'; another one is not supported"),
    BadInput(
      "numeric --from", text("COPY --from=0 /a /b"),
      at(1, "--from=0 is a number, which means another stage in a layer than in the single Dockerfile")),
    BadInput(
      "unlocked --from", text("COPY --from=alpine /a /b"),
      at(
        1,
        "'alpine' is neither an earlier stage of this fragment's Dockerfile.stages nor a base image of catalog.yml, so it is not locked"
      )),
    BadInput(
      "unlocked image in a mount", text("RUN --mount=type=bind,from=alpine,target=/x true"),
      at(
        1,
        "'alpine' is neither an earlier stage of this fragment's Dockerfile.stages nor a base image of catalog.yml, so it is not locked"
      )),
    BadInput(
      "ADD without checksum", text("ADD https://example.com/a.tgz /x"),
      at(
        1,
        "ADD of 'https://example.com/a.tgz' without a checksum: it can be another file tomorrow; say --checksum=sha256:…"
      )),
    BadInput(
      "ADD of a branch", text("ADD https://example.com/a.git#main /x"),
      at(
        1,
        "ADD of 'https://example.com/a.git#main' without a commit: a branch or a tag can move; say #COMMIT with 40 hex digits"
      )),
    BadInput(
      "--exclude", text("COPY --exclude=*.md main.sh /x"),
      at(1, "--exclude is not known to the stable frontend of every builder")),
    BadInput(
      "--parents", text("COPY --parents main.sh /x"),
      at(1, "--parents is not known to the stable frontend of every builder")),
    BadInput(
      "symbolic --chmod", text("COPY --chmod=u+x main.sh /x"),
      at(1, "--chmod=u+x is not known to every builder; write octal digits, such as 0755")),
    BadInput(
      "unknown flag", text("COPY --chwon=a main.sh /x"), at(1, "COPY has no flag '--chwon'; did you mean 'chown'?")),
    BadInput(
      "host's network", text("RUN --network=host true"),
      at(1, "--network=host is not supported: only 'default' and 'none'")),
    BadInput("unknown instruction", text("RUM true"), at(1, "'RUM' is not an instruction; did you mean 'RUN'?")),
    BadInput(
      "$BUILDPLATFORM", text("RUN echo $BUILDPLATFORM"),
      at(1, "$BUILDPLATFORM differs from host to host; $TARGETPLATFORM does not")),
    BadInput(
      "ARG BUILDKIT_", text("ARG BUILDKIT_INLINE_CACHE=1"),
      at(1, "'BUILDKIT_INLINE_CACHE' is a setting of the builder, not an argument")),
    BadInput(
      "cache mount", text("RUN --mount=type=cache,target=/c \\\n  true"),
      at(
        1,
        "a cache mount leaks between builds and differs from host to host; say 'reproducible: false' in fragments/app/1.0.0/fragment.yml, or do without"
      )),
    BadInput(
      "secret that may be missing",
      text("RUN --mount=type=secret,id=token true").merging(adding(app, "secrets: {token: 1}")) { $1 },
      at(1, "a secret that may be missing gives another layer under the same key; say required=true")),
    BadInput(
      "secret that is not declared",
      text("RUN --mount=type=secret,id=tokn,required=true --mount=type=secret,id=token,required=true true")
        .merging(adding(app, "secrets: {token: 1}")) { $1 },
      at(1, "the secret 'tokn' is not declared in fragments/app/1.0.0/fragment.yml; did you mean 'token'?")),
    BadInput(
      "whole context in a mount", text("RUN --mount=target=/x true"),
      at(1, "a bind mount without source is the whole context; name what is needed")),
    BadInput(
      "ssh mount", text("RUN --mount=type=ssh true"),
      at(
        1,
        "an ssh mount brings what an agent opens, which no key covers and no build machine has; use a secret, whose version is in the key"
      )),
    BadInput(
      "continuation at the end", text("RUN true \\"),
      at(1, "the last line ends with a continuation: it would swallow what follows")),
    BadInput("here-document without end", text("RUN <<EOF\ntrue"), at(1, "the here-document 'EOF' does not end")),
    BadInput(
      "carriage returns", text("RUN true\r\nRUN true"), at(1, "a carriage return; save the file with plain line ends")),
    BadInput(
      "a stage of another fragment",
      ["fragments/app/1.0.0/Dockerfile.stages": "FROM debian AS core-build\nRUN true\n"],
      "fragments/app/1.0.0/Dockerfile.stages:1: the stage 'core-build' needs a name that begins with 'app-'"),
    BadInput(
      "a stage from an unlocked image",
      ["fragments/app/1.0.0/Dockerfile.stages": "FROM debain AS app-build\nRUN true\n"],
      "fragments/app/1.0.0/Dockerfile.stages:1: 'debain' is neither an earlier stage nor a base image of catalog.yml, so it cannot be locked; did you mean 'debian'?"
    ),
    BadInput(
      "a template without FROM {base}", changed(template, ("FROM {base}", "FROM debian")),
      "\(template):1: expected a line 'FROM {base}', which stands for the manifest's base image"),
    BadInput(
      "a marker without end", changed(template, ("#--MODULE:app--#\n#--ENDMODULE--#", "#--MODULE:app--#")),
      "\(template):5: the marker for 'app' has no '#--ENDMODULE--#'"),
  ]

  // MARK: Independent fragments

  private static func independent(_ text: String, _ expected: String...) -> BadInput {
    var bad = BadInput("independent: \(text.prefix { $0 != "\n" })", adding(app, "independent: true"))
    bad.changes[appText] = text + "\n"
    bad.expected = expected.enumerated().map { index, message in
      "\(appText):\(text.split(separator: "\n").count - expected.count + index + 1): an independent fragment: \(message)"
    }
    return bad
  }

  static let independent: [BadInput] = [
    independent(
      """
      ARG COLOR=red
      COPY --link --chown=1:2 --chmod=0755 main.sh /app/
      COPY --link=true <<E /$COLOR
      text
      E
      ENV A=$COLOR B=1
      ENV C=${B}
      LABEL color=$COLOR b=$B
      EXPOSE 80
      USER 1000
      VOLUME /data
      STOPSIGNAL SIGINT
      HEALTHCHECK CMD echo $PATH
      ENTRYPOINT ["/app/main.sh", "$HOME"]
      CMD ["a"]
      """),
    independent("RUN true", "RUN sees the files below; run it in a stage of Dockerfile.stages, and copy from there"),
    independent("COPY main.sh /x", "COPY without --link depends on the folders below; write COPY --link"),
    independent("COPY --link=false main.sh /x", "COPY without --link depends on the folders below; write COPY --link"),
    independent("ADD main.sh /x", "ADD without --link depends on the folders below; write ADD --link"),
    independent(
      "COPY --link main.sh x/", "'x/' is relative to the WORKDIR below; write the whole path, beginning with /"),
    independent(
      "COPY --link --chown=app main.sh /x",
      "--chown=app is looked up in files below; write numbers, such as --chown=1000:1000"),
    independent(
      "WORKDIR /x", "WORKDIR makes a folder in what is below; say it in the fragment below, or in the template"),
    independent(#"SHELL ["/bin/sh"]"#, "SHELL depends on what is below"),
    independent("CMD echo", "CMD for a shell depends on the SHELL below; write it as a JSON array"),
    independent("ENTRYPOINT []", "an empty ENTRYPOINT takes something away from what is below"),
    independent(
      "ENV PATH=/app", "ENV PATH would hide what is below it; say it in the fragment below, or in the template"),
    independent("ENV A=$HOME", "$HOME may be set below it; declare it here: ARG HOME"),
    independent("ENV A=1\nLABEL a=$A b=$B", "$B may be set below it; declare it here: ARG B"),
  ]

  // MARK: Combinations

  static let combinations: [BadInput] = [
    BadInput(
      "marker without fragment", changed(manifest, ("\n  app: 1.0.0", "")),
      "manifests/hello.yml:3: field 'fragments': the template's marker for 'app' (templates/base/1/Dockerfile.tpl:5) has no fragment; name a version of 'app', or make the marker optional: #--MODULE?:app--#"
    ),
    BadInput(
      "fragment without marker", changed(template, ("MODULE:core", "MODULE?:cor")),
      "manifests/hello.yml:4: field 'fragments[0]': the template base@1 has no marker for the fragment 'core'; did you mean 'cor'?"
    ),
    BadInput(
      "cycle",
      adding(core, "requires: {app: any}").merging(adding(app, "requires:\n  core: 0.2.0")) { $1 },
      "fragments/core/0.2.0/fragment.yml:4: field 'requires.app': fragments require each other in a cycle: app@1.0.0 → core@0.2.0 → app@1.0.0"
    ),
    BadInput(
      "requires what does not exist", adding(app, "requires: {core: [0.1.0]}"),
      "fragments/app/1.0.0/fragment.yml:4: field 'requires.core': fragment 'core' has no version '0.1.0'; did you mean '0.2.0'?"
    ),
    BadInput(
      "foreign ARG",
      [coreText: "ARG COLOR=red\nRUN echo $COLOR\n", appText: "RUN true\nRUN echo ${COLOR:-none}\n"],
      at(2, "$COLOR is an argument of fragment 'core', which this text does not see; declare it here too: ARG COLOR")),
    BadInput(
      "foreign ARG in a here-document",
      [coreText: "ARG COLOR=red\n", appText: "RUN <<EOF\necho $COLOR\nEOF\n"],
      at(1, "$COLOR is an argument of fragment 'core', which this text does not see; declare it here too: ARG COLOR")),
    BadInput(
      "foreign ARG before one's own", [coreText: "ARG COLOR=red\n", appText: "RUN echo $COLOR\nARG COLOR=red\n"],
      at(1, "$COLOR is an argument of fragment 'core', which this text does not see; declare it here too: ARG COLOR")),
    BadInput(
      "foreign ARG made an ENV", [coreText: "ARG COLOR=red\n", appText: "ENV COLOR=$COLOR\n"],
      at(1, "$COLOR is an argument of fragment 'core', which this text does not see; declare it here too: ARG COLOR")),
    BadInput("ARG passed on as ENV", [coreText: "ARG COLOR=red\nENV COLOR=$COLOR\n", appText: "RUN echo $COLOR\n"]),
    BadInput(
      "ARG that hides an ENV", [coreText: "ENV COLOR=red\n", appText: "RUN true\nARG COLOR=red\n"],
      at(2, "the argument 'COLOR' hides the ENV of the same name for what follows; give it another name")),
    BadInput(
      "ENV of the epoch", text("ENV A=1 SOURCE_DATE_EPOCH=0"), at(1, "'SOURCE_DATE_EPOCH' is set by the build itself")),
    BadInput(
      "global ARG that is not declared again",
      changed(template, ("FROM {base}", "ARG COLOR=red\nFROM {base}")).merging([appText: "RUN echo $COLOR\n"]) { $1 },
      at(1, "$COLOR is an argument of the template, which this text does not see; declare it here too: ARG COLOR")),
    BadInput(
      "one argument, two values", [coreText: "ARG COLOR=red\n", appText: "ARG COLOR=blue\n"],
      at(
        1,
        "the argument 'COLOR' is 'blue' here and 'red' in fragment 'core'; give it one value in the args of manifests/hello.yml"
      )),
    BadInput(
      "argument without a value", [coreText: "ARG COLOR\n"],
      "manifests/hello.yml:1: field 'args.COLOR': fragment 'core' needs a value (fragments/core/0.2.0/Dockerfile.fragment:1 has no default); say it in the manifest's args"
    ),
    BadInput(
      "unknown argument",
      [coreText: "ARG COLOR=red\n", manifest: (Fixture.files[manifest] ?? "") + "args: {COLUR: blue}\n"],
      "manifests/hello.yml:6: field 'args.COLUR': no fragment of this manifest has an argument 'COLUR'; did you mean 'COLOR'?"
    ),
    BadInput(
      "CMD below ENTRYPOINT", [coreText: "CMD [\"a\"]\n", appText: "RUN true\nENTRYPOINT [\"/b\"]\n"],
      at(
        2,
        "ENTRYPOINT clears the CMD of fragment 'core' (fragments/core/0.2.0/Dockerfile.fragment:1) in a layer, but not in the single Dockerfile; say CMD here too"
      )),
    BadInput(
      "matrix over its limit",
      adding(
        product,
        "matrix:\n  core: [\((0..<40).map { "v\($0)" }.joined(separator: ", "))]\n  app: [\((0..<40).map { "v\($0)" }.joined(separator: ", "))]"
      ),
      "products/hello.yml:9: field 'matrix': the matrix has 1600 variants; at most 1000 are allowed; exclude some, or raise 'maxVariants' in catalog.yml"
    ),
    BadInput(
      "matrix of an unknown fragment", adding(product, "matrix:\n  cor: [0.2.0]"),
      "products/hello.yml:9: field 'matrix.cor[0]': the manifest 'hello' has no fragment 'cor'; did you mean 'core'?"),
    BadInput(
      "exclusion of nothing", adding(product, "matrix:\n  core: [0.2.0]\n  exclude:\n    - core: 0.1.0"),
      "products/hello.yml:11: field 'matrix.exclude[0]': excludes nothing: no variant has all of these"),
    BadInput(
      "two variants, one tag",
      adding(product, "matrix:\n  core: [0.2.0, 0.2.1]").merging([
        "fragments/core/0.2.1/fragment.yml": "name: core\nversion: 0.2.1\ndescription: core\n",
        "fragments/core/0.2.1/Dockerfile.fragment": "RUN true\n",
      ]) { $1 },
      "products/hello.yml:5: field 'tags[0]': 2 variants would have the same tag; say '{variant}' in it"),
  ]
}

@Suite struct BadTreeTests {
  private func errors(_ extra: CatalogTree.Entry...) throws -> [String] {
    do {
      _ = try Catalog.load(CatalogTree(Fixture.tree().entries + extra))
      return []
    } catch let errors as CatalogErrors {
      return errors.diagnostics.map(\.description)
    }
  }

  @Test func symlinksThatLeaveAreRefused() throws {
    let link = "fragments/app/1.0.0/link"
    for (target, where_) in [
      ("/etc/passwd", "the folder of its definition"), ("../../../../outside", "the folder of its definition"),
      ("../../core/0.2.0/fragment.yml", "the folder of its definition"),
    ] {
      #expect(
        try errors(CatalogTree.Entry(path: link, content: .symlink(target: target)))
          == ["\(link): the symlink to '\(target)' leaves \(where_)"])
    }
    #expect(
      try errors(CatalogTree.Entry(path: "fragments/link", content: .symlink(target: "../../etc")))
        == ["fragments/link: the symlink to '../../etc' leaves the catalog"])
    #expect(try errors(CatalogTree.Entry(path: link, content: .symlink(target: "./main.sh"))) == [])
  }

  @Test func twoUnicodeFormsOfOneNameAreRefused() throws {
    let names = ["fragments/app/1.0.0/caf\u{e9}", "fragments/app/1.0.0/cafe\u{301}"]
    let entries = names.map { CatalogTree.Entry(path: $0, content: .file(Data(), executable: false)) }
    #expect(
      try errors(entries[0], entries[1]) == [
        "\(names[0]): there are two files of this name, which differ only in their Unicode form"
      ])
  }
}
