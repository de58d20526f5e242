package enum JobKind: String, Sendable, Codable {
  /// Build one layer.
  case layer
  /// Test, describe and record one cell.
  case finish
}

/// What an executor needs to know to do a job; the store keeps it as JSON.
package enum JobSpec: Sendable, Hashable, Codable {
  case layer(PlannedLayer)
  case finish(PlannedCell)

  package var kind: JobKind {
    switch self {
    case .layer: .layer
    case .finish: .finish
    }
  }

  package var platform: Platform {
    switch self {
    case .layer(let layer): layer.platform
    case .finish(let cell): cell.target.platform
    }
  }

  /// The layer on which its work stands; nil: a base, or nothing.
  package var standsOn: LayerKey? {
    switch self {
    case .layer(let layer): layer.parentKey
    case .finish(let cell): cell.path.last
    }
  }

  /// How often it is tried in a pool.
  package func retries(in pool: Pool) -> RetryPolicy {
    var policy = pool.retries
    if case .finish(let cell) = self, let change = cell.testRetries { policy.test = change.applied(to: policy.test) }
    return policy
  }

  /// For people.
  package var title: String {
    switch self {
    case .layer(let layer): "\(layer.title) \(layer.platform)"
    case .finish(let cell): "\(cell.product)\(cell.variant.isEmpty ? "" : "[\(cell.variant)]") \(cell.target.platform)"
    }
  }
}

/// What travels through a queue, and nothing more.
package struct JobMessage: Sendable, Hashable, Codable {
  package static let currentVersion = 1

  /// The message format's version.
  package var v: Int
  package var job: JobID
  /// Rises with each publication; a confirmation counts only for its own.
  package var dispatch: Int

  package init(job: JobID, dispatch: Int) {
    v = Self.currentVersion
    self.job = job
    self.dispatch = dispatch
  }

  /// The broker's message-id.
  package var identifier: String { "\(job):\(dispatch)" }
}

/// A layer's image that is in the registry no more.
package struct LostLayer: Sendable, Hashable {
  package var key: LayerKey
  /// Which image it was: what was built again since is not lost.
  package var generation: Int

  package init(key: LayerKey, generation: Int) {
    self.key = key
    self.generation = generation
  }
}

/// Which attempt writes. Every write of an executor carries it; a stale one is refused.
package struct Fence: Sendable, Hashable, Codable {
  package var job: JobID
  /// From 1; never falls, also across generations.
  package var attempt: Int
  /// Chosen by the executor: asking again with the same nonce returns the same claim.
  package var nonce: String

  package init(job: JobID, attempt: Int, nonce: String) {
    self.job = job
    self.attempt = attempt
    self.nonce = nonce
  }
}

/// A granted claim.
package struct Claim: Sendable, Hashable {
  package var fence: Fence
  package var spec: JobSpec
  package var scope: Scope
  /// The images of the layers below: for a layer job its parent's, for a finishing job the last
  /// layer's. Nil where the parent is the base.
  package var parentImage: Digest?
  /// Of the layer that `parentImage` is of.
  package var parentGeneration: Int?
  /// The image whose blobs are to be put on the parent's, and its layer's generation.
  package var graftImage: Digest?
  package var graftGeneration: Int?
  package var leaseSeconds: Double
  /// Failed attempts that counted so far, this one not included: each class has a limit of its own.
  package var failures: [FailureClass: Int]
  package var generation: Int

  package init(
    fence: Fence, spec: JobSpec, scope: Scope, parentImage: Digest?, parentGeneration: Int?,
    graftImage: Digest? = nil, graftGeneration: Int? = nil, leaseSeconds: Double, failures: [FailureClass: Int],
    generation: Int
  ) {
    self.fence = fence
    self.spec = spec
    self.scope = scope
    self.parentImage = parentImage
    self.parentGeneration = parentGeneration
    self.graftImage = graftImage
    self.graftGeneration = graftGeneration
    self.leaseSeconds = leaseSeconds
    self.failures = failures
    self.generation = generation
  }
}

/// What a layer's attempt brought.
package struct LayerResult: Sendable, Hashable, Codable {
  package var image: Digest
  /// Bytes of the blobs that this layer added.
  package var addedBytes: Int64
  package var steps: [StepTiming]
  package var engineVersion: String

  package init(image: Digest, addedBytes: Int64, steps: [StepTiming], engineVersion: String) {
    self.image = image
    self.addedBytes = addedBytes
    self.steps = steps
    self.engineVersion = engineVersion
  }
}

/// One step of a build, as the builder reported it.
package struct StepTiming: Sendable, Hashable, Codable {
  package var name: String
  package var seconds: Double
  /// The builder had its result already.
  package var cached: Bool

  package init(name: String, seconds: Double, cached: Bool) {
    self.name = name
    self.seconds = seconds
    self.cached = cached
  }
}

/// One smoke test's outcome.
package struct TestResult: Sendable, Hashable, Codable {
  package var name: String
  package var passed: Bool
  package var exitCode: Int?
  package var seconds: Double
  /// The end of what it printed, clipped.
  package var outputTail: String

  package init(name: String, passed: Bool, exitCode: Int?, seconds: Double, outputTail: String) {
    self.name = name
    self.passed = passed
    self.exitCode = exitCode
    self.seconds = seconds
    self.outputTail = outputTail
  }
}
