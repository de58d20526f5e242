package import Model

/// What `catalog.yml` says.
package struct CatalogSettings: Sendable, Hashable {
  package var name: String
  /// `host[:port][/prefix]`, where products are pushed unless somebody says otherwise.
  package var registry: String?
  package var bases: [String: BaseDefinition]
  /// How many variants a product's matrix may come to.
  package var maxVariants: Int

  package static let standardMaxVariants = 1000
}

/// A base image by the name that manifests use, and where this site gets it.
package struct BaseDefinition: Sendable, Hashable {
  package var name: String
  /// `host[:port]/repository`, or `oci-layout:PATH` relative to the catalog.
  package var source: String
  /// What is resolved when it is locked.
  package var tag: String
  package var line: Int
  /// This site's own copy of `source`, by the map `mirrors`: fetched from instead, and in no key.
  package var mirror: String?

  /// Where it is fetched.
  package var place: String { mirror ?? source }

  /// The layout's folder, for a base that is one.
  package var layoutPath: String? {
    source.hasPrefix(Self.layoutPrefix) ? String(source.dropFirst(Self.layoutPrefix.count)) : nil
  }
  package static let layoutPrefix = "oci-layout:"
}

package struct Product: Sendable, Hashable {
  package var name: String
  package var file: String
  /// Repository below the registry's prefix.
  package var image: String
  package var version: String
  package var description: String?
  package var tagRules: [Located<String>]
  package var manifest: Located<String>
  package var targets: [ProductTarget]
  package var matrix: Matrix?
  package var tests: [SmokeTest]
}

package struct ProductTarget: Sendable, Hashable {
  package var target: BuildTarget
  package var required: Bool
  /// In place of the product's.
  package var manifest: Located<String>?
  package var line: Int
}

/// Fragment versions to combine.
package struct Matrix: Sendable, Hashable {
  /// One choice, by fragment.
  package typealias Choice = [String: String]

  package struct Axis: Sendable, Hashable {
    package var fragment: String
    package var versions: [Located<String>]
    package var line: Int
  }

  /// Sorted by fragment.
  package var axes: [Axis]
  package var include: [Located<Choice>]
  package var exclude: [Located<Choice>]
  package var line: Int
}

/// The recipe of a product.
package struct ProductManifest: Sendable, Hashable {
  package var name: String
  package var file: String
  package var template: Located<FragmentVersion>
  package var base: Located<String>
  package var fragments: [Located<FragmentVersion>]
  package var fragmentsLine: Int
  package var arguments: [String: Located<String>]
}

/// A Dockerfile with places for fragments.
package struct Template: Sendable, Hashable {
  package enum Part: Sendable, Hashable {
    case text(DockerfileText)
    case marker(Marker)
  }

  package struct Marker: Sendable, Hashable {
    package var fragment: String
    package var optional: Bool
    package var line: Int
  }

  package var id: FragmentVersion
  package var file: String
  /// Lines such as `# escape=\`, without their ends.
  package var directives: [String]
  /// `ARG`s before FROM, with their defaults.
  package var globalArguments: [Argument]
  /// After FROM, in order.
  package var parts: [Part]

  package var folder: String { "templates/\(id.name)/\(id.version)" }
  package var markers: [Marker] {
    parts.compactMap { if case .marker(let marker) = $0 { marker } else { nil } }
  }
}

/// A build argument as a text declares it.
package struct Argument: Sendable, Hashable {
  package var name: String
  package var value: String?
  package var line: Int
}

package struct Fragment: Sendable, Hashable {
  /// Which files a fragment's paths mean.
  package enum ContextRoot: Sendable, Hashable {
    case fragment
    case catalog
  }

  package struct Relation: Sendable, Hashable {
    package var fragment: String
    /// Nil: any version.
    package var versions: [String]?
    package var line: Int

    package func matches(_ other: FragmentVersion) -> Bool {
      other.name == fragment && (versions?.contains(other.version) ?? true)
    }
  }

  package var id: FragmentVersion
  package var description: String
  /// The definition, for messages.
  package var file: String
  /// Default values; nil where the manifest must give one.
  package var arguments: [String: Located<String?>]
  /// Secret ids and their declared versions.
  package var secrets: [String: String]
  /// Fragments that must stand below this one.
  package var requires: [Relation]
  /// Fragments that must not be in one image with this one.
  package var conflicts: [Relation]
  /// How long a result is good; nil where it does not depend on the outside.
  package var refreshSeconds: Int?
  package var reproducible: Bool
  package var contextRoot: ContextRoot
  /// Files and folders that are sent besides what the text names.
  package var extraFiles: [Located<String>]
  package var tests: [SmokeTest]
  package var text: DockerfileText
  package var stages: DockerfileText?

  package var folder: String { "fragments/\(id.name)/\(id.version)" }
}
