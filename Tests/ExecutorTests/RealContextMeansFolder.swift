import Catalog
import Foundation
import Model
import Registry
import TestSupport
import Testing

@testable import KilnExecutor

/// Fragments of the kind that people write, each with its folder. The image from Kiln's layers, each with
/// the least context, is the one that `docker buildx build` makes of the one rendered Dockerfile and the
/// whole catalog with the rendered .dockerignore: what is sent suffices, and what is not is not needed.
/// Whatever Kiln reads otherwise than BuildKit fails in one of the two or differs.
@Suite struct RealContextMeansFolder {
  struct Example: Sendable, CustomTestStringConvertible {
    var testDescription: String
    let text: String
    var ignore: String?
    var stages: String?
    var args = ""

    init(_ name: String, _ text: String, ignore: String? = nil, stages: String? = nil, args: String = "") {
      (testDescription, self.text, self.ignore, self.stages, self.args) = (name, text, ignore, stages, args)
    }
  }

  static let files: [String: String] = [
    "run.sh": "#!/bin/sh\necho run\n", "a.txt": "a\n", "b.txt": "b\n", "README.md": "readme\n", "a b/f.txt": "f\n",
    "x[1].txt": "x\n", "src/main.c": "int main;\n", "src/main.o": "o\n", "src/lib/util.c": "u\n",
    "src/lib/util.o": "o\n",
    "src/obj/only.o": "o\n", "docs/one.md": "1\n", "docs/deep/two.md": "2\n", "docs/deep/three.txt": "3\n",
    "bin-amd64/tool.sh": "#!/bin/sh\necho amd64\n", "bin-arm64/tool.sh": "#!/bin/sh\necho arm64\n",
    ".hidden": "h\n", "package.json": "{}\n", "package-lock.json": "{}\n", "node_modules/m/index.js": "m\n",
  ]

  static let examples = [
    Example(
      "an entrypoint", "COPY --chmod=0755 run.sh /usr/local/bin/\nENTRYPOINT [\"/usr/local/bin/run.sh\"]\nCMD [\"-v\"]"),
    Example("packages first, then all", "WORKDIR /app\nCOPY package*.json ./\nRUN cat package.json\nCOPY src ./src"),
    Example("sets", "COPY [a-b].txt /s/\nCOPY [^a].txt /n/\nCOPY [Q-Z]* /u/"),
    Example("an escaped pattern", "COPY x\\\\[1].t?t /x/"),
    Example(
      "patterns over folders", "COPY */*.md docs/*/*.txt /all/\nCOPY * /flat/",
      ignore: "*.yml\nDockerfile.*\n.dockerignore\n"),
    Example("patterns that match folders", "COPY d* /d/\nCOPY src* bin-* /s/"),
    Example("words with quotes", "COPY \"a\".txt 'b'.txt /x/\nCOPY \\a.txt /y"),
    Example("names with blanks", "COPY [\"a b/f.txt\", \"/x/y z\"]\nARG D=\"a b\"\nCOPY $D /q/"),
    Example("paths that wander", "COPY ./src/../a.txt .//b.txt /x/\nCOPY src/ /y\nCOPY docs/. /z"),
    Example(
      "arguments", "ARG D=src\nARG F\nARG E=\nCOPY ${D}/main.c $F /x/\nCOPY ${E:-a}.txt ${D:+b}.txt /y/",
      args: "args: {F: a.txt}\n"),
    Example(
      "arguments cut and replaced",
      "ARG F=a.txt.gz\nARG G=srx/main.c\nCOPY ${F%.*} ${G/x/c} /x/\nARG H=x/y/a.txt\nCOPY ${H##*/} /z"),
    Example(
      "the platform", "ARG TARGETARCH\nARG TARGETPLATFORM\nCOPY bin-$TARGETARCH/ /opt/\nRUN echo $TARGETPLATFORM > /p"),
    Example(
      "comments and continuations",
      "COPY \\\n# why\n\n   a.txt \\\n  # and this\n  b.txt \\\n  /x/\nRUN true && \\\n# no\n  echo a > /a"),
    Example(
      "files beside here-documents",
      "COPY a.txt <<EOF <<-'X' /h/\nhello\nEOF\n\t$literal\n\tX\nRUN <<R\ncat /h/EOF > /r\nR"),
    Example(
      "bind mounts",
      "RUN --mount=type=bind,source=src,target=/src,rw touch /src/new && cp /src/main.c /m\nARG D=docs\nRUN --mount=source=\"${D}/deep\",target=/d cat /d/two.md > /t"
    ),
    Example(
      "mounts of every kind",
      "RUN --mount=type=tmpfs,target=/t --mount='source=a b,target=/ab' \\\n  --network=none cp /ab/f.txt /f", args: ""),
    Example("a mount on several lines", "RUN --mount=type=bind,\\\nsource=a.txt,\\\ntarget=/a cat /a > /b"),
    Example("flags with quotes", "COPY --chown=\"3:4\" --link a.txt /x\nADD --chown='5':6 b.txt /y\nCOPY -- a.txt /z"),
    Example("objects ignored", "COPY src /src", ignore: "**/*.o\n"),
    Example(
      "objects ignored, in a mount", "RUN --mount=source=src,target=/s cp -r /s /src", ignore: "# built\nsrc/**/*.o\n"),
    Example(
      "only exceptions", "COPY src /src\nCOPY docs /docs", ignore: "*\n!src/lib\nsrc/lib/*.o\n!docs/deep/two.md\n"),
    Example(
      "the folder as a whole", "COPY . /all", ignore: "fragment.yml\nDockerfile.*\n.dockerignore\nnode_modules\n**.md\n"
    ),
    Example("rules that overlap", "COPY docs src /x/", ignore: "docs\n!docs/deep/two.md\n/src/\n!src/*.c\n"),
    Example(
      "a builder stage", "COPY --from=one-build /out/ /opt/\nCOPY a.txt /a", ignore: "**/*.o\n",
      stages:
        "FROM tools AS one-base\nARG D=src\nCOPY $D /src\nFROM one-base AS one-build\nRUN mkdir /out && ls -R /src > /out/list\nFROM one-base AS one-unused\nRUN false\n"
    ),
    Example(
      "files of another image",
      "COPY --from=tools /etc/passwd /p\nRUN --mount=from=tools,source=/etc,target=/e cp /e/group /g"),
    Example(
      "environment and labels",
      "ENV A=\"x y\" B=z\nLABEL a=\"$A\" b='$B'\nRUN echo \"$A\" > /a\nSTOPSIGNAL SIGINT\nUSER 7:8\nCOPY a.txt /owned"),
  ]

