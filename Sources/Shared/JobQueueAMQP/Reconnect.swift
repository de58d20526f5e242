/// When to try the broker again: after a loss at a random moment of a span that doubles with each
/// failure, up to `maxDelaySeconds` ("full jitter"), so that a broker that comes back is not met by
/// all its clients at once.
struct Reconnect {
  static let firstDelaySeconds = 0.25
  static let maxDelaySeconds = 10.0
  /// A connection that held for so long was a good one: the next loss is the first again.
  static let goodSeconds = 10.0

  private(set) var failures = 0
  /// On the monotonic clock; at once in the beginning.
  private(set) var dueSeconds = 0.0
  private var connectedSince: Double?

  mutating func connected(at now: Double) { connectedSince = now }

  /// - Parameter fraction: uniform in 0..<1.
  mutating func lost(at now: Double, fraction: Double) {
    if let since = connectedSince, now - since >= Self.goodSeconds { failures = 0 }
    connectedSince = nil
    var span = Self.firstDelaySeconds
    for _ in 0..<failures where span < Self.maxDelaySeconds { span *= 2 }
    failures += 1
    dueSeconds = now + min(span, Self.maxDelaySeconds) * fraction
  }
}
