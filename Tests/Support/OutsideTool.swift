import Subprocess

/// A program that judges our work in tests: found on PATH, run with an argument array.
package struct OutsideTool: Sendable {
  package let name: String
  package let environment: [String: String]

  package init(_ name: String, environment: [String: String] = [:]) {
    self.name = name
    self.environment = environment
  }

  package struct Failed: Error, CustomStringConvertible {
    package let description: String
  }

  /// Its standard output; throws with what it says went wrong unless it succeeds.
  package func output(_ arguments: [String]) async throws -> String {
    let changes = Dictionary(
      uniqueKeysWithValues: environment.map { (Environment.Key(stringLiteral: $0), Optional($1)) })
    let result = try await Subprocess.run(
      .name(name), arguments: Arguments(arguments), environment: .inherit.updating(changes),
      output: .string(limit: 8 << 20), error: .string(limit: 1 << 20))
    guard result.terminationStatus.isSuccess else {
      throw Failed(description: "\(name) \(arguments.joined(separator: " ")): \(result.standardError)")
    }
    return result.standardOutput
  }

  package func run(_ arguments: [String]) async throws { _ = try await output(arguments) }
}
