/// What a request comes to: the images wanted, the cells that make them up, and the layers under the
/// cells. A pure function of catalog, lock and request; the same everywhere, byte for byte.
package struct Plan: Sendable, Hashable, Codable {
  /// The catalog's git revision when it is clean, else nil.
  package var catalogRevision: String?
  package var catalogDigest: Digest
  /// Sorted by product, then variant.
  package var images: [PlannedImage]
  /// Sorted by key, each once, however many images want it. None: the layers themselves are wanted.
  package var cells: [PlannedCell]
  /// Parents before children, then by key; each once, however many cells pass through it.
  package var layers: [PlannedLayer]

  package init(
    catalogRevision: String?, catalogDigest: Digest, images: [PlannedImage], cells: [PlannedCell],
    layers: [PlannedLayer]
  ) {
    self.catalogRevision = catalogRevision
    self.catalogDigest = catalogDigest
    self.images = images
    self.cells = cells
    self.layers = layers
  }
}

extension Plan {
  /// What is wanted for its own sake where there are no cells: all but what is there to be grafted.
  package var wantedLayers: Set<LayerKey> {
    Set(layers.map(\.key)).subtracting(layers.compactMap(\.graft?.layer))
  }
}

/// One variant of one product over all its targets: what an image index and its tags stand for.
package struct PlannedImage: Sendable, Hashable, Codable {
  package var product: String
  package var productVersion: String
  /// Empty for a product without a matrix; else `fragment=version` pairs, sorted, joined by `,`.
  package var variant: String
  /// Repository below the site's registry prefix.
  package var repository: String
  /// Tags in full (`1.4.0-app2`), sorted.
  package var tags: [String]
  package var cells: [CellReference]

  package struct CellReference: Sendable, Hashable, Codable {
    package var key: CellKey
    package var target: BuildTarget
    /// A tag moves only when all required cells are good.
    package var required: Bool

    package init(key: CellKey, target: BuildTarget, required: Bool) {
      self.key = key
      self.target = target
      self.required = required
    }
  }

  package init(
    product: String, productVersion: String, variant: String, repository: String, tags: [String],
    cells: [CellReference]
  ) {
    self.product = product
    self.productVersion = productVersion
    self.variant = variant
    self.repository = repository
    self.tags = tags
    self.cells = cells
  }
}

/// A variant on a target.
package struct PlannedCell: Sendable, Hashable, Codable {
  package var key: CellKey
  package var product: String
  package var productVersion: String
  package var variant: String
  package var target: BuildTarget
  package var manifest: String
  package var template: FragmentVersion
  /// In the template's order.
  package var fragments: [FragmentVersion]
  package var base: BaseImage
  /// From the base upwards; never empty.
  package var path: [LayerKey]
  package var tests: [SmokeTest]
  /// What differs from the pool's rule for tests; in no key.
  package var testRetries: RetryChange?

  package init(
    key: CellKey, product: String, productVersion: String, variant: String, target: BuildTarget, manifest: String,
    template: FragmentVersion, fragments: [FragmentVersion], base: BaseImage, path: [LayerKey], tests: [SmokeTest],
    testRetries: RetryChange? = nil
  ) {
    self.key = key
    self.product = product
    self.productVersion = productVersion
    self.variant = variant
    self.target = target
    self.manifest = manifest
    self.template = template
    self.fragments = fragments
    self.base = base
    self.path = path
    self.tests = tests
    self.testRetries = testRetries
  }
}

/// A name and a version of a fragment or a template.
package struct FragmentVersion: Sendable, Hashable, Codable, CustomStringConvertible {
  package var name: String
  package var version: String

  package init(name: String, version: String) {
    self.name = name
    self.version = version
  }

  package var description: String { "\(name)@\(version)" }
}

/// A base image pinned for one platform.
package struct BaseImage: Sendable, Hashable, Codable {
  /// As the manifest names it, without a digest.
  package var name: String
  /// Where it is fetched: `host[:port]/repository`, or `oci-layout:PATH` relative to the catalog.
  package var source: String
  /// Of the image manifest of this platform (never of an index).
  package var digest: Digest

  package init(name: String, source: String, digest: Digest) {
    self.name = name
    self.source = source
    self.digest = digest
  }
}

