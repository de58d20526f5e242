import Catalog
import Foundation
import Model
import Planner
import Registry

/// What is submitted: two products on two platforms that share their lower layers, one in two variants,
/// with an independent fragment on top; and the same again with another text in one place.
enum SimulatedCatalog {
  static let platforms = ["linux/amd64", "linux/arm64"]

  /// The same catalog, then with the app changed twice, then with the middle changed.
  static let works = Result {
    try [("one", "one"), ("two", "one"), ("three", "one"), ("one", "two")].map { app, middle in
      try work(app: app, middle: middle)
    }
  }

  private static func work(app: String, middle: String) throws -> PlannedWork {
    var bases: [Platform: Digest] = [:]
    for text in platforms {
      guard let platform = Platform(text) else { continue }
      bases[platform] = try SimulatedRegistry.base(platform).manifest.digest
    }
    let lock = Lock(bases: ["debian": Lock.Base(source: "r.example/debian", tag: "12", platforms: bases)])
    let targets = platforms.map { "  - platform: \($0)\n" }.joined()
    var files = [
      "catalog.yml": "name: fixture\nbases:\n  debian: {source: r.example/debian, tag: '12'}\n",
      "products/hello.yml":
        "image: fixture/hello\nversion: 1.0.0\nmanifest: hello\ntags: [\"{version}-{variant}\"]\n"
        + "targets:\n\(targets)matrix:\n  app: [1.0.1, 1.0.2]\n",
      "products/tool.yml":
        "image: fixture/tool\nversion: 1.0.0\nmanifest: tool\ntags: [\"{version}\"]\ntargets:\n\(targets)"
        + "tests:\n  - name: runs\n    command: [\"/tool\", \"\(app)\"]\n",
      "manifests/hello.yml":
        "template: hello@1\nbase: debian\nfragments: {bottom: 1.0.1, middle: 1.0.1, app: 1.0.1, extra: 1.0.1}\n",
      "manifests/tool.yml": "template: tool@1\nbase: debian\nfragments: {bottom: 1.0.1, tool: 1.0.1}\n",
      "fragments/extra/1.0.1/data": "extra\n",
    ]
    for (template, names) in [("hello", ["bottom", "middle", "app", "extra"]), ("tool", ["bottom", "tool"])] {
      files["templates/\(template)/1/Dockerfile.tpl"] =
        "FROM {base}\n" + names.map { "#--MODULE:\($0)--#\n#--ENDMODULE--#\n" }.joined()
    }
    let fragments = [
      ("bottom", 1, "RUN bottom"), ("middle", 1, "RUN middle \(middle)"), ("app", 1, "RUN app 1 \(app)"),
      ("app", 2, "RUN app 2 \(app)"), ("extra", 1, "COPY --link data /data"),
      ("tool", 1, "RUN tool"),
    ]
    for (name, version, text) in fragments {
      let folder = "fragments/\(name)/1.0.\(version)"
      files["\(folder)/fragment.yml"] =
        "name: \(name)\nversion: 1.0.\(version)\ndescription: simulated\n"
        + (name == "extra" ? "independent: true\n" : "")
      files["\(folder)/Dockerfile.fragment"] = text + "\n"
    }
    files[Lock.fileName] = lock.text()
    let tree = try CatalogTree(
      files.map { CatalogTree.Entry(path: $0.key, content: .file(Data($0.value.utf8), executable: false)) })
    return try Planner.plan(catalog: try Catalog.load(tree), lock: lock, request: PlanRequest(), catalogRevision: nil)
  }
}
