/// What the rounds of one way came to.
struct Samples: Sendable {
  var values: [Double] = []

  /// `fraction` of the values are at most this one; 0 where there are none.
  func percentile(_ fraction: Double) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return 0 }
    return sorted[min(sorted.count - 1, Int(Double(sorted.count) * fraction))]
  }

  var median: Double {
    let sorted = values.sorted()
    guard sorted.count.isMultiple(of: 2), !sorted.isEmpty else { return percentile(0.5) }
    return (sorted[sorted.count / 2 - 1] + sorted[sorted.count / 2]) / 2
  }

  var least: Double { values.min() ?? 0 }
  var most: Double { values.max() ?? 0 }
}

/// One way of doing what others do in another way; it returns its number: a rate, or a time.
struct Way: Sendable {
  let name: String
  let measure: @Sendable () async throws -> Double
}

/// A B A B …, after one round that only warms up. The samples are in the ways' order.
func interleaved(rounds: Int, _ ways: [Way]) async throws -> [Samples] {
  var samples = ways.map { _ in Samples() }
  for round in 0...rounds {
    for (index, way) in ways.enumerated() {
      let value = try await way.measure()
      if round > 0 { samples[index].values.append(value) }
    }
  }
  return samples
}

func seconds(_ body: () async throws -> Void) async rethrows -> Double {
  let clock = ContinuousClock()
  let began = clock.now
  try await body()
  return (clock.now - began) / .seconds(1)
}
