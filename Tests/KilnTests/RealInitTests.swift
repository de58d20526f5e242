import Foundation
import TestSupport
import Testing

/// A catalog that was made from something else gives the images that this gave: both built, and compared by
/// the contents of their blobs and by how they run.
@Suite("What init makes means the same", .timeLimit(.minutes(5)))
struct RealInitTests {
  private static let shell = URL(fileURLWithPath: "/usr/bin/env")

  private static func docker(_ arguments: [String], _ folder: EmbeddedFolder) async throws {
    let told = try await folder.kiln.run(["docker", "buildx"] + arguments, program: shell)
    guard told.status == 0 else { throw KilnProgram.Unexpected(told.errors) }
  }

  /// Builds one Dockerfile, with docker alone.
  private static func build(
    _ dockerfile: String, _ context: String, _ folder: EmbeddedFolder
  ) async throws -> ImageFacts {
    let archive = folder.catalog.root.appendingPathComponent("\(UUID().uuidString).tar").path
    try await docker(
      [
        "build", "--file", dockerfile, "--output", "type=oci,dest=\(archive),rewrite-timestamp=true", "--build-arg",
        "SOURCE_DATE_EPOCH=315619200", "--provenance=false", "--secret", "id=word,src=word.txt", context,
      ], folder)
    return try await ImageFacts.read("oci-archive:\(archive)")
  }

  private static func run(_ arguments: [String], _ folder: EmbeddedFolder) async throws {
    let told = try await folder.kiln.run(arguments)
    guard told.status == 0 else { throw KilnProgram.Unexpected("kiln \(arguments): \(told.errors)") }
  }