  @Test(arguments: examples) func equals(_ example: Example) async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let base = try TestImage.base("linux/amd64")
    guard case .registry(let tools) = try await Self.tools(base) else { throw Missing() }
    let rendered = try Self.rendered(example, base, tools: tools)

    var chain = base
    for section in rendered.sections where !section.isEmpty {
      let limits = TarArchive.Limits(maxArchiveBytes: 1 << 20, maxFileBytes: 1 << 20, maxEntries: 1000)
      let context = try section.context.map { try TarArchive.read($0.bytes, limits: limits) } ?? []
      let built = try await host.build(section.dockerfile, on: chain, context: context, arguments: section.arguments)
      chain = try chain.adding(built, in: host.folder)
    }
    let whole = try await Self.docker(rendered, tree: Self.tree(example, base, tools: tools), host)
    #expect(try Self.facts(chain, above: base) == Self.facts(whole, above: base))
  }
}

extension RealContextMeansFolder {
  /// The base in a registry: docker takes no files from a layout.
  private static func tools(_ base: TestImage) async throws -> ImageLocation { try await TestRegistry.push(base) }

  private static func tree(_ example: Example, _ base: TestImage, tools: String) throws -> CatalogTree {
    let folder = "fragments/one/1/"
    var all = Dictionary(uniqueKeysWithValues: files.map { (folder + $0.key, $0.value) })
    all["catalog.yml"] = """
      name: x
      bases:
        sample: {source: 'oci-layout:\(base.layout.path)'}
        tools: {source: '\(tools.split(separator: "@")[0])'}

      """
    all["manifests/m.yml"] = "template: t@1\nbase: sample\nfragments: {one: 1, two: 1}\n"
    all["templates/t/1/Dockerfile.tpl"] =
      "FROM {base}\n#--MODULE:one--#\n#--ENDMODULE--#\nLABEL between=1\n#--MODULE:two--#\n#--ENDMODULE--#\n"
    all["fragments/two/1/fragment.yml"] = "name: two\nversion: \"1\"\ndescription: x\n"
    all["fragments/two/1/Dockerfile.fragment"] = "COPY two.txt /two\n"
    all["fragments/two/1/two.txt"] = "2\n"
    all[folder + "fragment.yml"] = "name: one\nversion: \"1\"\ndescription: x\n\(example.args)"
    all[folder + "Dockerfile.fragment"] = example.text + "\n"
    if let stages = example.stages { all[folder + "Dockerfile.stages"] = stages }
    if let ignore = example.ignore { all[folder + ".dockerignore"] = ignore }
    return try CatalogTree(
      all.map {
        CatalogTree.Entry(path: $0.key, content: .file(Data($0.value.utf8), executable: $0.key.hasSuffix(".sh")))
      })
  }

