import Foundation
package import Model

/// A clock that stands still until a test moves it.
// Unchecked: all state is under `lock`.
package final class ManualTime: TimeSource, @unchecked Sendable {
  private let lock = NSLock()
  private var milliseconds: Int64

  package init(milliseconds: Int64 = 1_700_000_000_000) { self.milliseconds = milliseconds }

  package func now() -> Timestamp { lock.withLock { Timestamp(milliseconds: milliseconds) } }
  package func monotonicSeconds() -> Double { Double(now().milliseconds) / 1000 }
  /// Returns at once, with the clock moved on.
  package func sleep(seconds: Double) async throws {
    try Task.checkCancellation()
    advance(seconds: seconds)
  }
  package func advance(seconds: Double) { lock.withLock { milliseconds += Int64(seconds * 1000) } }
}

/// SplitMix64: the same seed, the same bits.
// Unchecked: all state is under `lock`.
package final class SeededRandom: RandomSource, @unchecked Sendable {
  private let lock = NSLock()
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package func next() -> UInt64 {
    lock.withLock {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
  }
}
