import Catalog
import Foundation
import Model
import Testing

/// The targets of a bake file as products: what `docker buildx bake --print` says is the input.
@Suite("A catalog from a bake file") struct BakeInitTests {
  static let dockerfile = "FROM debian:12\nARG V=0\nRUN echo $V\n"

  static func document(_ targets: String, groups: String = "{}", text: String = "", isEscaped: Bool = false) throws
    -> BakeDocument
  {
    try BakeDocument(
      printed: Data(#"{"group": \#(groups), "target": \#(targets)}"#.utf8), file: "bake.hcl", text: text,
      isEscaped: isEscaped)
  }

  /// Each target with its own text, else with the same Dockerfile.
  static func draft(_ bake: BakeDocument) throws -> CatalogDraft {
    var sources: [String: DockerfileSource] = [:]
    for target in bake.targets {
      let file = target.text == nil ? "./Dockerfile" : "bake.hcl (target \(target.name))"
      let text = target.text ?? dockerfile
      var source = DockerfileSource(file: file, content: .file(Data(text.utf8), executable: false))
      source.stage = target.stage
      source.arguments = target.arguments
      source.platforms = target.platforms
      source.labels = target.labels
      source.images = target.contexts.mapValues { BakeDocument.image($0, catalog: "/there/catalog") }
      sources[target.name] = source
    }
    return try CatalogInit.run(bake, sources: sources, name: "baked")
  }

  static func text(_ draft: CatalogDraft, _ path: String) -> String? { DockerfileInitTests.text(draft, path) }

  @Test("a group of targets with other arguments is a product with a matrix, whose tags are rules")
  func matrix() throws {
    let draft = try Self.draft(
      Self.document(
        #"""
        {"app-1": {"args": {"V": "1.0"}, "tags": ["r.example/team/app:2.1-app-1.0", "r.example/team/app:latest"],
                   "platforms": ["linux/amd64", "linux/arm64"]},
         "app-2": {"args": {"V": "2.0"}, "tags": ["r.example/team/app:2.1-app-2.0"],
                   "platforms": ["linux/amd64", "linux/arm64"]}}
        """#, groups: #"{"default": {"targets": ["app"]}, "app": {"targets": ["app-1", "app-2"]}}"#))
    #expect(
      Self.text(draft, "products/app.yml") == """
        name: app
        image: "team/app"
        version: "2.1"
        manifest: app
        tags: ["{version}-{variant}"]
        targets:
          - platform: "linux/amd64"
          - platform: "linux/arm64"
        matrix:
          app: ["1.0", "2.0"]

        """)
    #expect(Self.text(draft, "fragments/app/1.0/Dockerfile.fragment") == "ARG V=1.0\nRUN echo $V\n")
    #expect(Self.text(draft, "fragments/app/2.0/Dockerfile.fragment") == "ARG V=2.0\nRUN echo $V\n")
    #expect(Self.text(draft, "catalog.yml")?.hasPrefix("name: baked\nregistry: \"r.example\"\n") == true)
    #expect(
      draft.leftOut.map(\.description) == [
        "./Dockerfile: field 'target.app-1.tags': 'r.example/team/app:latest' fits no rule for all variants; "
          + "their tags are {version}-{variant}"
      ])
  }

  @Test("a choice that is no whole matrix is a list; other targets are products of their own")
  func partial() throws {
    let inline =
      #"FROM debian\n#--MODULE:a@%A--#\nRUN a%A\n#--ENDMODULE--#\n#--MODULE:b@%B--#\nRUN b%B\n#--ENDMODULE--#\n"#
    func target(_ a: String, _ b: String) -> String {
      #"{"dockerfile-inline": "\#(inline.replacing("%A", with: a).replacing("%B", with: b))"}"#
    }
    let draft = try Self.draft(
      Self.document(
        #"{"x": \#(target("1", "1")), "y": \#(target("1", "2")), "z": \#(target("2", "1")), "own": {"labels": {"l": "v"}}}"#,
        groups: #"{"g": {"targets": ["x", "y", "z"]}, "all": {"targets": ["g", "own"]}}"#))
    #expect(
      Self.text(draft, "products/g.yml")?.hasSuffix(
        """
        matrix:
          include:
            - {a: "1", b: "1"}
            - {a: "1", b: "2"}
            - {a: "2", b: "1"}

        """) == true)
    #expect(Self.text(draft, "products/own.yml")?.contains("image: \"own\"") == true)
    #expect(Self.text(draft, "templates/own/1.0.0/Dockerfile.tpl")?.hasSuffix("LABEL l=v\n") == true)
    #expect(
      draft.leftOut.map(\.description) == [
        "bake.hcl: field 'group.all': a group of groups, or of targets that another group has too: "
          + "a catalog has nothing like it"
      ])
  }

  @Test("targets that differ in more than their fragments are products, and the list says so")
  func different() throws {
    let draft = try Self.draft(
      Self.document(
        #"{"a": {"dockerfile-inline": "FROM debian:11\nRUN true\n"}, "b": {"dockerfile-inline": "FROM debian:12\nRUN false\n"}}"#,
        groups: #"{"g": {"targets": ["a", "b"]}}"#))
    #expect(try DockerfileInitTests.catalog(draft).products.keys.sorted() == ["a", "b"])
    #expect(
      draft.leftOut.map(\.message) == [
        "its targets differ in more than their fragments' arguments and contents: each is a product of its own"
      ])
  }

  @Test("fields that say how to build are listed at the line that says them")
  func listed() throws {
    let text = """
      variable "V" { default = 1 }
      target "app" {
        cache-from = ["x"]
        args = {
          NONE = "1"
        }
        no-cache = true
      }
      target "other" {
        no-cache = true
        secret = ["id=a,src=b"]
      }
      """
    let draft = try Self.draft(
      Self.document(
        #"""
        {"app": {"cache-from": ["x"], "no-cache": true, "args": {"NONE": "1", "V": null}},
         "other": {"no-cache": true, "secret": ["id=a,src=b"], "contexts": {"spare": "docker-image://alpine@sha256:1"}}}
        """#, text: text))
    let how = "says how it is built, not what: a catalog has nothing like it"
    #expect(
      draft.leftOut.sorted().map(\.description) == [
        "./Dockerfile: the context 'spare': no FROM, COPY or mount of what is taken over names it",
        "bake.hcl:3: field 'target.app.cache-from': \(how)",
        "bake.hcl:4: field 'target.app.args': 'V' has no value here: it would come from whoever builds",
        "bake.hcl:4: field 'target.app.args.NONE': no ARG of what is taken over has this name",
        "bake.hcl:7: field 'target.app.no-cache': \(how)",
        "bake.hcl:9: field 'target.other.contexts': the digest of 'spare': digests are in catalog.lock, which 'kiln lock' writes",
        "bake.hcl:10: field 'target.other.no-cache': \(how)",
        "bake.hcl:11: field 'target.other.secret': where its value comes from is no part of a catalog: "
          + "say 'kiln build --secret ID=FILE'",
      ])
  }

  @Test("what cannot be taken over at all is refused with its line")
  func refused() throws {
    let errors = #expect(throws: CatalogErrors.self) {
      try Self.document(
        #"""
        {"a": {"platforms": ["linux/amd46"], "context": "https://x.example/y.git",
               "contexts": {"b": "target:b", "c": "oci-layout://x"}}}
        """#, text: "target \"a\" {\n  platforms = []\n  context = 1\n}\n")
    }
    #expect(
      errors?.diagnostics.map(\.description) == [
        "bake.hcl:1: field 'target.a.contexts': 'target:b' is neither an image nor an OCI layout; "
          + "put its stages into this target's Dockerfile, its files into this target's context",
        "bake.hcl:2: field 'target.a.platforms': 'linux/amd46' is not a platform that Kiln knows; did you mean 'linux/amd64'?",
        "bake.hcl:3: field 'target.a.context': 'https://x.example/y.git' is not a folder; fetch it first, and name the folder",
      ])
    let none = #expect(throws: CatalogErrors.self) { try Self.document("{}") }
    #expect(none?.description == "bake.hcl: has no targets to take over; name one by --target")
    let inner = #expect(throws: CatalogErrors.self) {
      try Self.draft(Self.document(#"{"a": {"dockerfile-inline": "FROM debian\n\nRUM true\n"}}"#))
    }
    #expect(inner?.description == "bake.hcl (target a):3: 'RUM' is not an instruction; did you mean 'RUN'?")
  }

  @Test("bake's escapes are taken away where it prints them", arguments: [true, false])
  func escapes(isEscaped: Bool) throws {
    let bake = try Self.document(#"{"a": {"dockerfile-inline": "RUN echo $${A} %%{B}"}}"#, isEscaped: isEscaped)
    #expect(bake.targets.first?.text == (isEscaped ? "RUN echo ${A} %{B}" : "RUN echo $${A} %%{B}"))
  }

  @Test(
    "an image's place as catalog.yml says it",
    arguments: [
      ("docker-image://r.example/a:1", "r.example/a:1"), ("oci-layout:///there/base:edge", "oci-layout:../base:edge"),
      ("oci-layout:///there/catalog/../base@sha256:0", "oci-layout:../base"), ("oci-layout:///x", "oci-layout:../../x"),
    ])
  func places(_ address: String, _ place: String) {
    #expect(BakeDocument.image(address, catalog: "/there/catalog") == place)
  }

  @Test("two Dockerfiles with stages of one name do not share fragments")
  func names() throws {
    let draft = try Self.draft(
      Self.document(
        #"""
        {"a": {"dockerfile-inline": "FROM debian AS base\nRUN a\n"}, "b": {"dockerfile-inline": "FROM debian AS base\nRUN b\n"}}
        """#))
    #expect(
      try DockerfileInitTests.catalog(draft).fragments.keys.map(\.description).sorted() == [
        "a-base@1.0.0", "b-base@1.0.0",
      ])
  }

  @Test("two targets that a catalog would call the same are refused")
  func sameName() throws {
    let bake = try Self.document(
      #"{"App": {"dockerfile-inline": "FROM debian\nRUN a\n"}, "app": {"dockerfile-inline": "FROM debian\nRUN b\n"}}"#)
    let errors = #expect(throws: CatalogErrors.self) { try Self.draft(bake) }
    #expect(errors?.diagnostics.first?.message.contains("are both called 'app'") == true)
  }

  @Test(
    "the version is the most exact tag that is a number",
    arguments: [
      (["x/app:latest", "x/app:1.2.3", "x/app:1.2"], "1.2.3", ["latest", "{version}", "1.2"]),
      (["x/app:1", "x/app:v1.10"], "1", ["{version}", "v1.10"]), (["x/app:latest"], "1.0.0", ["latest"]),
    ])
  func version(_ tags: [String], _ version: String, _ rules: [String]) throws {
    let list = tags.map { "\"\($0)\"" }.joined(separator: ", ")
    let draft = try Self.draft(
      Self.document(#"{"app": {"dockerfile-inline": "FROM debian\nRUN a\n", "tags": [\#(list)]}}"#))
    let product = try #require(try DockerfileInitTests.catalog(draft).products["app"])
    #expect(product.version == version && product.tagRules.map(\.value) == rules)
  }
}
