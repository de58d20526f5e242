import Catalog
import Foundation
import Model
import TestSupport
import Testing

let limits = TarArchive.Limits(maxArchiveBytes: 1 << 20, maxFileBytes: 1 << 20, maxEntries: 100)

/// A store as the prototype keeps it. What it renders is in `expected`, which was written by hand from
/// the prototype's rules.
enum StoreFixture {
  static let modules = "control_plane/data/modules"
  static let files: [String: String] = [
    "control_plane/data/manifest.json": """
    {"llm_app": {
       "template": {"id": "default", "version": "0.1.0"},
       "modules": [{"name": "serve_mock", "version": "0.1.0"}, {"name": "core", "version": "0.2.0"},
                   {"name": "security", "version": "0.1.0"}],
       "base_image": "ubuntu:22.04", "output": "dockerfiles/Dockerfile.rendered"},
     "by_path": {
       "template": {"path": "dockerfiles/special/Dockerfile.tpl"},
       "modules": [{"name": "core", "version": "0.1.0"}],
       "base_image": "ghcr.example/team/base:1"},
     "core_smoke": {
       "template": {"id": "default", "version": "0.1.0"},
       "modules": [{"name": "core", "version": "0.1.0"}]}
    }
    """,
    "control_plane/data/product.json": """
    {"llm_app": {"name": "LLM app", "description": "Serves a model.", "docker_image_name": "factory/llm-app",
       "docker_tag": "1.2.0", "metadata": {"manifest_id": "llm_app", "build_platform": "linux/amd64,linux/arm64",
       "owner": "platform team"}}}
    """,
    "control_plane/data/test_plan.json": """
    {"baseline": {"name": "baseline", "description": "core by version", "product_id": "llm_app",
       "manifest_id": "llm_app", "fixed": {"security": "0.1.0"}, "matrix": {"core": ["0.1.0", "0.2.0"]}}}
    """,
    "dockerfiles/templates/default/0.1.0/Dockerfile.tpl": """
    # syntax=docker/dockerfile:1.4

    # The usual template.
    ARG BASE_IMAGE=ubuntu:22.04
    FROM ${BASE_IMAGE} AS final

    SHELL ["/bin/bash", "-c"]

    #--MODULE:security--#
    RUN echo "replaced"
    #--ENDMODULE--#

    #--MODULE:core--#
    #--ENDMODULE--#
    LABEL a="1"
    #--MODULE:serve_mock--#
    #--ENDMODULE--#
    """ + "\n",
    // CRLF, and no newline at the end.
    "dockerfiles/special/Dockerfile.tpl":
      "FROM {base_image}\r\n# before\r\n#--MODULE:core--#\r\n#--ENDMODULE--#\r\nUSER 1000",
    "\(modules)/security/0.1.0/module.json": #"{"name": "security", "version": "0.1.0", "order": 10}"#,
    "\(modules)/security/0.1.0/Dockerfile.fragment": "\n\n  RUN true\n\n\n",
    // A byte order mark; the order is missing.
    "\(modules)/core/0.1.0/module.json": "\u{FEFF}{\"name\": \"core\", \"version\": \"0.1.0\"}",
    "\(modules)/core/0.1.0/Dockerfile.fragment": "\u{FEFF}# core\r\nENV A=1 \\\r\n    B=2   \r\n",
    "\(modules)/core/0.2.0/module.json":
      #"{"name": "core", "version": "0.2.0", "order": 20, "description": "The \"core\".", "requirements": ["x"]}"#,
    "\(modules)/core/0.2.0/Dockerfile.fragment": "COPY control_plane/data/modules/core/0.2.0/files /opt/files",
    "\(modules)/core/0.2.0/files/a.txt": "a\n",
    "\(modules)/core/0.2.0/files/run.sh": "#!/bin/sh\n",
    "\(modules)/core/0.2.0/README.md": "Not for the image.\n",
    "\(modules)/serve_mock/0.1.0/module.json": #"{"name": "serve_mock", "version": "0.1.0", "order": 40}"#,
    "\(modules)/serve_mock/0.1.0/Dockerfile.fragment": """
    COPY serve_mock/*.py /opt/
    CMD ["python3", "/opt/app.py"]

    """,
    "serve_mock/app.py": "print('served')\n",
    "serve_mock/notes.txt": "not named\n",
    "unrelated/secret": "never taken\n",
  ]

