import Foundation
import Model
import Testing

@testable import Catalog

/// Thousands of texts that nobody would write: each gives a parse or diagnostics with file and line,
/// and what is not touched by rendering stays as it is, byte for byte. A failure names its seed.
@Suite struct DockerfileFuzzTests {
  /// SplitMix64.
  struct Random: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var value = state
      value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
      value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
      return value ^ (value >> 31)
    }
  }

  static let pieces = [
    "RUN", "COPY", "ADD", "FROM", "ARG", "ENV", "run", "#", "# syntax=a", "# escape=`", "\n", "\n", "\n", "\\\n",
    "\\ \n",
    " ", "\t", "\u{b}", "\u{a0}", "\\", "\\\\", "'", "\"", "$", "${", "}", "${A", ":-", "%", "#", "/", "//", "<<EOF",
    "<<-\"EOF\"", "EOF", "\nEOF\n", "3<<", "<<<", "[", "]", "[\"", "\"]", ",", "[^", "a-b", "*", "**", "?", "!",
    "--from=",
    "--mount=", "--mount=type=bind,source=", "type=secret,id=x,required", "--chown=", "--", "=", "a.txt", "lib", "/x",
    "..", ".",
    "e\u{301}", "\u{301}", "\u{1F468}\u{200D}\u{1F469}", "\u{FEFF}", "\0", "\r\n", "\r", "A", "A=1", "AS", "app-x",
    "debian",
    "#--MODULE:app--#", "#--MODULE?:", "#--ENDMODULE--#", "--#", "#--MODULE", "FROM {base}", "https://e.example/x.git#",
    "{",
    String(repeating: "x", count: 3000), "\u{85}", "\u{2028}",
  ]
  static let good = [
    "ARG A=1\nCOPY --chown=1:1 ${A:-x} a.txt \\\n  # why\n\n  /x/\nRUN <<EOF\nset -e\nEOF\nENV B=\"c d\"\nCMD [\"a\", \"b\"]\n",
    "RUN --mount=type=bind,source=lib,target=/x --mount=type=tmpfs,target=/t \\\n  a && \\\n  b\nADD [\"a b\", \"/x\"]\n",
    "# a comment\nCOPY <<\"A\" <<-B /x/\n$x\nA\n\ty\n\tB\nHEALTHCHECK --interval=5s CMD true\nLABEL a=\"b\\\"c\" d=e\n",
  ]

  static func text(_ random: inout Random) -> String {
    var bytes: [UInt8]
    switch Int.random(in: 0..<4, using: &random) {
    case 0: bytes = (0..<Int.random(in: 0..<200, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
    case 1:
      bytes = (0..<Int.random(in: 0..<60, using: &random)).flatMap { _ in
        Array((pieces.randomElement(using: &random) ?? "").utf8)
      }
    default:
      bytes = Array((good.randomElement(using: &random) ?? "").utf8)
      for _ in 0..<Int.random(in: 1..<8, using: &random) where !bytes.isEmpty {
        let at = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<5, using: &random) {
        case 0: bytes.remove(at: at)
        case 1: bytes[at] = UInt8.random(in: 0...255, using: &random)
        case 2: bytes.insert(contentsOf: Array((pieces.randomElement(using: &random) ?? "").utf8), at: at)
        case 3: bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 1..<20, using: &random)))
        default: bytes.insert(contentsOf: bytes[at..<min(bytes.count, at + 30)], at: at)
        }
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  @Test(arguments: 0..<8) func anyTextIsParsedOrRefusedWithItsLine(_ start: UInt64) {
    for seed in (start * 1000)..<((start + 1) * 1000) {
      var random = Random(state: seed)
      let text = Self.text(&random)
      let found = Diagnostics()
      let parsed = DockerfileParser.parse(text, file: "f", into: found)
      let raw = parsed.items.map { item in
        switch item {
        case .other(let raw): raw
        case .instruction(let instruction): instruction.raw
        }
      }.joined()
      let whole = text.isEmpty || text.utf8.last == 10 ? text : text + "\n"
      #expect(Array(raw.utf8) == Array(whole.utf8), "seed \(seed)")
      let count = DockerfileParser.lines(of: text).count
      #expect(found.found.allSatisfy { $0.line.map { (1...max(1, count)).contains($0) } ?? false }, "seed \(seed)")
      #expect(parsed.instructions.allSatisfy { (1...max(1, count)).contains($0.line) }, "seed \(seed)")
    }
  }

  /// As a fragment, its stages, its .dockerignore, or a template: a catalog that loads renders, and what
  /// does not is said with the file, and with a line where it is about a text that can be read.
  @Test(arguments: 0..<4) func anyTextInACatalogIsRenderedOrRefused(_ start: UInt64) throws {
    let app = "fragments/app/1.0.0/"
    let places = [
      app + "Dockerfile.fragment", app + "Dockerfile.stages", app + ".dockerignore", "templates/base/1/Dockerfile.tpl",
    ]
    let template = Fixture.files[places[3]] ?? ""
    let platform = try #require(Platform("linux/amd64"))
    var rendered = 0
    for seed in (start * 500)..<((start + 1) * 500) {
      var random = Random(state: seed)
      let place = places[Int(seed % 4)]
      var text = Self.text(&random)
      if place == places[3] {
        var lines = template.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        lines.insert(text, at: Int.random(in: 0...lines.count, using: &random))
        text = lines.joined(separator: "\n")
      }
      do {
        let catalog = try Fixture.catalog([place: text, app + "a.txt": "a", app + "lib/b": "b"])
        let lock = try LockTests.lock()
        let image = try catalog.render(catalog.compose(manifest: "hello"), platform: platform, lock: lock)
        #expect(image.text == image.prologue + image.sections.map(\.text).joined(), "seed \(seed)")
        rendered += 1
      } catch let errors as CatalogErrors {
        for error in errors.diagnostics {
          let isWhole = error.message.contains("UTF-8") || error.file.hasPrefix("manifests/")
          #expect(!error.file.isEmpty && (error.line != nil || isWhole), "seed \(seed): \(error)")
        }
      }
    }
    #expect(rendered > 20)
  }

  @Test func everyMarkerLineIsReadOrRefused() {
    for seed in UInt64(0)..<5000 {
      var random = Random(state: seed)
      let line = "#--" + Self.text(&random).replacing("\n", with: "") + (Bool.random(using: &random) ? "--#" : "")
      if case .start(let name, _) = MarkerLine(line) { #expect(line.contains(":\(name)--#"), "seed \(seed)") }
    }
  }

  /// In proportion to its length, whatever it is made of.
  @Test func hugeLinesEnd() {
    let count = 200_000
    for text in [
      String(repeating: "a", count: count), "RUN " + String(repeating: "a \\\n", count: count / 4),
      "COPY " + String(repeating: "*", count: count) + " /x", "RUN " + String(repeating: "\\", count: count),
      "COPY " + String(repeating: "<<A ", count: count / 40) + "\n", "RUN --" + String(repeating: "\"", count: count),
      "COPY " + String(repeating: "${A:-", count: 5000) + " /x",
    ] {
      let found = Diagnostics()
      let parsed = DockerfileParser.parse(text, file: "f", into: found)
      #expect(parsed.instructions.count == 1)
      _ = parsed.scoped { _ in "x" }.map { try? $0.instruction.contextPaths($0.scope) }
    }
  }
}
