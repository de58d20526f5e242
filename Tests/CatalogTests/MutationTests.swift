import Catalog
import Foundation
import Model
import Testing

/// Numbers that a seed repeats (SplitMix64).
struct SeededNumbers: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }
}

/// A good catalog, damaged at random: never a crash, always a place.
@Suite struct MutationTests {
  private static let kinds = 10

  private static func mutate(_ text: String, _ kind: Int, _ random: inout SeededNumbers) -> Data {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    let at = Int.random(in: 0..<lines.count, using: &random)
    let other = Int.random(in: 0..<lines.count, using: &random)
    func value(_ new: String) {
      if let colon = lines[at].firstIndex(of: ":") {
        lines[at] = String(lines[at][...colon]) + " " + new
      } else {
        lines[at] = new
      }
    }
    switch kind {
    case 0: lines.remove(at: at)
    case 1: lines.insert(lines[at], at: other)
    case 2: lines.swapAt(at, other)
    case 3:
      var bytes = Array(text.utf8)
      let place = Int.random(in: 0..<bytes.count, using: &random)
      bytes[place] = UInt8.random(in: 0...127, using: &random)
      return Data(bytes)
    case 4:
      value(
        ["[1]", "{a: b}", "", "true", "-1", "1e999", "\"\"", "!!binary x", "&a [*a]"].randomElement(using: &random)
          ?? "")
    case 5:
      let depth = Int.random(in: 1...5000, using: &random)
      value(String(repeating: "[", count: depth) + String(repeating: "]", count: depth))
    case 6: value(String(repeating: "n", count: Int.random(in: 64...70_000, using: &random)))
    case 7:
      value(
        ["ｃｏｒｅ", "cafe\u{301}", "\u{202E}erоc", "\u{FEFF}", "👩‍👩‍👧‍👦", "\u{0}", "\u{85}"].randomElement(using: &random) ?? "")
    case 8: return Data(text.utf8.prefix(Int.random(in: 0..<text.utf8.count, using: &random)))
    default: return Data((0..<200).map { _ in UInt8.random(in: 0...255, using: &random) })
    }
    return Data(lines.joined(separator: "\n").utf8)
  }

  private static func errors(_ file: String, _ bytes: Data) throws -> [Diagnostic] {
    let entries = Fixture.files.filter { $0.key != file }.map {
      CatalogTree.Entry(path: $0.key, content: .file(Data($0.value.utf8), executable: false))
    }
    do {
      _ = try Catalog.load(
        CatalogTree(entries + [CatalogTree.Entry(path: file, content: .file(bytes, executable: false))]))
      return []
    } catch {
      return error.diagnostics
    }
  }

  @Test func damageIsReportedWithItsPlace() throws {
    let files = Fixture.files.keys.filter { !$0.hasSuffix("main.sh") }.sorted()
    var refused = 0
    for seed in 0..<400 {
      var random = SeededNumbers(state: UInt64(seed))
      let file = files[seed % files.count]
      let text = Fixture.files[file] ?? ""
      let bytes = Self.mutate(text, seed / files.count % Self.kinds, &random)
      let errors = try Self.errors(file, bytes)
      if !errors.isEmpty { refused += 1 }
      let lines = bytes.count { $0 == 10 } + 1
      for error in errors {
        #expect(!error.file.isEmpty && !error.message.isEmpty, "seed \(seed): \(error)")
        if let line = error.line, error.file == file {
          #expect((1...lines + 1).contains(line), "seed \(seed): \(error)")
        }
        // A field is said with its line.
        #expect(error.field == nil || error.line != nil, "seed \(seed): \(error)")
        #expect(error.description.utf8.count < 100_000, "seed \(seed)")
      }
    }
    #expect(refused > 200, "\(refused)")
  }

