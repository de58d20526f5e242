/// Milliseconds since 1970-01-01 UTC, as every table and message keeps time.
package struct Timestamp: Hashable, Sendable, Comparable, Codable {
  package var milliseconds: Int64

  package init(milliseconds: Int64) { self.milliseconds = milliseconds }

  package static func < (left: Timestamp, right: Timestamp) -> Bool { left.milliseconds < right.milliseconds }

  package func advanced(bySeconds seconds: Double) -> Timestamp {
    Timestamp(milliseconds: milliseconds + Int64(seconds * 1000))
  }

  package init(from decoder: any Decoder) throws {
    milliseconds = try decoder.singleValueContainer().decode(Int64.self)
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(milliseconds)
  }
}

/// Time as a component sees it. A simulator replaces it by a virtual one.
package protocol TimeSource: Sendable {
  /// Wall time: for people and for records. Never for leases: the store's clock decides those.
  func now() -> Timestamp
  /// Seconds on a clock that never steps, from an arbitrary start.
  func monotonicSeconds() -> Double
  /// Suspends; throws `CancellationError` at once when the task is cancelled.
  func sleep(seconds: Double) async throws
}

/// Random bits, injected so that a seed replays a run.
package protocol RandomSource: Sendable {
  func next() -> UInt64
}

extension RandomSource {
  /// Uniform in 0..<1.
  package func fraction() -> Double { Double(next() >> 11) * 0x1p-53 }
}

/// A place between two effects where a test stops, delays or kills the process.
///
/// The names are listed in `Failpoint`; production runs `NoFailpoints`.
package protocol Failpoints: Sendable {
  func reach(_ point: Failpoint) async throws
}

package struct NoFailpoints: Failpoints {
  package init() {}
  package func reach(_ point: Failpoint) async throws {}
}

/// Everything from outside that a decision may depend on.
package struct Effects: Sendable {
  package var time: any TimeSource
  package var random: any RandomSource
  package var failpoints: any Failpoints

  package init(time: any TimeSource, random: any RandomSource, failpoints: any Failpoints = NoFailpoints()) {
    self.time = time
    self.random = random
    self.failpoints = failpoints
  }

  /// A new identifier: 48 bits of wall time, then 80 random bits, in Crockford's base 32 (the ULID
  /// layout), so that identifiers sort by age.
  package func identifier() -> String {
    let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz".utf8)
    var text: [UInt8] = []
    let milliseconds = UInt64(bitPattern: time.now().milliseconds)
    for index in 0..<10 { text.append(alphabet[Int(milliseconds >> UInt64(45 - 5 * index) & 31)]) }
    let high = random.next()
    let low = random.next()
    for index in 0..<8 { text.append(alphabet[Int(high >> UInt64(5 * index) & 31)]) }
    for index in 0..<8 { text.append(alphabet[Int(low >> UInt64(5 * index) & 31)]) }
    return String(decoding: text, as: UTF8.self)
  }
}
