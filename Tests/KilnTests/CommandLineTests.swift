import Foundation
import TestSupport
import Testing

/// The real program on small catalogs, without any service: what it prints and how it ends.
@Suite("Command line", .timeLimit(.minutes(3)))
struct CommandLineTests {
  private func withCatalog(
    _ files: [(String, String)] = CatalogFolder.sample, _ body: (CatalogFolder) async throws -> Void
  ) async throws {
    let folder = try CatalogFolder()
    defer { folder.remove() }
    try folder.write(files)
    try await body(folder)
  }

  // MARK: catalog check, render

  @Test("a good catalog: exit code 0, nothing on standard error, JSON when asked")
  func goodCatalog() async throws {
    try await withCatalog { folder in
      let told = try await folder.kiln().run(["catalog", "check"])
      #expect(told.status == 0 && told.errors.isEmpty, "\(told)")
      #expect(told.output.hasPrefix("tiny: ") && told.output.hasSuffix("nothing wrong\n"))
      struct Report: Decodable, Equatable {
        var products: Int
        var fragments: Int
        var warnings: [String]
      }
      let report: Report = try await folder.kiln().json(["catalog", "check", "--json"])
      #expect(report == Report(products: 1, fragments: 2, warnings: []))
    }
  }

  @Test("a broken catalog: exit code 3, and every error with its place and what was meant")
  func brokenCatalog() async throws {
    try await withCatalog { folder in
      try folder.write("manifests/tea.yml", "name: tea\ntemplate: tea@1.0.0\nbase: busybox\nfragmnets: {}\n")
      try folder.write("fragments/water/1.0.0/Dockerfile.fragment", "RNU true\n")
      for arguments in [["catalog", "check"], ["catalog", "check", "--json"], ["plan"], ["build"], ["lock"]] {
        let told = try await folder.kiln().run(arguments)
        #expect(told.status == 3 && told.output.isEmpty, "\(arguments): \(told)")
        #expect(told.errors.contains("manifests/tea.yml:4: field 'fragmnets'"), "\(told.errors)")
        #expect(told.errors.contains("did you mean 'fragments'?"), "\(told.errors)")
        #expect(told.errors.contains("fragments/water/1.0.0/Dockerfile.fragment:1: "), "\(told.errors)")
      }
    }
  }

