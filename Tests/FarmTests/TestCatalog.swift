import Foundation
import Model

/// A catalog whose RUN steps call the counter: each names its fragment and the machine it runs on.
struct TestCatalog {
  let folder: URL
  /// The word that its steps, and so its layers, share with no other catalog's.
  let run: String

  /// Products `one` and `two` share all but their last fragment; `one` has two variants of that. Where
  /// the last fragments are independent, their steps run in a builder stage, and `one` has two variants
  /// of what is below.
  init(in parent: URL, base source: String, port: UInt16, run: String, platforms: [String], independent: Bool = false)
    throws
  {
    folder = parent.appendingPathComponent("catalog-\(run)", isDirectory: true)
    self.run = run
    let count = { (name: String) in "RUN wget -q -O /dev/null http://127.0.0.1:\(port)/\(run)-\(name)-$(uname -m)" }
    try write("catalog.yml", "name: farm\nbases:\n  busybox:\n    source: \(source)\n    tag: latest\n")
    for product in ["one", "two"] {
      let matrix = product == "one" ? "matrix:\n  \(independent ? "core" : "app"): [1.0.0, 1.1.0]\n" : ""
      let tag = product == "one" ? "{version}-{variant}" : "{version}"
      let targets = platforms.map { "  - platform: \($0)\n" }.joined()
      try write(
        "products/\(product).yml",
        """
        name: \(product)
        image: farm-\(run)/\(product)
        version: 1.0.0
        manifest: \(product)
        tags: ["\(tag)"]
        targets:
        \(targets)\(matrix)tests:
          - name: says
            command: [cat, /app.txt]
            timeoutSeconds: 30
            expectedOutput: app

        """)
      let app = product == "one" ? "app" : "other"
      try write(
        "manifests/\(product).yml",
        "template: \(product)@1.0.0\nbase: busybox\nfragments: [core@1.0.0, \(app)@1.0.0]\n")
      try write(
        "templates/\(product)/1.0.0/Dockerfile.tpl",
        "FROM {base}\n#--MODULE:core--#\n#--ENDMODULE--#\n#--MODULE:\(app)--#\n#--ENDMODULE--#\n")
    }
    for version in independent ? ["1.0.0", "1.1.0"] : ["1.0.0"] {
      try fragment("core", version, "\(count("core")) && sleep 1 && echo core \(version) $(uname -m) > /core.txt\n")
    }
    for (name, version) in [("app", "1.0.0"), ("app", "1.1.0"), ("other", "1.0.0")] {
      let step = "\(count("\(name)\(version)")) && sleep 1"
      if independent {
        let text = "COPY --link app.txt /app.txt\nCOPY --link --from=\(name)-made /made.txt /made.txt\n"
        try fragment(name, version, text, more: "independent: true\n")
        try write(
          "fragments/\(name)/\(version)/Dockerfile.stages",
          "FROM busybox AS \(name)-made\n\(step) && echo made > /made.txt\n")
      } else {
        try fragment(name, version, "\(step)\nCOPY app.txt /app.txt\n")
      }
      try write("fragments/\(name)/\(version)/app.txt", "app \(name) \(version) \(run)\n")
    }
  }

  /// One product of `middles` × `apps` variants in place of the two.
  func becomeVariants(middles: Int, apps: Int, platforms: [String], port: UInt16) throws {
    for name in ["products", "manifests", "templates", "fragments"] {
      try FileManager.default.removeItem(at: folder.appendingPathComponent(name))
    }
    func versions(_ count: Int) -> [String] { (1...count).map { "1.0.\($0)" } }
    let axes = ["middle": versions(middles), "app": versions(apps)]
    let targets = platforms.map { "  - platform: \($0)\n" }.joined()
    let matrix = axes.sorted { $0.key < $1.key }.map { "  \($0.key): [\($0.value.joined(separator: ", "))]\n" }.joined()
    try write(
      "products/many.yml",
      "image: farm-\(run)/many\nversion: 1.0.0\nmanifest: many\ntags: [\"{version}-{variant}\"]\n"
        + "targets:\n\(targets)matrix:\n\(matrix)")
    try write(
      "manifests/many.yml",
      "template: many@1.0.0\nbase: busybox\nfragments: {bottom: 1.0.0, middle: 1.0.1, app: 1.0.1}\n")
    try write(
      "templates/many/1.0.0/Dockerfile.tpl",
      "FROM {base}\n" + ["bottom", "middle", "app"].map { "#--MODULE:\($0)--#\n#--ENDMODULE--#\n" }.joined())
    for (name, numbers) in axes.merging(["bottom": ["1.0.0"]], uniquingKeysWith: { $1 }) {
      for version in numbers {
        let step = "RUN wget -q -O /dev/null http://127.0.0.1:\(port)/\(run)-\(name)\(version)-$(uname -m)\n"
        try fragment(
          name, version, name == "app" ? "COPY app.txt /app.txt\n" : step + "RUN echo \(version) > /\(name)\n")
        if name == "app" { try write("fragments/app/\(version)/app.txt", "\(version) \(run)\n") }
      }
    }
  }

  func write(_ path: String, _ text: String) throws {
    let file = folder.appendingPathComponent(path)
    try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(text.utf8).write(to: file)
  }

  /// What the RUN step of a layer calls the counter by: "core@1.0.0 linux/arm64" is RUN-core-aarch64.
  func counterName(_ title: String) -> String { "\(run)-\(Self.stepName(title))" }

  static func stepName(_ title: String) -> String {
    let words = title.split(whereSeparator: { "@ /".contains($0) }).map(String.init)
    let version = words[0] == "core" ? "" : words[1]
    return "\(words[0])\(version)-\(words[3] == "amd64" ? "x86_64" : "aarch64")"
  }

  private func fragment(_ name: String, _ version: String, _ text: String, more: String = "") throws {
    try write("fragments/\(name)/\(version)/Dockerfile.fragment", text)
    try write(
      "fragments/\(name)/\(version)/fragment.yml",
      "name: \(name)\nversion: \(version)\ndescription: For the farm test.\n\(more)")
  }
}
