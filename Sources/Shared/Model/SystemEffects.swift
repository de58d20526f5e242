import Foundation

/// The machine's own clock and randomness.
package struct SystemTime: TimeSource {
  private let start = ContinuousClock.now

  package init() {}

  package func now() -> Timestamp {
    Timestamp(milliseconds: Int64((Date().timeIntervalSince1970 * 1000).rounded(.down)))
  }

  package func monotonicSeconds() -> Double {
    let passed = start.duration(to: .now).components
    return Double(passed.seconds) + Double(passed.attoseconds) * 1e-18
  }

  package func sleep(seconds: Double) async throws {
    try await Task.sleep(for: .seconds(max(0, seconds)), clock: .continuous)
  }
}

package struct SystemRandom: RandomSource {
  package init() {}

  package func next() -> UInt64 {
    var generator = SystemRandomNumberGenerator()
    return generator.next()
  }
}

extension Effects {
  /// The machine's own.
  package static func system(failpoints: any Failpoints = NoFailpoints()) -> Effects {
    Effects(time: SystemTime(), random: SystemRandom(), failpoints: failpoints)
  }
}
