package import JobQueue
package import Logging
package import Model
package import RecordStore
package import Registry

package typealias SourceOpener = @Sendable (_ source: String) async throws -> (any ImageStore, repository: String)

/// What every part of a coordinator works with. It holds no state of its own: any number may run at
/// once on the same store, and killing any of them loses nothing.
package struct Coordinator: Sendable {
  package var name: String
  package var store: any RecordStore
  package var queue: any JobQueue
  package var images: any ImageStore
  package var pools: [Pool]
  /// Where a base image comes from, by its source as the lock has it: a store and a repository.
  package var openSource: SourceOpener
  package var effects: Effects
  package var logger: Logger
  package var settings: CoordinatorSettings

  package init(
    name: String, store: any RecordStore, queue: any JobQueue, images: any ImageStore, pools: [Pool],
    openSource: @escaping SourceOpener, effects: Effects, logger: Logger,
    settings: CoordinatorSettings = CoordinatorSettings()
  ) {
    self.name = name
    self.store = store
    self.queue = queue
    self.images = images
    self.pools = pools
    self.openSource = openSource
    self.effects = effects
    self.logger = logger
    self.settings = settings
  }

  /// The pool for work on `platform`, in the pools' order.
  func pool(for platform: Platform, accelerator: Accelerator?) throws -> PoolName {
    guard let pool = pools.first(where: { $0.accepts(platform, accelerator: accelerator) }) else {
      let known = pools.map { pool in
        let does = pool.platforms.map(\.description) + (pool.accelerator.map { ["only for \($0)"] } ?? [])
        return "\(pool.name) (\(does.joined(separator: ", ")))"
      }
      throw Failure(
        .input, code: "no-pool",
        "no pool builds \(platform)\(accelerator.map { " with \($0)" } ?? "")",
        hint: "pools known here: \(known.joined(separator: "; "))")
    }
    return pool.name
  }
}

package struct CoordinatorSettings: Sendable {
  /// How long a published message may stay unconfirmed.
  package var publishLeaseSeconds: Double = 10
  /// Jobs that a pool's queue may hold beyond its idle slots.
  package var windowExtra = 2
  /// After a refused publication, how long the pool is left alone.
  package var publishRetrySeconds: Double = 2
  /// The longest sleep of a loop that nobody wakes; what could only be found by looking (a purged
  /// queue, a lost hint) is found this soon.
  package var idleSeconds: Double = 5
  /// What is queued this long while the queue is empty was lost by the broker.
  package var ghostSeconds: Double = 5
  package var effectLeaseSeconds: Double = 60
  /// How often it looks whether somebody builds what open builds wait for.
  package var wantedSeconds: Double = 10

  package init() {}
}
