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
  /// Takes minutes.
  private let prune: @Sendable (Pruning) async throws -> Void
  private let state = Mutex(State())

  private struct State {
    var isPruning = false
    /// All was removed, and it was not enough: for so many looks, or until there is room, there is little to
    /// remove. Some of it may be what a build holds that runs beside.
    var exhaustedLooks = 0
  }

  package init(
    freeBytes: @escaping @Sendable () -> Int64?, floorBytes: Int64,
    prune: @escaping @Sendable (Pruning) async throws -> Void = { _ in },
    liveness: @escaping @Sendable () async throws -> Failure?
  ) {
    self.freeBytes = freeBytes
    self.floorBytes = floorBytes
    self.prune = prune
    self.liveness = liveness
  }

  /// A host about which there is nothing to know.
  package static let none = HostWatch(freeBytes: { nil }, floorBytes: 0, liveness: { nil })

  /// What keeps the host from taking work; nil if nothing does. `afterFailure` asks the engine too.
  func problem(afterFailure: Bool, _ log: Logger) async -> String? {
    if isShort { await makeRoom(log) } else { state.withLock { $0.exhaustedLooks = 0 } }
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

  /// Looks at a full disk between two rounds of pruning in vain.
  private static let patience = 30

  var isShort: Bool { freeBytes().map { $0 < floorBytes } ?? false }

  /// By one slot at a time; the others take no work meanwhile. Oldest first, and only as much as is needed.
  private func makeRoom(_ log: Logger) async {
    guard
      state.withLock({ state in
        if state.isPruning || state.exhaustedLooks > 0 {
          state.exhaustedLooks = max(0, state.exhaustedLooks - 1)
          return false
        }
        state.isPruning = true
        return true
      })
    else { return }
    defer { state.withLock { $0.isPruning = false } }
    for step in [Pruning.unusedFor(hours: 168), .unusedFor(hours: 24), .unusedFor(hours: 1), .bytes(0), .all] {
      guard let before = freeBytes(), before < floorBytes else { return }
      let step = if case .bytes = step { Pruning.bytes(floorBytes - before) } else { step }
      do {
        try await prune(step)
        let free = freeBytes().map { "\($0 >> 20) MiB" } ?? "?"
        log.notice(
          "the disk is nearly full: builder cache pruned", metadata: ["removed": "\(step)", "free": "\(free)"])
      } catch {
        if Task.isCancelled { return }
        log.warning("the builder's cache cannot be pruned", metadata: ["error": "\(error)"])
        // Only how many bytes it has need not be known to remove them all.
        guard case .bytes = step else { return }
      }
    }
    if isShort { state.withLock { $0.exhaustedLooks = Self.patience } }
  }
}

/// What is to go of a builder's cache. Never what a build is using.
package enum Pruning: Sendable, Hashable, CustomStringConvertible {
  case unusedFor(hours: Int)
  /// So many, what was used least recently first.
  case bytes(Int64)
  case all

  package var description: String {
    switch self {
    case .unusedFor(let hours): "what was not used for \(hours) h"
    case .bytes(let bytes): "\(bytes >> 20) MiB, what was used least recently first"
    case .all: "all that no build uses"
    }
  }
}