  /// Where a known name stands, and what it is.
  static let names: [(file: String, before: String, name: String, after: String)] = [
    ("products/hello.yml", "", "image", ":"), ("products/hello.yml", "", "version", ": 1"),
    ("products/hello.yml", "", "manifest", ":"), ("products/hello.yml", "", "tags", ":"),
    ("products/hello.yml", "", "targets", ":"), ("products/hello.yml", "- ", "platform", ":"),
    ("products/hello.yml", "manifest: ", "hello", "\n"), ("products/hello.yml", "platform: ", "linux/amd64", "\n"),
    ("products/hello.yml", "{", "version", "}"), ("manifests/hello.yml", "", "template", ":"),
    ("manifests/hello.yml", "", "base", ":"), ("manifests/hello.yml", "", "fragments", ":"),
    ("manifests/hello.yml", "template: ", "base", "@"), ("manifests/hello.yml", "base: ", "debian", "\n"),
    ("manifests/hello.yml", "  ", "core", ":"), ("manifests/hello.yml", "  ", "app", ":"),
    ("manifests/hello.yml", "core: ", "0.2.0", "\n"), ("fragments/core/0.2.0/fragment.yml", "", "description", ":"),
    ("fragments/core/0.2.0/fragment.yml", "", "version", ":"), ("catalog.yml", "", "bases", ":"),
    ("catalog.yml", "    ", "source", ":"),
  ]

  private static func typo(_ name: String, _ random: inout SeededNumbers) -> String {
    var letters = Array(name)
    let at = Int.random(in: 0..<letters.count - 1, using: &random)
    switch Int.random(in: 0..<4, using: &random) {
    case 0: letters.swapAt(at, at + 1)
    case 1: letters.remove(at: at)
    case 2: letters.insert("x", at: at)
    default: letters[at] = "x"
    }
    return String(letters)
  }

  @Test func aTypoOfAKnownNameSuggestsIt() throws {
    for seed in 0..<200 {
      var random = SeededNumbers(state: UInt64(1000 + seed))
      let place = Self.names[seed % Self.names.count]
      let typo = Self.typo(place.name, &random)
      let whole = place.before + place.name + place.after
      let text = Fixture.files[place.file] ?? ""
      let range = try #require(text.range(of: whole))
      // Not a platform by accident, nor what could be no name or version at all.
      guard typo != place.name, !typo.hasPrefix("."), Platform(typo) == nil || place.name != "linux/amd64" else {
        continue
      }
      let changed = text.replacingCharacters(in: range, with: place.before + typo + place.after)
      let errors = try Self.errors(place.file, Data(changed.utf8))
      #expect(
        errors.contains { $0.suggestion == .didYouMean(place.name) && $0.line != nil && $0.file == place.file },
        "seed \(seed), '\(typo)': \(errors.map(\.description))")
    }
  }
}

@Suite struct MatrixTests {
  static func version(_ name: String, _ version: String, _ more: String = "") -> [String: String?] {
    [
      "fragments/\(name)/\(version)/fragment.yml": "name: \(name)\nversion: \(version)\ndescription: x\n\(more)",
      "fragments/\(name)/\(version)/Dockerfile.fragment": "RUN true\n",
    ]
  }

  static func product(_ matrix: String) -> [String: String?] {
    let text = (Fixture.files["products/hello.yml"] ?? "").replacing("{version}", with: "{variant}")
    return ["products/hello.yml": text + "matrix:\n" + matrix]
  }

  private func variants(_ matrix: String) throws -> [String] {
    var changes = Self.product(matrix)
    for version in ["0.3.0", "0.4.0"] { changes.merge(Self.version("core", version)) { $1 } }
    changes.merge(Self.version("app", "2.0.0")) { $1 }
    let catalog = try Fixture.catalog(changes)
    let product = try #require(catalog.products["hello"])
    return catalog.variants(of: product, manifest: "hello").map(\.label)
  }

