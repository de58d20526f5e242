import Foundation
import Model
import RecordStore
import TestSupport
import Testing

/// Working on one fragment, on a real engine. Evidence comes from docker and from the steps' own counter.
@Suite("Iterating", .serialized, .timeLimit(.minutes(5)))
struct RealIteratingTests {
  private func with(_ body: (EmbeddedFolder, _ image: String) async throws -> Void) async throws {
    let fragments = ["water", "leaves"]
    try await EmbeddedFolder.with(CatalogFolder.product("tea", fragments: fragments)) { folder in
      let image = "\(folder.tag)/tea"
      try folder.catalog.write(CatalogFolder.product("tea", fragments: fragments, repository: image))
      try await body(folder, image)
    }
  }

  @Test("--until builds up to a fragment, tests and tags nothing, and loads what it made")
  func until() async throws {
    try await with { folder, image in
      let built = try await folder.kiln.run(["build", "tea", "--until", "water", "--load"])
      #expect(built.status == 0 && built.errors.isEmpty, "\(built)")
      #expect(folder.count("water") == 1 && folder.count("leaves") == 0, "\(folder.counter.all)")
      let line = try #require(built.output.split(separator: "\n").last)
      let words = line.split(separator: " ").map(String.init)
      #expect(words.count == 4 && words[1].hasPrefix("\(image):until-water-"), "\(line)")
      let run = ["run", "--rm", "--pull", "never", "--network", "none", words[1], "ls", "/"]
      _ = try await folder.docker.output(run)
      let listed = try await folder.docker.output(["images", "--format", "{{.Tag}}", image])
      #expect(listed.split(separator: "\n").allSatisfy { $0.hasPrefix("until-") }, "\(listed)")
      let records: [StoredRecord] = try await folder.kiln.json(["records", "--json"])
      #expect(records.isEmpty)
      // The whole goes on from there.
      #expect(try await folder.kiln.run(["build"]).status == 0)
      #expect(folder.count("water") == 1 && folder.count("leaves") == 1, "\(folder.counter.all)")
    }
  }

  @Test("--until of a step that fails: exit code 1, and its log")
  func untilFails() async throws {
    try await with { folder, _ in
      try folder.catalog.write(CatalogFolder.fragment("water", "RUN echo spilled >&2 && exit 3\n"))
      let told = try await folder.kiln.run(["build", "--until", "leaves"])
      #expect(told.status == 1 && told.errors.contains("spilled"), "\(told)")
      let builds: [BuildSummary] = try await folder.kiln.json(["status", "--json"])
      #expect(builds.map(\.state) == [.failed])
    }
  }

  @Test("a shell stands on the fragment's parent with its files, mounts and arguments, and leaves nothing")
  func shell() async throws {
    try await with { folder, _ in
      try folder.catalog.write(
        "fragments/leaves/1.0.0/fragment.yml",
        "name: leaves\nversion: 1.0.0\ndescription: For the tests.\nargs: {KIND: green and black}\n")
      try folder.catalog.write("fragments/leaves/1.0.0/more/bound.txt", "bound\n")
      try folder.catalog.write(
        "fragments/leaves/1.0.0/Dockerfile.fragment",
        """
        ARG KIND
        COPY said.txt /said.txt
        RUN --mount=type=bind,source=more,target=/mnt/more --mount=type=tmpfs,target=/scratch cat /mnt/more/bound.txt

        """)
      let script = """
        echo "$KIND"; cat /kiln/context/said.txt; cat /mnt/more/bound.txt; grep -c ' /scratch tmpfs' /proc/mounts
        grep -c KIND /kiln/Dockerfile; test -e /said.txt && echo built already; exit 7
        """
      let told = try await folder.kiln.run(["shell", "tea", "--at", "leaves", "--", "/bin/sh", "-c", script])
      #expect(told.status == 7 && told.output == "green and black\ntea\nbound\n1\n1\n", "\(told)")
      #expect(folder.count("water") == 1, "the parent was built first")
      #expect(try await folder.docker.output(["ps", "--all", "--quiet", "--filter", "label=kiln.shell=tea"]).isEmpty)
      #expect(try await folder.docker.output(["images", "--quiet", "kiln-shell/tea"]).isEmpty)
      let left = try FileManager.default.contentsOfDirectory(
        atPath: folder.catalog.root.appendingPathComponent(".kiln").path)
      #expect(left.allSatisfy { !$0.hasPrefix("shell-") }, "\(left)")
      // On the base itself.
      let lowest = try await folder.kiln.run(["shell", "tea", "--at", "water", "--", "/bin/echo", "here"])
      #expect(lowest.status == 0 && lowest.output == "here\n", "\(lowest)")
      let unknown = try await folder.kiln.run(["shell", "tea", "--at", "leave"])
      #expect(unknown.status == 3 && unknown.errors.contains("did you mean 'leaves'?"), "\(unknown)")
    }
  }

  @Test("a catalog with uncommitted changes builds and records, and moves no tag; a test plan neither")
  func withoutTags() async throws {
    try await with { folder, image in
      let git = OutsideTool("git", environment: ["HOME": folder.catalog.root.path])
      let root = ["-C", folder.catalog.root.path, "-c", "user.name=test", "-c", "user.email=test@example.invalid"]
      for arguments in [["init", "--quiet"], ["add", "catalog"], ["commit", "--quiet", "--message", "test"]] {
        try await git.run(root + arguments)
      }
      let clean = try await folder.kiln.run(["build", "--load"])
      #expect(clean.status == 0 && clean.output.contains("image  \(image):1.0.0 sha256:"), "\(clean)")
      let released = try await identifier(folder, "\(image):1.0.0")

      try folder.catalog.write("fragments/leaves/1.0.0/said.txt", "tea, and more\n")
      let dirty = try await folder.kiln.run(["build", "--load", "--output", "images"])
      #expect(dirty.status == 0 && dirty.errors.contains("no tag is moved"), "\(dirty)")
      let line = try #require(dirty.output.split(separator: "\n").last)
      let name = String(line.split(separator: " ")[1])
      #expect(name.hasPrefix("\(image):kiln-"), "\(line)")
      #expect(try await identifier(folder, "\(image):1.0.0") == released)
      #expect(try await identifier(folder, name) != released)
      let run = ["run", "--rm", "--pull", "never", "--network", "none", name, "cat", "/said.txt"]
      #expect(try await folder.docker.output(run) == "tea, and more\n")

      try folder.catalog.write("plans/try.yml", "product: tea\nfixed: {water: 1.0.0}\n")
      try await git.run(root + ["add", "catalog"])
      try await git.run(root + ["commit", "--quiet", "--message", "test"])
      let explored = try await folder.kiln.run(["build", "--plan", "try", "--load"])
      #expect(explored.status == 0 && !explored.output.contains("\(image):1.0.0"), "\(explored)")
      #expect(try await identifier(folder, "\(image):1.0.0") == released)
      let records: [StoredRecord] = try await folder.kiln.json(["records", "--json"])
      #expect(records.count == 2 && records.allSatisfy { $0.record.verdict == .passed })
    }
  }

  private func identifier(_ folder: EmbeddedFolder, _ image: String) async throws -> String {
    try await folder.docker.output(["image", "inspect", "--format", "{{.Id}}", image])
  }
}
