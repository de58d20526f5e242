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

  package struct MissingService: Error, CustomStringConvertible {
    package let name: String
    package var description: String { "\(name) is not set: run the tests by 'make test'" }
  }
}
