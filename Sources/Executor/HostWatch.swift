import Logging
package import Model
import Synchronization

/// Whether a host that joined is still fit for work: an engine that is gone, or a full disk, would fail
/// whatever is claimed, faster than any healthy host could take it. Where the disk is nearly full, the
/// builder's cache is made smaller first.
package final class HostWatch: Sendable {
  /// Where the engine keeps its data; nil where that is not on this host.
  private let freeBytes: @Sendable () -> Int64?
  private let floorBytes: Int64
  /// Tries a tiny build: what is wrong with the engine, if anything. Takes seconds.
  private let liveness: @Sendable () async throws -> Failure?
  /// Removes of the builder's cache what has not been used for so many hours. Takes minutes.
  private let prune: @Sendable (_ unusedHours: Int) async throws -> Void
  private let isPruning = Mutex(false)

  package init(
    freeBytes: @escaping @Sendable () -> Int64?, floorBytes: Int64,
    prune: @escaping @Sendable (_ unusedHours: Int) async throws -> Void = { _ in },
    liveness: @escaping @Sendable () async throws -> Failure?
  ) {
    self.freeBytes = freeBytes
    self.floorBytes = floorBytes
    self.prune = prune
    self.liveness = liveness
  }

  /// A host about which there is nothing to know.
  package static let none = HostWatch(freeBytes: { nil }, floorBytes: 0, liveness: { nil })

  /// Oldest first, and only as much as is needed; at last, all that no build uses.
  package static let pruningHours = [168, 24, 1, 0]

  /// What keeps the host from taking work; nil if nothing does. `afterFailure` asks the engine too.
  func problem(afterFailure: Bool, _ log: Logger) async -> String? {
    if isShort { await makeRoom(log) }
    if isShort, let free = freeBytes() {
      return "\(free >> 20) MiB free, less than the pool's floor of \(floorBytes >> 20) MiB"
    }
    guard afterFailure else { return nil }
    do {
      return try await liveness()?.message
    } catch {
      return "\(error)"
    }
  }

  var isShort: Bool { freeBytes().map { $0 < floorBytes } ?? false }

  /// By one slot at a time; the others take no work meanwhile.
  private func makeRoom(_ log: Logger) async {
    guard
      isPruning.withLock({ pruning in
        defer { pruning = true }
        return !pruning
      })
    else { return }
    defer { isPruning.withLock { $0 = false } }
    for hours in Self.pruningHours where isShort {
      let what = hours == 0 ? "all that no build uses" : "what was not used for \(hours) h"
      do {
        try await prune(hours)
        let free = freeBytes().map { "\($0 >> 20) MiB" } ?? "?"
        log.notice(
          "the disk is nearly full: builder cache pruned", metadata: ["removed": "\(what)", "free": "\(free)"])
      } catch {
        log.warning("the builder's cache cannot be pruned", metadata: ["error": "\(error)"])
        return
      }
    }
  }
}
