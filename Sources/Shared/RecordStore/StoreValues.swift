package import Model

/// One accepted request, whole: what `submit` writes in one transaction.
package struct Submission: Sendable {
  package var id: BuildID
  package var scope: Scope
  package var principal: Principal
  /// The same key from the same principal is the same build.
  package var idempotencyKey: String
  /// Higher goes first.
  package var priority: Int
  package var plan: Plan
  /// Which pool does what.
  package var layerPools: [LayerKey: PoolName]
  package var cellPools: [CellKey: PoolName]
  /// Layers whose image the registry turned out not to hold.
  package var missing: [LayerKey: MissingImage]
  /// Cells whose passing record's images the registry still holds.
  package var reusable: Set<CellKey>
  /// A person asks on purpose: failed layers are tried again without waiting for their quarantine.
  package var retryFailed: Bool

  package init(
    id: BuildID, scope: Scope, principal: Principal, idempotencyKey: String, priority: Int, plan: Plan,
    layerPools: [LayerKey: PoolName], cellPools: [CellKey: PoolName], missing: [LayerKey: MissingImage],
    reusable: Set<CellKey>, retryFailed: Bool
  ) {
    self.id = id
    self.scope = scope
    self.principal = principal
    self.idempotencyKey = idempotencyKey
    self.priority = priority
    self.plan = plan
    self.layerPools = layerPools
    self.cellPools = cellPools
    self.missing = missing
    self.reusable = reusable
    self.retryFailed = retryFailed
  }
}

/// What a look into the registry found out about a layer that the store believes to be available.
package struct MissingImage: Sendable, Hashable {
  /// Of the generation that was looked for; a newer one is believed.
  package var generation: Int
  /// For people: which manifest or blob.
  package var reason: String

  package init(generation: Int, reason: String) {
    self.generation = generation
    self.reason = reason
  }
}

package struct AcceptedBuild: Sendable, Hashable, Codable {
  package var id: BuildID
  package var sequence: Int64
  /// False if an earlier submission with the same key is returned.
  package var isNew: Bool

  package init(id: BuildID, sequence: Int64, isNew: Bool) {
    self.id = id
    self.sequence = sequence
    self.isNew = isNew
  }
}

package struct KnownLayer: Sendable, Hashable {
  package var state: LayerState
  package var image: Digest?
  package var generation: Int

  package init(state: LayerState, image: Digest?, generation: Int) {
    self.state = state
    self.image = image
    self.generation = generation
  }
}

package struct KnownCell: Sendable, Hashable {
  package var state: CellState
  /// Of its passing record, if it has one.
  package var image: Digest?
  package var recordID: String?

  package init(state: CellState, image: Digest?, recordID: String?) {
    self.state = state
    self.image = image
    self.recordID = recordID
  }
}

package struct KnownResults: Sendable, Hashable {
  package var layers: [LayerKey: KnownLayer]
  package var cells: [CellKey: KnownCell]

  package init(layers: [LayerKey: KnownLayer] = [:], cells: [CellKey: KnownCell] = [:]) {
    self.layers = layers
    self.cells = cells
  }
}

/// What past builds of layers took.
package struct LayerHistory: Sendable, Hashable {
  /// Successful attempts at layers of one title for one platform.
  package struct Past: Sendable, Hashable {
    package var title: String
    package var platform: Platform
    /// Of the latest attempts, at most `maxAttempts`.
    package var seconds: [Double]

    package init(title: String, platform: Platform, seconds: [Double]) {
      self.title = title
      self.platform = platform
      self.seconds = seconds
    }
  }

  package static let maxAttempts = 20

  /// Of the layers that were asked for, what each added to its parent.
  package var addedBytes: [LayerKey: Int64]
  /// Of all layers, by title and platform.
  package var past: [Past]

  package init(addedBytes: [LayerKey: Int64] = [:], past: [Past] = []) {
    self.addedBytes = addedBytes
    self.past = past
  }
}

package struct BuildSummary: Sendable, Hashable, Codable {
  package var id: BuildID
  package var sequence: Int64
  package var principal: Principal
  package var scope: Scope
  package var state: BuildState
  package var products: [String]
  package var catalogRevision: String?
  package var createdAt: Timestamp
  package var finishedAt: Timestamp?
  package var problem: String?
}

package struct CellStatus: Sendable, Hashable, Codable {
  package var key: CellKey
  package var product: String
  package var variant: String
  package var target: BuildTarget
  package var required: Bool
  package var state: CellState
  /// Why it is reused, waits, is blocked or failed, as far as the store knows.
  package var reason: String?
  package var job: JobID?
  package var image: Digest?
}

package struct LayerStatus: Sendable, Hashable, Codable {
  package var key: LayerKey
  package var title: String
  package var platform: Platform
  package var state: LayerState
  package var generation: Int
  package var image: Digest?
  package var job: JobID?
  /// Why this generation exists: `new`, or what was lost.
  package var cause: String
  /// This build found it available and built nothing.
  package var reused: Bool
  package var reproducible: Bool
}

package struct JobSummary: Sendable, Hashable, Codable {
  package var id: JobID
  package var kind: JobKind
  package var title: String
  package var pool: PoolName
  package var state: JobState
  package var attempt: Int
  package var failures: Int
  package var executor: ExecutorName?
  package var cause: String
  package var createdAt: Timestamp
  package var dueAt: Timestamp?
  /// It could run, but no executor of its pool has been seen for a minute.
  package var lacksExecutor: Bool
  /// Why the last attempt failed.
  package var failure: Failure?
}

