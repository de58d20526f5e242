import ArgumentParser
import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// `kiln-bench`: how fast the parts of a farm are, on the real services of the tests. `make bench` runs
/// it in release; docs/bench.md says what each number means.
///
/// Times are taken in turn: each round measures every way once, so that a machine that is busy for a
/// while is busy for all of them. A first round only warms up. Medians are printed, and ratios of them.
@main
struct Bench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kiln-bench", abstract: "How fast the parts of a farm are, on real services.",
    subcommands: [
      QueueCommand.self, FarmCommand.self, LayerCommand.self, ChangeCommand.self, VariantsCommand.self,
      MemoryCommand.self,
    ])

  static func main() async {
    // A broker or a registry that goes away must not end us without a word.
    signal(SIGPIPE, SIG_IGN)
    await main(nil)
  }
}

struct RoundOptions: ParsableArguments {
  @Option(help: "Rounds that count.") var rounds = 5
  @Option(help: "A folder on a real disk for what is measured; emptied by who made it.") var folder: String

  func validate() throws {
    guard rounds > 0 else { throw ValidationError("--rounds must be at least 1") }
  }

  var url: URL { URL(fileURLWithPath: folder, isDirectory: true) }
}

/// What went wrong, for a person.
struct BenchError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

enum Address {
  /// An address of a real service, as `scripts/services env` prints it.
  static func require(_ name: String) throws -> String {
    guard let value = ProcessInfo.processInfo.environment[name], !value.isEmpty else {
      throw BenchError("\(name) is not set: run 'make bench'")
    }
    return value
  }
}
