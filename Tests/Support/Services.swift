import Foundation

/// Addresses of the real services that tests run on, as `make test` exports them.
package enum Services {
  /// The value of `name`, or a message that says how to get it.
  package static func require(_ name: String) throws -> String {
    guard let value = ProcessInfo.processInfo.environment[name], !value.isEmpty else {
      throw MissingService(name: name)
    }
    return value
  }

  /// Where to cut a connection, in bytes: in the middle and at the end of every step, as often as `make soak`
  /// asks for; or else at some of them.
  package static func cuts(_ steps: [Int]) -> [Int] {
    let all = zip([0] + steps, steps).flatMap { before, after in [(before + after) / 2, after] }
    guard let rounds = ProcessInfo.processInfo.environment["KILN_TEST_CUT_ROUNDS"].flatMap(Int.init) else {
      return stride(from: 0, to: all.count, by: max(1, all.count / 20)).map { all[$0] }
    }
    print("\(rounds) times \(all.count) cuts at \(steps.count) steps")
    return (0..<rounds).flatMap { _ in all }
  }

  package struct MissingService: Error, CustomStringConvertible {
    package let name: String
    package var description: String { "\(name) is not set: run the tests by 'make test'" }
  }
}
