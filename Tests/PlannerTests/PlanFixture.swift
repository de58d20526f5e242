import Catalog
import Foundation
import Model
import Planner
import Testing

/// A catalog whose every file is an input of some key, and its plan.
struct PlanFixture {
  var files: [String: String] = [
    "catalog.yml": "name: fixture\nbases:\n  debian: {source: r.example/library/debian, tag: '12'}\n",
    "products/hello.yml": """
    image: fixture/hello
    version: 1.0.0
    description: says hello
    manifest: hello
    tags: ["{version}"]
    targets:
      - platform: linux/amd64
    tests:
      - name: runs
        command: [/main.sh]

    """,
    "manifests/hello.yml": """
    template: base@1
    base: debian
    fragments:
      core: 0.2.0
      app: 1.0.0
    args:
      COLOR: red

    """,
    "templates/base/1/Dockerfile.tpl": """
    ARG LEVEL=1
    FROM {base}
    LABEL vendor=fixture
    #--MODULE:core--#
    #--ENDMODULE--#
    #--MODULE:app--#
    #--ENDMODULE--#
    USER 1

    """,
    "fragments/core/0.2.0/fragment.yml": """
    name: core
    version: 0.2.0
    description: core
    refresh: 7d
    secrets: {token: 1}

    """,
    "fragments/core/0.2.0/Dockerfile.fragment": "RUN --mount=type=secret,id=token,required=true true\n",
    "fragments/app/1.0.0/fragment.yml": """
    name: app
    version: 1.0.0
    description: app
    args: {COLOR: blue}
    tests:
      - name: there
        command: [test, -f, /main.sh]

    """,
    "fragments/app/1.0.0/Dockerfile.fragment": "ARG COLOR\nCOPY main.sh data /app/\n",
    "fragments/app/1.0.0/main.sh": "#!/bin/sh\n",
    "fragments/app/1.0.0/data/a.txt": "a\n",
    "fragments/app/1.0.0/unused.txt": "u\n",
  ]
  var executable: Set<String> = ["fragments/app/1.0.0/main.sh"]
  var lock: Lock
  var reversed = false
  var revision: String?
  var request = PlanRequest()

  init() {
    let platforms = ["linux/amd64", "linux/arm64"].compactMap(Platform.init)
    lock = Lock(
      bases: [
        "debian": Lock.Base(
          source: "r.example/library/debian", tag: "12",
          platforms: Dictionary(uniqueKeysWithValues: platforms.map { ($0, Digest(of: "base")) }))
      ],
      epochs: [FragmentVersion(name: "core", version: "0.2.0"): 7])
  }

  mutating func change(_ file: String, _ old: String, _ new: String) {
    precondition(files[file]?.contains(old) ?? false, "nothing to change in \(file)")
    files[file] = files[file]?.replacing(old, with: new)
  }

  func catalog() throws -> Catalog {
    let entries = files.map { path, text in
      CatalogTree.Entry(path: path, content: .file(Data(text.utf8), executable: executable.contains(path)))
    }
    let sorted = entries.sorted { $0.path < $1.path }
    return try Catalog.load(CatalogTree(reversed ? sorted.reversed() : sorted))
  }

  func work() throws -> PlannedWork {
    try Planner.plan(catalog: catalog(), lock: lock, request: request, catalogRevision: revision)
  }

  /// What cannot be planned, as people read it.
  func errors() throws -> [String] {
    do {
      _ = try work()
      return []
    } catch let errors as CatalogErrors {
      return errors.diagnostics.map(\.description)
    }
  }
}

extension PlannedWork {
  /// Short titles of the layers of a plan with one cell, from the base upwards, with their keys.
  func path() throws -> [(title: String, key: LayerKey)] {
    let cell = try #require(plan.cells.first)
    return try cell.path.map { key in
      let layer = try #require(plan.layers.first { $0.key == key })
      let title = layer.fragment?.name ?? (layer.title.contains("head") ? "head" : "tail")
      return (title, key)
    }
  }
}