  private static func rendered(
    _ example: Example, _ base: TestImage, tools: String
  ) throws -> RenderedDockerfile {
    let catalog = try Catalog.load(tree(example, base, tools: tools))
    let digest = try present(Digest(String(tools.split(separator: "@")[1])))
    let lock = Lock(
      bases: [
        "sample": Lock.Base(
          source: "oci-layout:\(base.layout.path)", tag: "latest",
          platforms: [base.platform: base.image.manifest.digest]),
        "tools": Lock.Base(
          source: String(tools.split(separator: "@")[0]), tag: "latest", platforms: [base.platform: digest]),
      ])
    return try catalog.render(catalog.compose(manifest: "m"), platform: base.platform, lock: lock)
  }

  /// As anybody would build it: the whole catalog on disk, the rendered files beside it.
  private static func docker(
    _ rendered: RenderedDockerfile, tree: CatalogTree, _ host: TestHost
  ) async throws -> TestImage {
    // A name of its own: BuildKit knows folders by their names.
    let folder = host.folder.appendingPathComponent("catalog-\(UUID().uuidString)")
    for entry in tree.entries {
      guard case .file(let bytes, let executable) = entry.content else { continue }
      let file = folder.appendingPathComponent(entry.path)
      try FileManager.default.createDirectory(
        at: file.deletingLastPathComponent(), withIntermediateDirectories: true,
        attributes: [.posixPermissions: 0o755])
      try bytes.write(to: file)
      try FileManager.default.setAttributes(
        [.posixPermissions: executable ? 0o755 : 0o644], ofItemAtPath: file.path)
    }
    let dockerfile = host.folder.appendingPathComponent("Rendered")
    try Data(rendered.text.utf8).write(to: dockerfile)
    try Data(rendered.ignoreText.utf8).write(to: host.folder.appendingPathComponent("Rendered.dockerignore"))
    let output = host.folder.appendingPathComponent("whole")
    var arguments = [
      "buildx", "build", "--platform", "linux/amd64", "--file", dockerfile.path, "--provenance=false", "--sbom=false",
      "--build-arg", "SOURCE_DATE_EPOCH=\(Recipe.sourceDateEpochSeconds)",
      "--output", "type=oci,dest=\(output.path),tar=false,rewrite-timestamp=true",
    ]
    for (name, address) in rendered.buildContexts { arguments += ["--build-context", "\(name)=\(address)"] }
    _ = try await host.engine.docker.output(arguments + [folder.path])
    let index = try TestImage.object(Data(contentsOf: output.appendingPathComponent("index.json")))
    let manifests = index["manifests"] as? [[String: Any]] ?? []
    let digest = try present(manifests.last.flatMap { Digest($0["digest"] as? String ?? "") })
    return try TestImage(layout: output, platform: try present(Platform("linux/amd64")), digest: digest)
  }

  /// The blobs above the base by their content, and what containers get.
  private static func facts(_ image: TestImage, above base: TestImage) throws -> [String] {
    let count = try base.blobs.count
    let rootfs = try image.configuration["rootfs"] as? [String: Any]
    let diffs = (rootfs?["diff_ids"] as? [String] ?? []).dropFirst(count)
    let config = try JSONSerialization.data(
      withJSONObject: try image.configuration["config"] ?? [String: Any](), options: .sortedKeys)
    return diffs + [String(decoding: config, as: UTF8.self)]
  }
}