package struct BuildDetail: Sendable, Hashable, Codable {
  package var summary: BuildSummary
  package var images: [PlannedImage]
  package var cells: [CellStatus]
  package var layers: [LayerStatus]
  package var jobs: [JobSummary]
  package var published: [PublishedIndex]
}

package struct AttemptSummary: Sendable, Hashable, Codable {
  package var attempt: Int
  package var executor: ExecutorName
  package var startedAt: Timestamp
  package var endedAt: Timestamp?
  package var outcome: String?
  package var failure: Failure?
}

package struct JobDetail: Sendable, Hashable, Codable {
  package var summary: JobSummary
  package var attempts: [AttemptSummary]
  package var layer: LayerKey?
  package var cell: CellKey?
  package var waitsOn: LayerKey?
}

package struct CancelledJob: Sendable, Hashable, Codable {
  /// Still `running` until its executor has heard of it.
  package var state: JobState
  /// False: it had ended before.
  package var wasCancelled: Bool
  /// That builds go without because of it.
  package var cells: Int

  package init(state: JobState, wasCancelled: Bool, cells: Int) {
    self.state = state
    self.wasCancelled = wasCancelled
    self.cells = cells
  }
}

package struct ExpiredLease: Sendable, Hashable {
  package var fence: Fence
  package var pool: PoolName
  package var failures: Int
  package var executor: ExecutorName
}

package struct BuildToPublish: Sendable, Hashable {
  package var id: BuildID
  package var sequence: Int64
  package var scope: Scope
  package var images: [PlannedImage]
  /// The finished image of every good cell.
  package var cellImages: [CellKey: Digest]
}

package struct TagRow: Sendable, Hashable {
  package var sequence: Int64
  package var digest: Digest

  package init(sequence: Int64, digest: Digest) {
    self.sequence = sequence
    self.digest = digest
  }
}

/// An index that a build published.
package struct PublishedIndex: Sendable, Hashable, Codable {
  package var repository: String
  package var tags: [String]
  package var digest: Digest

  package init(repository: String, tags: [String], digest: Digest) {
    self.repository = repository
    self.tags = tags
    self.digest = digest
  }
}

package struct OutboxEffect: Sendable, Hashable {
  package enum Kind: Sendable, Hashable {
    case tagLayer(Scope, tag: String, image: Digest)
    case deadLetter(pool: PoolName, DeadLetter)
  }

  package struct DeadLetter: Sendable, Hashable, Codable {
    package var job: JobID
    package var attempt: Int
    package var failure: Failure

    package init(job: JobID, attempt: Int, failure: Failure) {
      self.job = job
      self.attempt = attempt
      self.failure = failure
    }
  }

  package var id: Int64
  package var kind: Kind
}

package struct RecordFilter: Sendable, Hashable {
  package var product: String?
  package var platform: Platform?
  /// Only records that combine all of these.
  package var fragments: [FragmentVersion] = []

  package init(product: String? = nil, platform: Platform? = nil, fragments: [FragmentVersion] = []) {
    self.product = product
    self.platform = platform
    self.fragments = fragments
  }
}

package struct StoredRecord: Sendable, Hashable, Codable {
  package var id: String
  package var job: JobID
  package var attempt: Int
  package var generation: Int
  package var record: CompatibilityRecord
}

package struct EvidencePage: Sendable, Hashable {
  package var attempt: Int
  package var chunks: [EvidenceChunk]
  /// The attempt is closed: no more will come.
  package var isClosed: Bool
  /// The job is in a final state.
  package var isFinal: Bool
}

package struct ExecutorStatus: Sendable, Hashable, Codable {
  package var name: ExecutorName
  package var pool: PoolName
  package var slots: Int
  package var running: Int
  package var host: HostFacts
  package var lastSeenSecondsAgo: Double
}

/// Where images live below the store's prefix.
package enum Repositories {
  /// Layers and contexts of a scope share a repository, so that blobs are shared by all of them.
  package static func layers(_ scope: Scope) -> String {
    scope == .release ? "layers" : "scopes/\(scope)/layers"
  }

  package static func tag(_ key: LayerKey, generation: Int) -> String { "layer-\(key)-g\(generation)" }
}

/// What a coordinator's loops have to do, at one moment.
package struct Outlook: Sendable, Equatable {
  package struct PoolWork: Sendable, Equatable {
    /// A job could be taken, if the window has room.
    package var hasReady: Bool
    /// How many jobs the store believes to be in the pool's queue.
    package var queued: Int

    package init(hasReady: Bool, queued: Int) {
      self.hasReady = hasReady
      self.queued = queued
    }
  }

  /// One for each pool that was asked for.
  package var pools: [PoolName: PoolWork] = [:]
  /// A delayed job's time has come.
  package var isDue = false
  /// An attempt's lease is out.
  package var hasExpired = false
  /// A build may have to be settled.
  package var hasOpenBuilds = false
  /// A build waits to be published, or an effect to be done.
  package var hasEndings = false
  /// Until the next lease, delay or pause ends; nil if there is none.
  package var secondsToNextDeadline: Double?

  package init() {}
}

/// What open builds waited for in vain.
package struct WantedOutcome: Sendable, Equatable {
  /// Layers' new jobs.
  package var started: [JobID] = []
  /// Cells that wait for a layer that failed.
  package var blocked: [CellKey] = []

  package init() {}
}
