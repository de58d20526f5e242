/// A string with a meaning of its own, so that a build is never mistaken for a job.
///
/// Identifiers are opaque outside the place that makes them; those that people write (pool,
/// executor, scope, principal names) follow `Name`'s rules.
package protocol Identifier: Hashable, Sendable, Comparable, Codable, CustomStringConvertible {
  var text: String { get }
  init(text: String)
}

extension Identifier {
  package var description: String { text }
  package static func < (left: Self, right: Self) -> Bool { left.text < right.text }

  package init(from decoder: any Decoder) throws {
    self.init(text: try decoder.singleValueContainer().decode(String.self))
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(text)
  }
}

/// One request by one principal.
package struct BuildID: Identifier {
  package let text: String
  package init(text: String) { self.text = text }
}

/// A unit of work that goes through a queue.
package struct JobID: Identifier {
  package let text: String
  package init(text: String) { self.text = text }
}

/// The SHA-256, in hex, of everything that can influence a layer.
package struct LayerKey: Identifier {
  package let text: String
  package init(text: String) { self.text = text }
  package var short: String { String(text.prefix(12)) }
}

/// The SHA-256, in hex, of what a cell's record depends on: its layers, its tests, its target.
package struct CellKey: Identifier {
  package let text: String
  package init(text: String) { self.text = text }
  package var short: String { String(text.prefix(12)) }
}

package struct PoolName: Identifier {
  package let text: String
  package init(text: String) { self.text = text }
}

package struct ExecutorName: Identifier {
  package let text: String
  package init(text: String) { self.text = text }
}

/// How far results are trusted; the layer key is unique within a scope.
package struct Scope: Identifier {
  package let text: String
  package init(text: String) { self.text = text }
  package static let release = Scope(text: "release")
}

/// Who asked for a build.
package struct Principal: Identifier {
  package let text: String
  package init(text: String) { self.text = text }
}
