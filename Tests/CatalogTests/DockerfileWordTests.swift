import Testing

@testable import Catalog

/// Words, patterns and ignore rules by themselves. What BuildKit makes of the same is asked of it in
/// `RealContextMeansFolder`.
@Suite struct DockerfileWordTests {
  static let values = ["D": "lib", "E": "", "V": "1.2.3", "P": "a/b/a.tar.gz", "S": "a b"]

  static let words: [(String, String?)] = [
    ("a.txt", "a.txt"), ("$D/x", "lib/x"), ("${D}x", "libx"), ("\"$D\"/x", "lib/x"), ("'$D'/x", "$D/x"),
    ("\\$D", "$D"), ("a\\ b", "a b"), ("\"a\\x\"", "a\\x"), ("\"a\\\"\"", "a\""), ("\"\\$D\"", "$D"), ("a\\", "a"),
    ("${E:-x}", "x"), ("${E-x}", ""), ("${N:-x}", "x"), ("${N-x}", "x"), ("${D:+x}", "x"), ("${E:+x}", ""),
    ("${E+x}", "x"), ("${N+x}", ""), ("${N:-$D}", "lib"), ("${N:-${E:-y}}", "y"), ("${N:-\"}\"}", "}"),
    ("${D?no}", "lib"), ("${E:?no}", nil), ("${N?no}", nil), ("$1x", "x"), ("a$", "a$"), ("$", "$"), ("$S/x", "a b/x"),
    ("${V%.*}", "1.2"), ("${V%%.*}", "1"), ("${V#*.}", "2.3"), ("${V##*.}", "3"), ("${V%x}", "1.2.3"),
    ("${P/a/x}", "x/b/a.tar.gz"), ("${P//a/x}", "x/b/x.txr.gz"), ("${P/\\/*/}", "a"), ("${V/?/x}", "x.2.3"),
    ("${D", nil), ("${}", nil), ("${D:}", nil), ("${D^}", nil), ("\"a", nil), ("'a", nil), ("${D:-a", nil),
    ("e\u{301}\"x\"", "e\u{301}x"),
  ]

  @Test(arguments: words) func isExpanded(_ word: String, _ expected: String?) {
    let got = try? ShellWord.expanded(word) { name throws(ContextSources.Problem) in Self.values[name] }
    #expect(got == expected)
  }

  static let patterns: [(String, String, Bool?)] = [
    ("*.txt", "a.txt", true), ("*.txt", "a.txt.x", false), ("?.txt", "a.txt", true), ("?", "", false),
    ("[a-c]x", "bx", true), ("[^a-c]x", "bx", false), ("[^a-c]x", "dx", true), ("[!a]x", "bx", false),
    ("[!a]x", "!x", true), ("\\*", "*", true), ("\\*", "a", false), ("[\\]]", "]", true), ("a*b*c", "aXbYbc", true),
    ("*", ".hidden", true), ("[a-", "a", nil), ("[]", "a", nil), ("[]a]", "a", nil), ("[", "a", nil), ("a\\", "a", nil),
    ("[z-a]", "b", nil), ("[-a]", "a", nil), ("?", "é", true), (String(repeating: "*a", count: 200), "b", false),
  ]

  @Test(arguments: patterns) func matches(_ pattern: String, _ name: String, _ expected: Bool?) {
    #expect(PathPattern(part: pattern)?.matches(name) == expected)
  }

  /// Rules, and what of these files stays.
  static let files = ["a.md", "a.txt", "lib/b.md", "lib/c.txt", "lib/deep/d.md", "x.md/y.txt", "lib.x"]
  static let ignored: [(String, [String])] = [
    ("", files), ("# a.md\n\n", files), ("*.md", ["a.txt", "lib/b.md", "lib/c.txt", "lib/deep/d.md", "lib.x"]),
    ("**/*.md", ["a.txt", "lib/c.txt", "lib.x"]), ("**.md", ["a.txt", "lib/c.txt", "lib.x"]),
    ("lib", ["a.md", "a.txt", "x.md/y.txt", "lib.x"]), ("/lib/", ["a.md", "a.txt", "x.md/y.txt", "lib.x"]),
    ("lib/**", ["a.md", "a.txt", "x.md/y.txt", "lib.x"]), ("*\n!lib/b.md", ["lib/b.md"]),
    ("*\n!lib", ["lib/b.md", "lib/c.txt", "lib/deep/d.md"]), ("**\n!**/d.md", ["lib/deep/d.md"]),
    ("lib\n!lib/deep\nlib/deep/d.md", ["a.md", "a.txt", "x.md/y.txt", "lib.x"]),
    ("l?b/[a-b]*", ["a.md", "a.txt", "lib/c.txt", "lib/deep/d.md", "x.md/y.txt", "lib.x"]),
    ("../lib\n.\n/\nlib/..", files), ("lib/../a.md", Array(files.dropFirst())),
    ("  ./a.md  ", Array(files.dropFirst())),
    ("l\\ib", ["a.md", "a.txt", "lib/b.md", "lib/c.txt", "lib/deep/d.md", "x.md/y.txt", "lib.x"]),
    ("lib/**/d.md", files.filter { $0 != "lib/deep/d.md" }), ("!a.md", files),
    // A rule that is not asked about a folder is not asked again for what is in it.
    ("lib\n!lib/deep/d.md\nlib/deep", ["a.md", "a.txt", "lib/deep/d.md", "x.md/y.txt", "lib.x"]),
  ]

  @Test(arguments: ignored) func areKept(_ text: String, _ expected: [String]) {
    let rules = IgnoreRules(text)
    #expect(Self.files.filter { !rules.ignores($0) } == expected)
    // From further up they say the same.
    let above = IgnoreRules(rules.rebased(to: "f/1"))
    #expect(Self.files.filter { !above.ignores("f/1/\($0)") } == expected)
  }

  @Test func malformedRulesAreTold() {
    var told: [String] = []
    _ = IgnoreRules("a\n[\n!\nb\\d\n[[:alpha:]]\n") { line, _ in told.append("\(line)") }
    #expect(told == ["2", "3", "4", "5"])
  }
}
