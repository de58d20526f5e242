import Foundation
import TestSupport
import Testing

/// What the program says about itself, and whether the documents say the same.
@Suite("Help", .timeLimit(.minutes(1)))
struct HelpTests {
  private struct Dump: Decodable { var command: Command }
  private struct Command: Decodable {
    var commandName: String
    var abstract: String?
    var subcommands: [Command]?
    var arguments: [Argument]?
  }
  private struct Argument: Decodable {
    struct Name: Decodable {
      var kind: String
      var name: String
    }
    var kind: String
    var names: [Name]?
    var valueName: String?
    var abstract: String?
    /// As it is typed; nil for a positional one.
    var option: String? {
      (names ?? []).first { $0.kind == "long" }.map { "--\($0.name)" }
    }
  }

  private static func document(_ path: String) throws -> String {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    return try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
  }

  @Test("every command and option is explained, in its help and in the documents")
  func explained() async throws {
    let folder = try CatalogFolder()
    defer { folder.remove() }
    let dump: Dump = try await folder.kiln().json(["--experimental-dump-help"])
    let settings = try Self.document("docs/settings.md")
    let readme = try Self.document("README.md")
    var seen = 0
    func visit(_ command: Command, _ path: [String]) async throws {
      guard command.commandName != "help" else { return }
      #expect(command.abstract?.isEmpty == false, "kiln \(path): what it does")
      let own = (command.arguments ?? []).filter { !["--help", "--version"].contains($0.option ?? "") }
      for argument in own {
        #expect(argument.abstract?.isEmpty == false, "kiln \(path): \(argument)")
        guard let option = argument.option else { continue }
        #expect(settings.contains("`\(option) ") || settings.contains("`\(option)`"), "\(option) in settings.md")
      }
      let subcommands = (command.subcommands ?? []).filter { $0.commandName != "help" }
      if subcommands.isEmpty {
        seen += 1
        #expect(readme.contains("`kiln \(path.joined(separator: " "))"), "kiln \(path) in README.md")
        let help = try await folder.kiln().run(path + ["--help"])
        #expect(help.status == 0 && help.errors.isEmpty)
        for option in own.compactMap(\.option) { #expect(help.output.contains(option), "\(option): \(help.output)") }
      }
      for subcommand in subcommands { try await visit(subcommand, path + [subcommand.commandName]) }
    }
    try await visit(dump.command, [])
    #expect(seen == 23)
  }

  @Test("the exit codes are the same in the help as in the README")
  func exitCodes() async throws {
    let folder = try CatalogFolder()
    defer { folder.remove() }
    let help = try await folder.kiln().run(["--help"])
    #expect(help.status == 0)
    let words = help.output.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    let rows = try Self.document("README.md").matches(of: /\n\| (\d+) \| ([^|]+) \|/)
    #expect(rows.count == 6)
    for row in rows { #expect(words.contains("\(row.1) \(row.2)"), "\(row.0)") }
  }
}