  /// But for FROM, whose image is pinned, the line after it, and '# syntax', which is left out.
  static let expected: [String: String] = [
    "llm_app": """

    # The usual template.
    ARG BASE_IMAGE=ubuntu:22.04
    FROM docker.io/library/ubuntu:22.04 AS final
    ARG SOURCE_DATE_EPOCH

    SHELL ["/bin/bash", "-c"]

    RUN true


    COPY control_plane/data/modules/core/0.2.0/files /opt/files

    LABEL a="1"
    COPY serve_mock/*.py /opt/
    CMD ["python3", "/opt/app.py"]

    """,
    "by_path": """
    FROM ghcr.example/team/base:1
    ARG SOURCE_DATE_EPOCH
    # before
    # core
    ENV A=1 \\
        B=2

    USER 1000

    """,
    "core_smoke": """

    # The usual template.
    ARG BASE_IMAGE=ubuntu:22.04
    FROM docker.io/library/ubuntu:22.04 AS final
    ARG SOURCE_DATE_EPOCH

    SHELL ["/bin/bash", "-c"]

    #--MODULE:security--#
    RUN echo "replaced"
    #--ENDMODULE--#


    # core
    ENV A=1 \\
        B=2

    LABEL a="1"
    #--MODULE:serve_mock--#
    #--ENDMODULE--#

    """,
  ]

  static func entries(_ changes: [String: String?] = [:]) -> [CatalogTree.Entry] {
    let all = files.merging(changes.compactMapValues { $0 }) { $1 }.filter { changes[$0.key] != .some(nil) }
    return all.map {
      CatalogTree.Entry(path: $0.key, content: .file(Data($0.value.utf8), executable: $0.key.hasSuffix(".sh")))
    }
  }
}

@Suite struct ImportTests {
  private func imported(_ changes: [String: String?] = [:]) throws -> CatalogDraft {
    try StoreImport.run(StoreFixture.entries(changes), name: "store")
  }

  private func catalog(_ draft: CatalogDraft) throws -> Catalog {
    try Catalog.load(CatalogTree(draft.files.map { CatalogTree.Entry(path: $0.key, content: $0.value) }))
  }

  private func text(_ path: String, _ draft: CatalogDraft) -> String? {
    guard case .file(let bytes, _) = draft.files[path] else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }

  @Test(arguments: StoreFixture.expected.keys.sorted()) func rendersTheSameDockerfile(_ manifest: String) throws {
    let draft = try imported()
    #expect(draft.wrong == [])
    let catalog = try catalog(draft)
    let rendered = try catalog.render(
      catalog.compose(manifest: manifest), platform: #require(Platform("linux/amd64")), lock: Lock())
    #expect(rendered.text == StoreFixture.expected[manifest])
  }

  @Test func onlyWhatIsNamedIsTaken() throws {
    let draft = try imported()
    let outside = draft.files.keys.filter { !CatalogTree.folders.contains(String($0.prefix { $0 != "/" })) }.sorted()
    #expect(
      outside.filter { !$0.hasPrefix("plans/") } == [
        "catalog.yml", "control_plane/data/modules/core/0.2.0/files/a.txt",
        "control_plane/data/modules/core/0.2.0/files/run.sh", "serve_mock/app.py",
      ])
    #expect(
      draft.files["control_plane/data/modules/core/0.2.0/files/run.sh"]
        == .file(Data("#!/bin/sh\n".utf8), executable: true))
    let catalog = try catalog(draft)
    let rendered = try catalog.render(
      catalog.compose(manifest: "llm_app"), platform: #require(Platform("linux/amd64")), lock: Lock())
    let context = try #require(rendered.sections.first { $0.title == "serve_mock@0.1.0" }?.context)
    let names = try TarArchive.read(context.bytes, limits: limits).map(\.path)
    #expect(names == ["serve_mock", "serve_mock/app.py"])
    #expect(text("fragments/serve_mock/0.1.0/fragment.yml", draft)?.contains("\ncontext: catalog\n") ?? false)
  }

