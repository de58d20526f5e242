package import Foundation
package import JobQueue
package import Logging
package import Model
package import RecordStore
package import Registry

/// What every part of an executor works with. It holds nothing that matters but the build in hand.
package struct Executor: Sendable {
  package var name: ExecutorName
  package var pool: Pool
  package var host: HostFacts
  package var store: any AttemptStore
  package var queue: any JobQueue
  package var images: any ImageStore
  package var builder: any LayerBuilder
  package var tester: any CellTester
  /// Attempts' folders are made and removed in here.
  package var workFolder: URL
  /// Held as long as the executor is there.
  package var lock: FileLock?
  package var watch: HostWatch
  /// Files with secrets' values, by id.
  package var secretFiles: [String: URL]
  package var effects: Effects
  package var logger: Logger
  package var settings: ExecutorSettings

  package init(
    name: ExecutorName, pool: Pool, host: HostFacts, store: any AttemptStore, queue: any JobQueue,
    images: any ImageStore, builder: any LayerBuilder, tester: any CellTester, workFolder: URL,
    lock: FileLock? = nil, watch: HostWatch = .none, secretFiles: [String: URL] = [:], effects: Effects, logger: Logger,
    settings: ExecutorSettings = ExecutorSettings()
  ) {
    self.name = name
    self.pool = pool
    self.host = host
    self.store = store
    self.queue = queue
    self.images = images
    self.builder = builder
    self.tester = tester
    self.workFolder = workFolder
    self.lock = lock
    self.watch = watch
    self.secretFiles = secretFiles
    self.effects = effects
    self.logger = logger
    self.settings = settings
  }
}

package struct ExecutorSettings: Sendable {
  package var leaseSeconds: Double = 30
  /// Heartbeats come this often: a tenth of the lease, so that some may be lost, and soon enough to end
  /// within 5 s what was cancelled.
  package var heartbeatSeconds: Double = 3
  /// The attempt ends itself this long before its lease does, as its own clock counts.
  package var leaseMarginSeconds: Double = 5
  /// Log is written out at least this often while it comes.
  package var flushSeconds: Double = 0.5
  package var announceSeconds: Double = 20
  /// Between tries while the store or the queue is out of reach.
  package var retrySeconds: Double = 1
  /// What runs has so long to end when the executor is told to stop.
  package var drainSeconds: Double = 8
  /// Between looks at a host that is not fit for work.
  package var unfitSeconds: Double = 10

  package init() {}
}