/// A command that must exit with zero in a container of the finished image.
package struct SmokeTest: Sendable, Hashable, Codable {
  package var name: String
  /// Program and arguments; no shell. Replaces the image's entrypoint.
  package var command: [String]
  package var timeoutSeconds: Int
  /// What standard output must contain, if anything.
  package var expectedOutput: String?

  package init(name: String, command: [String], timeoutSeconds: Int, expectedOutput: String?) {
    self.name = name
    self.command = command
    self.timeoutSeconds = timeoutSeconds
    self.expectedOutput = expectedOutput
  }
}

/// One section of a rendered Dockerfile on top of its parent, for one platform.
package struct PlannedLayer: Sendable, Hashable, Codable {
  package var key: LayerKey
  package var parent: Parent
  /// The fragment, or nil for what the template says before the first or after the last marker.
  package var fragment: FragmentVersion?
  /// For people: `core@0.2.0`, `template@1.0.0 (head)`.
  package var title: String
  package var platform: Platform
  /// The whole Dockerfile of this layer; its last FROM is `kiln-parent` (`Recipe.parentContextName`),
  /// or `scratch` where that is the parent.
  package var dockerfile: String
  /// Build arguments that this text declares, with their values.
  package var arguments: [String: String]
  /// The normalised tar of exactly the files that the text names, the Dockerfile not included;
  /// nil where it names none.
  package var context: BlobReference?
  /// Secrets by id; the value is the declared version, which is in the key.
  package var secrets: [String: String]
  /// False where the fragment says so; then a different digest is no finding.
  package var reproducible: Bool
  /// Of an independent fragment: nothing is built here, the blobs of that layer are put on the parent.
  package var graft: Graft?
  /// Where the Dockerfile's instructions stand in the catalog, in the order of lines; in no key.
  package var origins: [LineOrigin]?

  package enum Parent: Sendable, Hashable, Codable {
    case base(BaseImage)
    case layer(LayerKey)
    /// An independent fragment by itself: for no cell, but grafted onto each parent.
    case scratch
  }

  package struct Graft: Sendable, Hashable, Codable {
    /// Its parent is `scratch`.
    package var layer: LayerKey
    /// Arguments of the text, sorted: a parent that sets one of them by ENV would mean something else.
    package var arguments: [String]

    package init(layer: LayerKey, arguments: [String]) {
      self.layer = layer
      self.arguments = arguments
    }
  }

  package init(
    key: LayerKey, parent: Parent, fragment: FragmentVersion?, title: String, platform: Platform, dockerfile: String,
    arguments: [String: String], context: BlobReference?, secrets: [String: String], reproducible: Bool,
    graft: Graft? = nil, origins: [LineOrigin]? = nil
  ) {
    self.key = key
    self.parent = parent
    self.fragment = fragment
    self.title = title
    self.platform = platform
    self.dockerfile = dockerfile
    self.arguments = arguments
    self.context = context
    self.secrets = secrets
    self.reproducible = reproducible
    self.graft = graft
    self.origins = origins
  }

  /// The layers whose images its own is made of.
  package var below: [LayerKey] { [parentKey, graft?.layer].compactMap(\.self) }

  package var parentKey: LayerKey? {
    if case .layer(let key) = parent { key } else { nil }
  }
}

/// Where an instruction of a layer's Dockerfile comes from. Lines count from 1.
package struct LineOrigin: Sendable, Hashable, Codable {
  package var line: Int
  /// Relative to the catalog's folder; nil for what Kiln writes itself.
  package var file: String?
  package var fileLine: Int

  package init(line: Int, file: String?, fileLine: Int) {
    self.line = line
    self.file = file
    self.fileLine = fileLine
  }

  package static func moved(_ origins: [LineOrigin], by lines: Int) -> [LineOrigin] {
    origins.map { LineOrigin(line: $0.line + lines, file: $0.file, fileLine: $0.fileLine) }
  }
}

/// A blob somewhere in an image store.
package struct BlobReference: Sendable, Hashable, Codable {
  package var digest: Digest
  package var sizeBytes: Int64

  package init(digest: Digest, sizeBytes: Int64) {
    self.digest = digest
    self.sizeBytes = sizeBytes
  }
}

/// How layers are built. Anything here that changes what comes out has `version` raised, which is in
/// every layer key.
package enum Recipe {
  package static let version = 1
  /// Seconds since 1970 that every timestamp is pinned to: 1980-01-02, for zip knows nothing earlier.
  package static let sourceDateEpochSeconds = 315_619_200
  /// The name by which a layer's Dockerfile calls its parent (`FROM kiln-parent`).
  package static let parentContextName = "kiln-parent"
}
