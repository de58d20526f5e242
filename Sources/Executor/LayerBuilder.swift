package import Foundation
package import Model
package import Registry

/// Builds one layer on top of its parent: buildx on a real host, nothing at all in tests and benches.
package protocol LayerBuilder: Sendable {
  /// Returns when the layer's image is complete and checked, with every new blob in a file.
  ///
  /// Throws `Failure` for everything that is the build's or the host's (a lost parent has the code
  /// `parent-lost`), and `CancellationError` when the calling task was cancelled: then the client and
  /// what it ran have ended. Bounded by the request's deadlines whatever the engine does.
  func build(_ request: LayerBuildRequest, report: any BuildReport) async throws -> BuiltLayer
}

/// Everything that one layer's build may depend on.
package struct LayerBuildRequest: Sendable {
  package var layer: PlannedLayer
  /// The normalised tar of the files that the layer's text names, without the Dockerfile; nil where
  /// it names none.
  package var contextArchive: URL?
  /// Nil: it is built on nothing.
  package var parent: ParentImage?
  /// Fresh and empty, owned by the attempt, on a local disk; whoever made it removes it.
  package var attemptFolder: URL
  package var network: Pool.Network
  package var deadlineSeconds: Double
  /// How long the builder may say nothing before it counts as hung.
  package var noOutputSeconds: Double
  /// Files with the secrets' values, by id.
  package var secretFiles: [String: URL]
  /// False: every step is run, whatever the builder has in its cache.
  package var usesCache = true

  package init(
    layer: PlannedLayer, contextArchive: URL?, parent: ParentImage?, attemptFolder: URL,
    network: Pool.Network = .default, deadlineSeconds: Double, noOutputSeconds: Double,
    secretFiles: [String: URL] = [:]
  ) {
    self.layer = layer
    self.contextArchive = contextArchive
    self.parent = parent
    self.attemptFolder = attemptFolder
    self.network = network
    self.deadlineSeconds = deadlineSeconds
    self.noOutputSeconds = noOutputSeconds
    self.secretFiles = secretFiles
  }
}

/// Where the builder finds the parent, and its own image manifest and config, byte for byte as the
/// store has them.
package struct ParentImage: Sendable, Hashable {
  package var location: ImageLocation
  package var manifest: Manifest
  package var config: Data

  package init(location: ImageLocation, manifest: Manifest, config: Data) {
    self.location = location
    self.manifest = manifest
    self.config = config
  }
}

/// A layer's image: the parent's blobs, exactly, and what this layer added.
package struct BuiltLayer: Sendable {
  /// Its digest is the image's.
  package var manifest: Manifest
  package var config: Data
  /// What the parent does not have, the config not included, in the image's order. The files are
  /// verified and stay until the attempt's folder goes.
  package var newBlobs: [NewBlob]
  package var steps: [StepTiming]
  package var engineVersion: String

  package struct NewBlob: Sendable, Hashable {
    package var blob: BlobReference
    package var file: URL

    package init(blob: BlobReference, file: URL) {
      self.blob = blob
      self.file = file
    }
  }

  package init(
    manifest: Manifest, config: Data, newBlobs: [NewBlob], steps: [StepTiming], engineVersion: String
  ) {
    self.manifest = manifest
    self.config = config
    self.newBlobs = newBlobs
    self.steps = steps
    self.engineVersion = engineVersion
  }

  /// Bytes that this layer added.
  package var addedBytes: Int64 { newBlobs.reduce(0) { $0 + $1.blob.sizeBytes } }
}

/// Where an attempt's progress goes, as it happens.
///
/// Called in order and awaited: a slow report slows the reading of the builder's output, and with a
/// full pipe the builder, so that nothing is buffered without bound.
package protocol BuildReport: Sendable {
  /// Whole lines for people, each ended by a newline.
  func log(_ bytes: [UInt8]) async
  /// A step ended.
  func step(_ timing: StepTiming) async
}
