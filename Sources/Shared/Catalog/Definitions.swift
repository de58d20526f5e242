package import Model

/// What `catalog.yml` says.
package struct CatalogSettings: Sendable, Hashable {
  package var name: String
  /// `host[:port][/prefix]`, where products are pushed unless somebody says otherwise.
  package var registry: String?
  package var bases: [String: BaseDefinition]
  /// How many variants a product's matrix may come to.
  package var maxVariants: Int
  /// Folders and files beside the definitions that fragments with `context: catalog` may name.
  package var contextPaths: [Located<String>] = []
  /// Other catalogs, by the name that their fragments have before the dot.
  package var catalogs: [String: ForeignCatalog] = [:]

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
  /// What differs from the pool's rule for tests.
  package var testRetries: RetryChange?
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

/// A commit of a git repository, and a folder in it.
package struct GitSource: Sendable, Hashable {
  /// `https://…`, `ssh://…`, `user@host:path`, or a path relative to the catalog.
  package var repository: String
  /// A whole commit id: it can never mean something else.
  package var revision: String
  /// Empty for all of it.
  package var path: String

  package var isPath: Bool { Reference.isGitPath(repository) }
}

/// A catalog whose fragments this one uses: `core` of the catalog `base` is `base.core` here.
package struct ForeignCatalog: Sendable, Hashable {
  package var name: String
  package var source: GitSource
  package var line: Int

  /// Where its files are in the tree.
  package var folder: String { "\(CatalogTree.foreignFolder)/\(name)" }
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
    /// What stands there without a fragment: the marker as a comment, and what is between it and its end.
    package var standard: DockerfileText
  }

  package var id: FragmentVersion
  package var file: String
  /// Lines such as `# escape=\`, without their ends.
  package var directives: [String]
  /// `ARG`s before FROM, with their defaults.
  package var globalArguments: [Argument]
  /// All that is before FROM.
  package var head: DockerfileText
  /// Of `FROM {base} AS name`.
  package var stageName: String?
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
    /// An application's own source, which does not live in the catalog.
    case application(ApplicationSource)
  }

  package enum ApplicationSource: Sendable, Hashable {
    /// Relative to the catalog.
    case folder(String)
    case git(GitSource)
  }

  package struct Deprecation: Sendable, Hashable {
    /// The version to use instead.
    package var use: String?
    /// From this day on it is refused.
    package var until: Day?
    package var line: Int
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
  /// In the catalog that it comes from: its stages begin with this.
  package var ownName: String
  package var folder: String
  package var description: String
  /// Where among the others it must stand, from the bottom; nil where it does not matter.
  package var order: Int?
  package var deprecation: Deprecation?
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
  /// It adds files and config, whatever is below it: built once for all parents.
  package var independent: Bool
  package var contextRoot: ContextRoot
  /// Files and folders that are sent besides what the text names.
  package var extraFiles: [Located<String>]
  package var tests: [SmokeTest]
  package var text: DockerfileText
  package var stages: DockerfileText?

  /// What its paths are relative to, in the tree; empty for the catalog itself.
  package var contextFolder: String {
    switch contextRoot {
    case .fragment: folder
    case .catalog: folder.hasPrefix("fragments/") ? "" : String(folder.prefix { $0 != "/" }) + "/" + foreignName
    case .application: "\(CatalogTree.applicationFolder)/\(id.name)/\(id.version)"
    }
  }

  private var foreignName: String { String(folder.split(separator: "/")[1]) }
}

/// A day of the calendar, in UTC: `2027-01-31`.
package struct Day: Sendable, Hashable, Comparable, CustomStringConvertible {
  /// In this form days sort as texts do.
  package let description: String

  /// Nil for what is no day.
  package init?(_ text: String) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.map(\.utf8.count) == [4, 2, 2], text.utf8.allSatisfy({ (48...57).contains($0) || $0 == 45 }),
      let year = Int(parts[0]), let month = Int(parts[1]), let day = Int(parts[2]), (1...12).contains(month)
    else { return nil }
    let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    guard (1...lengths[month - 1]).contains(day) else { return nil }
    description = text
  }

  /// The day that `time` is in.
  package init(_ time: Timestamp) {
    // Days since 0000-03-01, in eras of 400 years (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let days = Int((Double(time.milliseconds) / 86_400_000).rounded(.down)) + 719_468
    let era = (days >= 0 ? days : days - 146_096) / 146_097
    let ofEra = days - era * 146_097
    let year = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
    let ofYear = ofEra - (365 * year + year / 4 - year / 100)
    let shifted = (5 * ofYear + 2) / 153
    let month = shifted < 10 ? shifted + 3 : shifted - 9
    let numbers = [year + era * 400 + (month <= 2 ? 1 : 0), month, ofYear - (153 * shifted + 2) / 5 + 1]
    let widths = [4, 2, 2]
    description = zip(numbers, widths).map { number, width in
      String(repeating: "0", count: max(0, width - String(number).utf8.count)) + String(number)
    }.joined(separator: "-")
  }

  package static func < (left: Day, right: Day) -> Bool { left.description < right.description }
}