  @Test func everythingLeftOutIsListed() throws {
    let left = try imported().leftOut.map(\.description)
    #expect(
      Set(left) == [
        "control_plane/data/manifest.json: field 'llm_app.output': no file is written beside the catalog; 'kiln render llm_app' prints it",
        "control_plane/data/product.json: field 'llm_app.metadata.owner': a catalog has nothing like it",
        "control_plane/data/modules/core/0.2.0/module.json: field 'requirements': a catalog has nothing like it",
        "control_plane/data/modules/core/0.2.0/README.md: no COPY, ADD or mount of the fragment names it",
        "dockerfiles/templates/default/0.1.0/Dockerfile.tpl: field 'syntax': '# syntax=docker/dockerfile:1.4': a frontend of its own, which no key covers, is not run",
      ])
  }

  @Test func productsAndPlans() throws {
    let draft = try imported()
    #expect(
      text("products/llm_app.yml", draft) == """
        name: llm_app
        description: "LLM app: Serves a model."
        image: "factory/llm-app"
        version: "1.2.0"
        manifest: llm_app
        tags: ["{version}"]
        targets:
          - platform: "linux/amd64"
          - platform: "linux/arm64"

        """)
    #expect(
      text("plans/baseline.yml", draft) == """
        name: baseline
        description: "core by version"
        product: llm_app
        manifest: llm_app
        fixed:
          security: "0.1.0"
        matrix:
          core: ["0.1.0", "0.2.0"]

        """)
  }

  struct Odd: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var changes: [String: String?]
    var left: String
    init(_ name: String, _ changes: [String: String?], _ left: String) {
      (testDescription, self.changes, self.left) = (name, changes, left)
    }
  }

  static let product = "control_plane/data/product.json"
  static func manifest(_ text: String) -> [String: String?] { ["control_plane/data/manifest.json": text] }
  static let odd: [Odd] = [
    Odd(
      "no such module",
      manifest(#"{"a": {"template": {"id": "default", "version": "0.1.0"}, "modules": [{"name": "cor"}]}}"#),
      "control_plane/data/manifest.json: field 'a.modules[0]': there is no control_plane/data/modules/cor/latest/module.json; the manifest is left out"
    ),
    Odd(
      "no such template", manifest(#"{"a": {"template": {"path": "../out.tpl"}}}"#),
      "control_plane/data/manifest.json: field 'a.template': there is no template at '../out.tpl', or it is not UTF-8"),
    Odd(
      "a name that is none", manifest(#"{"A b": {"template": {"id": "default", "version": "0.1.0"}, "modules": []}}"#),
      "control_plane/data/manifest.json: field 'A b': 'A b' is not a name: lower-case letters and digits, separated by '.', '_' or '-', at most 63; it is called 'a-b' now"
    ),
    Odd(
      "an image with a registry",
      [product: #"{"p": {"docker_image_name": "r.example/team/p:3", "metadata": {"manifest_id": "llm_app"}}}"#],
      "control_plane/data/product.json: field 'p.docker_image_name': the registry 'r.example': a product names only the repository; say 'registry: r.example' in catalog.yml, or --push at the build"
    ),
    Odd(
      "no such manifest", [product: #"{"p": {"docker_image_name": "p", "metadata": {"manifest_id": "q"}}}"#],
      "control_plane/data/product.json: field 'p.metadata.manifest_id': there is no such manifest in the catalog; what names it is left out"
    ),
    Odd(
      "several stages", ["dockerfiles/special/Dockerfile.tpl": "FROM a AS b\nRUN true\nFROM c\n"],
      "dockerfiles/special/Dockerfile.tpl: field 'FROM': the template has 2, a catalog's has one; builder stages go to the Dockerfile.stages of the fragment that uses them"
    ),
    Odd(
      "another base than the template's",
      ["dockerfiles/special/Dockerfile.tpl": "FROM a:1\n#--MODULE:core--#\n#--ENDMODULE--#\n"],
      "control_plane/data/manifest.json: field 'by_path.base_image': 'ghcr.example/team/base:1' is not what FROM of dockerfiles/special/Dockerfile.tpl says, 'a:1'"
    ),
    Odd(
      "an order that contradicts the template",
      ["control_plane/data/modules/security/0.1.0/module.json": #"{"name": "security", "order": "30"}"#],
      "control_plane/data/modules/security/0.1.0/module.json: field 'order': contradicts the markers of dockerfiles/templates/default/0.1.0/Dockerfile.tpl, whose order counts"
    ),
    Odd(
      "files where definitions are",
      [
        "control_plane/data/modules/serve_mock/0.1.0/Dockerfile.fragment": "COPY products/x /x\n", "products/x": "x",
      ],
      "control_plane/data/modules/serve_mock/0.1.0/Dockerfile.fragment: 'products/x': a catalog cannot have files of its own called 'products'; move them elsewhere in the store"
    ),
  ]

  @Test(arguments: odd) func isListed(_ odd: Odd) throws {
    let left = try imported(odd.changes).leftOut.map(\.description)
    #expect(left.contains(odd.left), "\(left.joined(separator: "\n"))")
  }

  @Test func whatNeedsMendingIsSaidWithItsNewPlace() throws {
    let draft = try imported(["\(StoreFixture.modules)/security/0.1.0/Dockerfile.fragment": "COPY . /all\n"])
    #expect(
      draft.wrong.map(\.description) == [
        "fragments/security/0.1.0/Dockerfile.fragment:1: '.' is the catalog as a whole, with its definition; name files or a folder in it"
      ])
  }

  @Test func whatIsNoStoreIsRefused() throws {
    let errors = #expect(throws: CatalogErrors.self) {
      try imported(["control_plane/data/manifest.json": nil])
    }
    #expect(
      errors?.description
        == "control_plane/data/manifest.json: is missing: this is not a store; name the folder that holds it")
    #expect(throws: CatalogErrors.self) { try imported(["control_plane/data/product.json": "[1]"]) }
  }
}