  @Test("render prints one plain Dockerfile, with the lock's digest where there is one")
  func render() async throws {
    try await withCatalog { folder in
      let told = try await folder.kiln().run(["render", "tea"])
      #expect(told.status == 0 && told.errors.isEmpty, "\(told)")
      let instructions = told.output.split(separator: "\n").filter { !$0.hasPrefix("#") && !$0.hasPrefix("ARG ") }
      #expect(
        instructions == [
          "FROM busybox", "RUN echo water > /water.txt", "COPY fragments/leaves/1.0.0/said.txt /said.txt",
        ], "\(told.output)")
    }
  }

  // MARK: plan

  @Test("the same catalog and lock give the same plan, byte for byte, wherever and whoever plans")
  func planIsTheSame() async throws {
    try await withCatalog { one in
      try await withCatalog(CatalogFolder.sample.reversed()) { two in
        let platforms = ["linux/arm64", "linux/amd64"]
        try HandmadeLayout(beside: one).tag("1", platforms: platforms)
        try HandmadeLayout(beside: two).tag("1", platforms: platforms.reversed())
        for folder in [one, two] {
          let locked = try await folder.kiln().run(["lock"])
          #expect(locked.status == 0, "\(locked)")
        }
        #expect(try one.read("catalog.lock") == two.read("catalog.lock"))
        let plan = ["plan", "--catalog-only", "--json"]
        let first = try await one.kiln(["HOME": "/nonexistent", "TZ": "Asia/Tokyo", "LANG": "tr_TR.UTF-8"]).run(plan)
        let second = try await two.kiln(["LC_ALL": "C.UTF-8", "USER": "somebody"]).run(plan)
        #expect(first.status == 0 && first.output.contains("water"), "\(first)")
        #expect(first.output == second.output)
        // From a folder below, where the catalog is found by itself, and from elsewhere, where it is named.
        var below = one.kiln()
        below.folder = one.root.appendingPathComponent("some/where")
        try FileManager.default.createDirectory(at: below.folder, withIntermediateDirectories: true)
        #expect(try await below.run(plan).output == first.output)
        #expect(try await two.kiln(["KILN_CATALOG": one.catalog.path]).run(plan).output == first.output)
        // A table for people has a line for each layer and cell, and a sum.
        let table = try await one.kiln().run(["plan", "--catalog-only"])
        #expect(table.output.contains("4 layers, 4 to build; 2 cells, 0 reused; 1 images"), "\(table.output)")
      }
    }
  }

  @Test("a base that is not locked is refused, and the fix is named")
  func unlocked() async throws {
    try await withCatalog { folder in
      let told = try await folder.kiln().run(["plan"])
      #expect(told.status == 3, "\(told)")
      #expect(told.errors.contains("'busybox'") && told.errors.contains("run 'kiln lock'"), "\(told.errors)")
    }
  }

  // MARK: lock

  @Test("lock pins a digest per platform, keeps it when the tag moves, and follows on --refresh")
  func lock() async throws {
    try await withCatalog { folder in
      let layout = HandmadeLayout(beside: folder)
      let kiln = folder.kiln()
      let platforms = ["linux/amd64", "linux/arm64"]
      func expectLocked(_ digests: [String: String]) throws {
        let text = try folder.read("catalog.lock")
        for (platform, digest) in digests { #expect(text.contains("      \(platform): \(digest)\n"), "\(text)") }
      }
      // s390x is not asked for by any product, so nobody pins it.
      let old = try layout.tag("old", platforms: platforms + ["linux/s390x"])
      let first = try await kiln.run(["lock"])
      #expect(first.status == 0 && first.output.contains("(new)"), "\(first)")
      try expectLocked(old.filter { $0.key != "linux/s390x" })
      #expect(try !folder.read("catalog.lock").contains("s390x"))

      let new = try layout.tag("new", platforms: platforms)
      #expect(new != old.filter { $0.key != "linux/s390x" })
      #expect(try await kiln.run(["lock"]).output == "catalog.lock: nothing to change\n")
      try expectLocked(old.filter { $0.key != "linux/s390x" })
      let moved = try await kiln.run(["lock", "--refresh"])
      #expect(moved.status == 0 && moved.output.contains("(was "), "\(moved)")
      try expectLocked(new)
    }
  }

  @Test("a base that cannot be locked is the catalog's fault: place, reason, what there is instead")
  func unlockable() async throws {
    try await withCatalog { folder in
      let none = try await folder.kiln().run(["lock"])
      #expect(none.status == 3, "\(none)")
      #expect(none.errors.contains("catalog.yml:3: field 'bases.busybox': "), "\(none.errors)")
      #expect(none.errors.contains("no OCI layout at \(folder.root.path)/base"), "\(none.errors)")
      try HandmadeLayout(beside: folder).tag("1", platforms: ["linux/amd64", "linux/s390x"])
      let some = try await folder.kiln().run(["lock"])
      #expect(some.status == 3, "\(some)")
      #expect(some.errors.contains("has no image for linux/arm64; it has linux/amd64, linux/s390x"), "\(some.errors)")
      #expect(!FileManager.default.fileExists(atPath: folder.catalog.appendingPathComponent("catalog.lock").path))
    }
  }

  // MARK: Wrong use

  struct Misuse: CustomTestStringConvertible {
    var arguments: [String]
    var environment: [String: String] = [:]
    var status: Int32
    var says: [String]
    var testDescription: String {
      "\(environment.map { "\($0)=\($1) " }.joined())kiln \(arguments.joined(separator: " "))"
    }
  }

  @Test(
    "what cannot be done is told with its reason and what to do, and no output",
    arguments: [
      Misuse(arguments: ["plan", "tee"], status: 3, says: ["there is no product 'tee'; did you mean 'tea'?"]),
      Misuse(arguments: ["build", "tee"], status: 3, says: ["did you mean 'tea'?"]),
      Misuse(arguments: ["plan", "--", "-x"], status: 3, says: ["there is no product '-x'"]),
      Misuse(arguments: ["plan", "-x"], status: 2, says: ["Unknown option '-x'", "Usage: kiln plan "]),
      Misuse(arguments: ["plan", "--platform=linux"], status: 2, says: ["'linux' is not a platform; write it like"]),
      Misuse(arguments: ["plan", "--platform=linux/s390x"], status: 3, says: ["has no target for linux/s390x"]),
      Misuse(arguments: ["brew"], status: 2, says: ["'brew'"]),
      Misuse(arguments: ["render", "tee"], status: 3, says: ["did you mean 'tea'?"]),
      Misuse(arguments: ["render", "tea", "--set", "water"], status: 2, says: ["'water' is not FRAGMENT=VERSION"]),
      Misuse(arguments: ["render", "tea", "--set", "water=2"], status: 3, says: ["no version '2'", "1.0.0"]),
      Misuse(arguments: ["records", "--product=-x"], status: 2, says: ["kiln: nothing was built here yet"]),
      Misuse(arguments: ["records", "--limit=0"], status: 2, says: ["--limit must be from 1 to 500"]),
      Misuse(arguments: ["status"], status: 2, says: ["nothing was built here yet", "KILN_COORDINATOR"]),
      Misuse(arguments: ["build", "--slots=0"], status: 2, says: ["--slots must be from 1 to 64"]),
      Misuse(arguments: ["submit"], status: 2, says: ["kiln: which coordinator?", "KILN_COORDINATOR"]),
      Misuse(
        arguments: ["status"], environment: ["KILN_COORDINATOR": "http://127.0.0.1:1"], status: 2,
        says: ["kiln: no token", "KILN_TOKEN_FILE"]),
      Misuse(
        arguments: ["status"], environment: ["KILN_COORDINATOR": "http://127.0.0.1:1", "KILN_TOKEN_FILE": "/absent"],
        status: 2, says: ["KILN_TOKEN_FILE: '/absent' cannot be read"]),
      Misuse(
        arguments: ["status"], environment: ["KILN_COORDINATOR": "here", "KILN_TOKEN": "secret"], status: 2,
        says: ["'here' is not an address like http://"]),
      Misuse(
        arguments: ["status"], environment: ["KILN_COORDINATOR": "http://127.0.0.1:1", "KILN_TOKEN": "secret"],
        status: 4, says: ["127.0.0.1", "is a coordinator running at http://127.0.0.1:1?"]),
      Misuse(
        arguments: ["logs", "job", "--coordinator=http://127.0.0.1:1"], environment: ["KILN_TOKEN": "secret"],
        status: 4, says: ["is a coordinator running at http://127.0.0.1:1?"]),
      Misuse(arguments: ["plan"], environment: ["KILN_CATALOG": "/absent"], status: 3, says: ["/absent: is not"]),
      Misuse(
        arguments: ["db", "migrate"], environment: ["KILN_STORE_URL": "http://secret"], status: 2,
        says: ["KILN_STORE_URL: ", "postgresql://"]),
      Misuse(arguments: ["db", "migrate"], status: 2, says: ["give --store or set KILN_STORE_URL"]),
      Misuse(
        arguments: ["db", "migrate"], environment: ["KILN_STORE_URL": "postgresql://a:secret@127.0.0.1:1/a"], status: 4,
        says: ["kiln: store: ", "127.0.0.1"]),
      Misuse(arguments: ["coordinator"], status: 2, says: ["kiln: no token", "KILN_TOKENS_FILE"]),
      Misuse(arguments: ["coordinator"], environment: ["KILN_TOKEN": "secret"], status: 2, says: ["at least 16 bytes"]),
      Misuse(arguments: ["executor"], status: 2, says: ["give --pool or set KILN_POOL"]),
      Misuse(arguments: ["executor", "--pool=/absent.yml"], status: 2, says: ["cannot read pool file /absent.yml"]),
    ])
  func misuse(_ one: Misuse) async throws {
    try await withCatalog { folder in
      let told = try await folder.kiln(one.environment).run(one.arguments)
      #expect(told.status == one.status && told.output.isEmpty, "\(told)")
      for text in one.says { #expect(told.errors.contains(text), "\(told.errors)") }
      #expect(!told.errors.contains("secret"), "\(told.errors)")
    }
  }

  @Test(
    "settings of a build that mean nothing are told before anything is built",
    arguments: [
      (["KILN_LOG_LEVEL": "loud"], Int32(2), "'loud' is not a log level"),
      (["KILN_FAILPOINT": "nowhere"], 2, "submit.before-contexts"),
      (["KILN_FAILPOINT": "attempt.after-claim:x"], 2, "is no failpoint"),
      (["KILN_FAILPOINT": "attempt.after-claim,attempt.after-claim:0"], 2, "is no failpoint"),
      (["DOCKER_HOST": "unix:///absent.sock"], 4, "is the engine running?"),
    ])
  func buildSettings(_ environment: [String: String], _ status: Int32, _ says: String) async throws {
    try await withCatalog { folder in
      try HandmadeLayout(beside: folder).tag("1", platforms: ["linux/amd64", "linux/arm64"])
      #expect(try await folder.kiln().run(["lock"]).status == 0)
      let told = try await folder.kiln(environment).run(["build"])
      #expect(told.status == status && told.output.isEmpty && told.errors.contains(says), "\(told)")
    }
  }

  @Test("a catalog's names cannot be taken for options")
  func optionLikeNames() async throws {
    try await withCatalog { folder in
      try folder.write(CatalogFolder.product("-x", fragments: ["water"]))
      let told = try await folder.kiln().run(["catalog", "check"])
      #expect(told.status == 3 && told.errors.contains("products/-x.yml"), "\(told)")
    }
  }
}
