import Catalog
import Foundation
import Model
import Planner

/// A small catalog: one product on two platforms, two fragments, one of which brings a file.
struct CatalogFiles {
  var files: [String: String]
  var lock: Lock

  init(bases: [Platform: Digest]) {
    lock = Lock(bases: ["debian": Lock.Base(source: "r.example/debian", tag: "12", platforms: bases)])
    files = [
      "catalog.yml": "name: fixture\nbases:\n  debian: {source: r.example/debian, tag: '12'}\n",
      "products/hello.yml": """
      image: fixture/hello
      version: 1.0.0
      manifest: hello
      tags: ["{version}"]
      targets:
        - platform: linux/amd64
        - platform: linux/arm64

      """,
      "manifests/hello.yml": "template: base@1\nbase: debian\nfragments: {core: 1.0.0, app: 1.0.0}\n",
      "templates/base/1/Dockerfile.tpl":
        "FROM {base}\n#--MODULE:core--#\n#--ENDMODULE--#\n#--MODULE:app--#\n#--ENDMODULE--#\n",
      "fragments/core/1.0.0/fragment.yml": "name: core\nversion: 1.0.0\ndescription: core\n",
      "fragments/core/1.0.0/Dockerfile.fragment": "RUN echo core\n",
      "fragments/app/1.0.0/fragment.yml": "name: app\nversion: 1.0.0\ndescription: app\n",
      "fragments/app/1.0.0/Dockerfile.fragment": "COPY main.sh /main.sh\n",
      "fragments/app/1.0.0/main.sh": "#!/bin/sh\n",
    ]
  }

  /// The product is for these targets alone: `("linux/amd64", required: true)`.
  mutating func setTargets(_ targets: (platform: String, required: Bool)...) {
    let lines = targets.map { "  - platform: \($0.platform)\n    required: \($0.required)\n" }.joined()
    files["products/hello.yml"] =
      "image: fixture/hello\nversion: 1.0.0\nmanifest: hello\ntags: [\"{version}\"]\ntargets:\n\(lines)"
  }

  /// Another text of the topmost fragment: what it makes is another image, under the same tag.
  mutating func changeApp(_ text: String) { files["fragments/app/1.0.0/main.sh"] = "#!/bin/sh\necho \(text)\n" }

  func tree() throws -> CatalogTree {
    let all = files.merging([Lock.fileName: lock.text()]) { $1 }
    return try CatalogTree(
      all.map { CatalogTree.Entry(path: $0.key, content: .file(Data($0.value.utf8), executable: false)) })
  }

  func work() throws -> PlannedWork {
    let tree = try tree()
    return try Planner.plan(
      catalog: try Catalog.load(tree), lock: lock, request: PlanRequest(), catalogRevision: nil)
  }
}
