/// The compatibility record of a cell: what was combined, on what, tested how, with which verdict.
package struct CompatibilityRecord: Sendable, Hashable, Codable {
  package static let currentVersion = 1

  package enum Verdict: String, Sendable, Codable {
    case passed, failed
  }

  package var v: Int = Self.currentVersion
  package var cell: CellKey
  package var product: String
  package var productVersion: String
  package var variant: String
  package var target: BuildTarget
  package var template: FragmentVersion
  package var fragments: [FragmentVersion]
  package var base: BaseImage
  package var layers: [LayerKey]
  /// The finished image's manifest.
  package var image: Digest
  package var verdict: Verdict
  package var tests: [TestResult]
  /// The SBOM (SPDX JSON), a blob in the image store.
  package var sbom: BlobReference?
  package var host: HostFacts
  package var finishedAt: Timestamp

  package init(
    cell: PlannedCell, image: Digest, verdict: Verdict, tests: [TestResult], sbom: BlobReference?, host: HostFacts,
    finishedAt: Timestamp
  ) {
    self.cell = cell.key
    product = cell.product
    productVersion = cell.productVersion
    variant = cell.variant
    target = cell.target
    template = cell.template
    fragments = cell.fragments
    base = cell.base
    layers = cell.path
    self.image = image
    self.verdict = verdict
    self.tests = tests
    self.sbom = sbom
    self.host = host
    self.finishedAt = finishedAt
  }
}

/// What an executor found out about its host.
package struct HostFacts: Sendable, Hashable, Codable {
  package var executor: ExecutorName
  package var kilnVersion: String
  package var engineVersion: String
  package var builderVersion: String
  /// What the builder can build, natively or emulated.
  package var platforms: [Platform]
  package var cpuCount: Int
  package var freeBytes: Int64?
  /// Where the pool asks for them.
  package var accelerators: [InstalledAccelerator]

  package init(
    executor: ExecutorName, kilnVersion: String, engineVersion: String, builderVersion: String,
    platforms: [Platform], cpuCount: Int, freeBytes: Int64?, accelerators: [InstalledAccelerator] = []
  ) {
    self.executor = executor
    self.kilnVersion = kilnVersion
    self.engineVersion = engineVersion
    self.builderVersion = builderVersion
    self.platforms = platforms
    self.cpuCount = cpuCount
    self.freeBytes = freeBytes
    self.accelerators = accelerators
  }
}

/// A piece of an attempt's log.
package struct EvidenceChunk: Sendable, Hashable {
  package static let maxBytes = 64 * 1024

  package enum Stream: String, Sendable, Codable {
    /// What the builder and the steps printed.
    case log
    /// `StepTiming`s as JSON.
    case steps
    /// `TestResult`s as JSON.
    case tests
  }

  package var stream: Stream
  /// From 0, without gaps, over all streams of the attempt.
  package var sequence: Int
  package var bytes: [UInt8]

  package init(stream: Stream, sequence: Int, bytes: [UInt8]) {
    self.stream = stream
    self.sequence = sequence
    self.bytes = bytes
  }
}
