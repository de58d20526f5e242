import Catalog
import Foundation
import Model

/// A small whole catalog, of which a test changes one thing. (The planner's tests have one of their own.)
enum Fixture {
  static let files: [String: String] = [
    "catalog.yml": """
    name: fixture
    bases:
      debian:
        source: registry.example/library/debian
        tag: "12"

    """,
    "products/hello.yml": """
    name: hello
    image: fixture/hello
    version: 1.0.0
    manifest: hello
    tags: ["{version}"]
    targets:
      - platform: linux/amd64

    """,
    "manifests/hello.yml": """
    template: base@1
    base: debian
    fragments:
      core: 0.2.0
      app: 1.0.0

    """,
    "templates/base/1/Dockerfile.tpl": """
    FROM {base}
    LABEL vendor=fixture
    #--MODULE:core--#
    #--ENDMODULE--#
    #--MODULE:app--#
    #--ENDMODULE--#

    """,
    "fragments/core/0.2.0/fragment.yml": """
    name: core
    version: 0.2.0
    description: core

    """,
    "fragments/core/0.2.0/Dockerfile.fragment": "RUN true\n",
    "fragments/app/1.0.0/fragment.yml": """
    name: app
    version: 1.0.0
    description: app

    """,
    "fragments/app/1.0.0/Dockerfile.fragment": "COPY main.sh /main.sh\n",
    "fragments/app/1.0.0/main.sh": "#!/bin/sh\n",
  ]

  static func tree(_ changes: [String: String?] = [:]) throws -> CatalogTree {
    let files = files.merging(changes.compactMapValues { $0 }) { $1 }.filter { changes[$0.key] != .some(nil) }
    return try CatalogTree(
      files.map {
        CatalogTree.Entry(path: $0.key, content: .file(Data($0.value.utf8), executable: $0.key.hasSuffix(".sh")))
      })
  }

  static func catalog(_ changes: [String: String?] = [:]) throws -> Catalog { try Catalog.load(tree(changes)) }

  /// What is wrong with the changed catalog, as people read it.
  static func errors(_ changes: [String: String?]) throws -> [String] {
    do {
      _ = try catalog(changes)
      return []
    } catch let errors as CatalogErrors {
      return errors.diagnostics.map(\.description)
    }
  }
}
