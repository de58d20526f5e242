import Model

/// What exchanges and queues are called.
struct AMQPNames: Sendable {
  let prefix: String

  /// Direct; a pool's name is the routing key of its queue, here and in `dead`.
  var jobs: String { "\(prefix).jobs" }
  var dead: String { "\(prefix).dead" }

  /// The arguments of a queue cannot be changed, so their version is in its name.
  func queue(_ pool: PoolName) -> String { "\(prefix).jobs.\(pool).v1" }
  func deadQueue(_ pool: PoolName) -> String { "\(prefix).dead.\(pool)" }
}
