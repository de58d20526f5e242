package import Model

/// Whether a host that joined is still fit for work: an engine that is gone, or a full disk, would fail
/// whatever is claimed, faster than any healthy host could take it.
package struct HostWatch: Sendable {
  /// Where the engine keeps its data; nil where that is not on this host.
  package var freeBytes: @Sendable () -> Int64?
  package var floorBytes: Int64
  /// Tries a tiny build: what is wrong with the engine, if anything. Takes seconds.
  package var liveness: @Sendable () async throws -> Failure?

  package init(
    freeBytes: @escaping @Sendable () -> Int64?, floorBytes: Int64,
    liveness: @escaping @Sendable () async throws -> Failure?
  ) {
    self.freeBytes = freeBytes
    self.floorBytes = floorBytes
    self.liveness = liveness
  }

  /// A host about which there is nothing to know.
  package static let none = HostWatch(freeBytes: { nil }, floorBytes: 0, liveness: { nil })

  /// What keeps the host from taking work; nil if nothing does. `afterFailure` asks the engine too.
  func problem(afterFailure: Bool) async -> String? {
    if let free = freeBytes(), free < floorBytes {
      return "\(free >> 20) MiB free, less than the pool's floor of \(floorBytes >> 20) MiB"
    }
    guard afterFailure else { return nil }
    do {
      return try await liveness()?.message
    } catch {
      return "\(error)"
    }
  }
}