  @Test func axesThenExcludedThenIncluded() throws {
    let axes = "  core: [0.2.0, 0.3.0]\n  app: [1.0.0, 2.0.0]\n"
    let all = ["app=1.0.0,core=0.2.0", "app=1.0.0,core=0.3.0", "app=2.0.0,core=0.2.0", "app=2.0.0,core=0.3.0"]
    #expect(try variants(axes) == all)
    #expect(try variants(axes + "  exclude: [{core: 0.2.0}]\n") == [all[1], all[3]])
    #expect(try variants(axes + "  exclude: [{core: 0.2.0, app: 2.0.0}]\n") == [all[0], all[1], all[3]])
    // Included is what an exclusion has taken out, and what is on no axis; what is left open is the manifest's.
    #expect(
      try variants(axes + "  exclude: [{core: 0.3.0}]\n  include: [{core: 0.3.0, app: 1.0.0}, {core: 0.4.0}]\n")
        == [all[0], all[1], "app=1.0.0,core=0.4.0", all[2]])
    #expect(try variants("  include: [{core: 0.4.0}]\n") == ["core=0.4.0"])
    // The same twice is one.
    #expect(try variants(axes + "  include: [{core: 0.2.0, app: 1.0.0}]\n") == all)
  }

  @Test(arguments: [
    ("  exclude: [{core: 0.9.0}]\n", 11), ("  exclude: [{cor: 0.2.0}]\n", 11),
    ("  exclude: [{core: 0.2.0, app: 2.0.0}]\n", 11),
  ])
  func anExclusionOfNothingIsAnError(_ exclude: String, _ line: Int) throws {
    let errors = try Fixture.errors(Self.product("  core: [0.2.0]\n" + exclude))
    #expect(
      errors == [
        "products/hello.yml:\(line - 1): field 'matrix.exclude[0]': excludes nothing: no variant has all of these"
      ])
  }

  @Test func everythingExcludedIsAnError() throws {
    #expect(
      try Fixture.errors(Self.product("  core: [0.2.0]\n  exclude: [{core: 0.2.0}]\n"))
        == ["products/hello.yml:9: field 'matrix': every variant is excluded"])
  }

  /// 10^40 variants: refused by counting, for nobody could expand them.
  @Test(.timeLimit(.minutes(1))) func aHugeMatrixIsRefusedAtOnce() throws {
    let versions = (0..<100).map { "v\($0)" }.joined(separator: ", ")
    let axes = (0..<20).map { "  f\($0): [\(versions)]\n" }.joined()
    let errors = try Fixture.errors(Self.product(axes))
    #expect(
      errors == [
        "products/hello.yml:9: field 'matrix': the matrix has too many to count variants; at most 1000 are allowed; exclude some, or raise 'maxVariants' in catalog.yml"
      ])
  }

  /// The most that may be asked for, with as many exclusions: nothing is compared with everything.
  @Test(.timeLimit(.minutes(1))) func manyExclusionsAreCheckedQuickly() throws {
    var changes = Self.product("")
    var lines = "  core: [\((0..<300).map { "v\($0)" }.joined(separator: ", "))]\n  app: [1.0.0, 2.0.0]\n  exclude:\n"
    for index in 0..<299 { lines += "    - {core: v\(index)}\n" }
    changes = Self.product(lines)
    changes.merge(Self.version("app", "2.0.0")) { $1 }
    for index in 0..<300 { changes.merge(Self.version("core", "v\(index)")) { $1 } }
    let catalog = try Fixture.catalog(changes)
    let product = try #require(catalog.products["hello"])
    #expect(
      catalog.variants(of: product, manifest: "hello").map(\.label) == ["app=1.0.0,core=v299", "app=2.0.0,core=v299"])
  }

  @Test func whatCannotBeIsKnownBeforeItIsQueued() throws {
    var changes = Self.product("  core: [0.2.0, 0.3.0]\n")
    changes.merge(Self.version("core", "0.3.0")) { $1 }
    changes["fragments/app/1.0.0/fragment.yml"] = "name: app\nversion: 1.0.0\ndescription: x\nrequires: {core: 0.2.0}\n"
    let catalog = try Fixture.catalog(changes)
    #expect(try catalog.compose(manifest: "hello", choice: ["core": "0.2.0"]).impossibility == nil)
    #expect(
      try catalog.compose(manifest: "hello", choice: ["core": "0.3.0"]).impossibility
        == "app@1.0.0 requires core@0.2.0, but it has core@0.3.0")
    changes["fragments/app/1.0.0/fragment.yml"] =
      "name: app\nversion: 1.0.0\ndescription: x\nconflicts: {core: 0.3.0}\n"
    #expect(
      try Fixture.catalog(changes).compose(manifest: "hello", choice: ["core": "0.3.0"]).impossibility
        == "app@1.0.0 conflicts with core@0.3.0")
  }
}