  private static func write(_ path: String, _ text: String, _ folder: EmbeddedFolder) throws {
    let file = folder.catalog.root.appendingPathComponent(path)
    try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(text.utf8).write(to: file)
    if path.hasSuffix(".sh") {
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: file.path)
    }
  }

  /// The base in the registry, by a name of its own.
  private static func base(_ folder: EmbeddedFolder) async throws -> String {
    let image = "\(try Services.require("KILN_TEST_REGISTRY"))/\(folder.tag)/base:1"
    try await OutsideTool("skopeo").run(
      ["copy", "--all", "--dest-tls-verify=false", "oci:\(folder.catalog.root.path)/base:latest", "docker://\(image)"])
    return image
  }

  /// A Dockerfile with much of what one may hold, and what it copies.
  private static func fill(_ folder: EmbeddedFolder) async throws {
    let image = try await base(folder)
    let name = image.prefix { $0 != ":" } + ":" + image.split(separator: ":")[1]
    try write(
      "app/Dockerfile",
      """
      ARG TAG=1
      ARG MODE="two words"
      FROM \(name):${TAG} AS tools
      ARG MODE
      COPY . /all
      RUN cd /all && find . -type f | sort > /listing && echo $MODE > /mode

      FROM \(name):${TAG} AS base
      ARG KEPT=kept
      ARG HIDDEN=arg
      ENV HIDDEN=env PATH=/opt/bin:$PATH
      RUN mkdir -p /opt/bin && echo "$KEPT $HIDDEN" > /seen
      WORKDIR /work

      # What runs before the last stage, and is in no image.
      FROM base AS extra
      RUN echo "$KEPT $HIDDEN" > /extra

      FROM base
      COPY --from=tools /listing /mode ./
      COPY --from=extra /extra /extra
      COPY --chmod=0700 src/*.sh /opt/bin/
      COPY src/dir <<EOF /copied/
      inline $KEPT
      EOF
      RUN --mount=type=bind,target=/context cat /context/src/dir/a.txt > /bound
      RUN --mount=type=secret,id=word,required=true cat /run/secrets/word > /told && env | grep -c '^KEPT=' >> /told
      RUN echo "$KEPT $HIDDEN" >> /seen && stat -c '%A %n' /copied/* > /kinds
      LABEL about="a label"
      USER 7:8
      ENTRYPOINT ["run.sh"]
      CMD ["x"]

      """, folder)
    try write("app/.dockerignore", "**/*.log\nskipped\n!src/dir/kept.log\n", folder)
    for (path, text) in [
      ("src/run.sh", "#!/bin/sh\necho $1\n"), ("src/dir/a.txt", "a\n"), ("src/dir/kept.log", "kept\n"),
      ("src/dir/lost.log", "lost\n"), ("skipped/file", "skipped\n"),
    ] {
      try write("app/\(path)", text, folder)
    }
    let link = folder.catalog.root.appendingPathComponent("app/src/dir/link").path
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: "a.txt")
    try write("word.txt", "told\n", folder)
  }

  @Test("a Dockerfile with stages, arguments, mounts and ignored files")
  func dockerfile() async throws {
    try await EmbeddedFolder.with([]) { folder in
      try await Self.fill(folder)
      let given = try await Self.build("app/Dockerfile", "app", folder)
      try FileManager.default.removeItem(at: folder.catalog.catalog)
      try await Self.run(["catalog", "init", "--from", "app/Dockerfile"], folder)
      try await Self.run(["catalog", "check"], folder)
      try await Self.run(["lock"], folder)
      try await Self.run(["render", "app", "--output", "rendered"], folder)
      let rendered = try await Self.build("rendered", "catalog", folder)
      #expect(rendered == given)
      #expect(rendered.config.entrypoint == ["run.sh"])
      try await Self.run(["build", "app", "--output", "images", "--secret", "word=word.txt"], folder)
      let chained = try await ImageFacts.read("oci:\(folder.catalog.root.path)/images/app:1.0.0")
      #expect(chained.aboveBase == given.aboveBase)
    }
  }

  /// Dockerfiles as teams have them; `{base}` in them is the base's repository.
  @Test("a Dockerfile of the corpus", arguments: ["box", "legacy", "python", "service", "tools", "web"])
  func corpus(_ name: String) async throws {
    try await EmbeddedFolder.with([]) { folder in
      let base = try await Self.base(folder)
      let root = folder.catalog.root
      let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      try FileManager.default.copyItem(
        at: here.appendingPathComponent("Corpus/\(name)"), to: root.appendingPathComponent(name))
      let file = root.appendingPathComponent("\(name)/Dockerfile")
      let text = try String(contentsOf: file, encoding: .utf8)
      #expect(text.contains("{base}:"))
      try Data(text.replacing("{base}:", with: base.dropLast()).utf8).write(to: file)
      try Self.write("word.txt", "told\n", folder)
      let given = try await Self.build("\(name)/Dockerfile", name, folder)
      try FileManager.default.removeItem(at: folder.catalog.catalog)
      try await Self.run(["catalog", "init", "--from", "\(name)/Dockerfile"], folder)
      try await Self.run(["catalog", "check"], folder)
      try await Self.run(["lock"], folder)
      try await Self.run(["build", name, "--output", "images", "--secret", "word=word.txt"], folder)
      let built = try await ImageFacts.read("oci:\(root.path)/images/\(name):1.0.0")
      #expect(built.aboveBase == given.aboveBase)
    }
  }

  @Test("what a catalog renders with its markers has its layers again")
  func rendered() async throws {
    try await EmbeddedFolder.with([]) { folder in
      try await Self.fill(folder)
      try FileManager.default.removeItem(at: folder.catalog.catalog)
      try await Self.run(["catalog", "init", "--from", "app/Dockerfile", "--output", "first"], folder)
      let told = try await folder.kiln.run(["render", "app", "--markers", "--catalog", "first", "--output", "rendered"])
      #expect(told.status == 0, "\(told)")
      try await Self.run(
        ["catalog", "init", "--from", "rendered", "--context", "first", "--output", "second/app"], folder)
      let rendered = try String(contentsOf: folder.catalog.root.appendingPathComponent("rendered"), encoding: .utf8)
      let again = try await folder.kiln.run(["render", "first", "--markers", "--catalog", "second/app"])
      #expect(again.output == rendered, "\(again.errors)")
    }
  }

  @Test("a plan as a bake file gives the catalog's images again")
  func bakeRoundTrip() async throws {
    let product = CatalogFolder.product("tea", fragments: ["water", "leaves"])
    let matrix = product.map { path, text in
      path == "products/tea.yml"
        ? (path, text.replacing("{version}", with: "{version}-{variant}") + "matrix:\n  leaves: [1.0.0, 2.0.0]\n")
        : (path, text)
    }
    let second = CatalogFolder.fragment("leaves", "ENV KIND=${HOME}black\nCOPY said.txt /said.txt\n").map {
      path, text in
      (path.replacing("1.0.0", with: "2.0.0"), text.replacing("1.0.0", with: "2.0.0"))
    }
    let files = second + [("fragments/leaves/2.0.0/said.txt", "tea\n")]
    try await EmbeddedFolder.with(matrix + files) { folder in
      let root = folder.catalog.root
      let planned = try await folder.kiln.run(["plan", "--format", "bake"])
      #expect(planned.status == 0, "\(planned)")
      try Data(planned.output.utf8).write(to: root.appendingPathComponent("bake.json"))
      try await Self.run(["catalog", "init", "--from", "bake.json", "--output", "again/catalog"], folder)
      try await Self.run(["catalog", "check", "--catalog", "again/catalog"], folder)
      try await Self.run(["lock", "--catalog", "again/catalog"], folder)
      try await Self.run(["build", "--output", "images"], folder)
      try await Self.run(["build", "--catalog", "again/catalog", "--output", "again/images"], folder)
      for tag in ["1.0.0-leaves-1.0.0", "1.0.0-leaves-2.0.0"] {
        let first = try await ImageFacts.read("oci:\(root.path)/images/tiny-tea:\(tag)")
        let second = try await ImageFacts.read("oci:\(root.path)/again/images/tiny-tea:\(tag)")
        #expect(first == second)
      }
    }
  }

  @Test("a matrix of a bake file gives the images that bake builds")
  func bakeMatrix() async throws {
    try await EmbeddedFolder.with([]) { folder in
      let image = try await Self.base(folder)
      try Self.write(
        "app/Dockerfile", "FROM \(image) AS base\nARG KIND\nRUN echo $KIND > /kind\nFROM base AS end\nCOPY a.txt /a\n",
        folder)
      try Self.write("app/a.txt", "a\n", folder)
      try Self.write(
        "docker-bake.hcl",
        """
        variable "REPOSITORY" { default = "team/app" }
        group "default" { targets = ["app"] }
        target "app" {
          name = "app-${kind}"
          matrix = { kind = ["black", "green"] }
          context = "app"
          target = "end"
          args = { KIND = kind }
          labels = { price = "$${x}" }
          tags = ["${REPOSITORY}:1.2-base-${kind}"]
          platforms = ["linux/amd64"]
          no-cache-filter = ["end"]
        }
        """, folder)
      try FileManager.default.removeItem(at: folder.catalog.catalog)
      let made = try await folder.kiln.run(["catalog", "init", "--from", "docker-bake.hcl"])
      #expect(made.status == 0, "\(made)")
      #expect(made.errors.contains("field 'target.app-black.no-cache-filter': says how it is built"))
      try await Self.run(["lock"], folder)
      try await Self.run(["build", "--output", "images"], folder)
      for kind in ["black", "green"] {
        let archive = folder.catalog.root.appendingPathComponent("\(kind).tar").path
        try await Self.docker(
          [
            "bake", "--file", "docker-bake.hcl", "--set", "*.args.SOURCE_DATE_EPOCH=315619200", "--provenance=false",
            "--set", "*.output=type=oci,dest=\(archive),rewrite-timestamp=true", "app-\(kind)",
          ], folder)
        let theirs = try await ImageFacts.read("oci-archive:\(archive)")
        let ours = try await ImageFacts.read("oci:\(folder.catalog.root.path)/images/team-app:1.2-base-\(kind)")
        #expect(ours.aboveBase == theirs.aboveBase)
        #expect(ours.config.labels?["price"] == "${x}")
      }
    }
  }

  @Test("a bake file that bake does not understand is refused, and nothing is written")
  func badBake() async throws {
    try await EmbeddedFolder.with([]) { folder in
      try Self.write("docker-bake.hcl", "target \"app\" {\n  args = nothing\n}\n", folder)
      let told = try await folder.kiln.run(
        ["catalog", "init", "--from", "docker-bake.hcl", "--target", "app", "--output", "new"])
      #expect(told.status == 2 && told.errors.contains("docker-bake.hcl:2"), "\(told)")
      #expect(!FileManager.default.fileExists(atPath: folder.catalog.root.appendingPathComponent("new").path))
    }
  }
}
