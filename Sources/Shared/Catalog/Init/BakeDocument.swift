package import Foundation
import Model

/// What `docker buildx bake --print` says of a bake file: groups and targets, all variables in place.
package struct BakeDocument: Sendable {
  package struct Target: Sendable {
    package var name: String
    /// A folder, relative to where bake runs.
    package var context: String
    /// Relative to the context; unused where the text itself is in the bake file.
    package var dockerfile: String
    package var text: String?
    package var stage: String?
    package var arguments: [String: String] = [:]
    /// By name: what it says in place of an image.
    package var contexts: [String: String] = [:]
    package var labels: [String: String] = [:]
    package var platforms: [String] = []
    package var tags: [String] = []
  }

  /// The bake file, for messages.
  package let file: String
  /// Sorted by name.
  package private(set) var targets: [Target] = []
  /// Names of targets, or of other groups.
  package private(set) var groups: [String: [String]] = [:]
  private(set) var leftOut: [Diagnostic] = []
  private let lines: [String]

  /// - Parameters:
  ///   - text: the bake file itself, of which only the lines' numbers are taken.
  ///   - isEscaped: `printed` is a bake file again, in which `$${` means `${`.
  package init(printed: Data, file: String, text: String, isEscaped: Bool) throws(CatalogErrors) {
    self.file = file
    lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    guard let document = StoreValue.parse(.file(printed, executable: false))?.fields,
      let all = document["target"]?.fields, !all.isEmpty
    else {
      throw CatalogErrors([
        Diagnostic(file: file, "has no targets to take over", suggestion: .hint("name one by --target"))
      ])
    }
    for (name, group) in document["group"]?.fields ?? [:] {
      groups[name] = (group["targets"]?.items ?? []).compactMap(\.text)
    }
    let found = Diagnostics()
    for (name, value) in all.sorted(by: { $0.key < $1.key }) {
      targets.append(target(name, isEscaped ? value.unescaped : value, found))
    }
    try found.throwIfAny()
  }

  private static let imageScheme = "docker-image://"
  private static let layoutScheme = "oci-layout://"
  private static let known: Set<String> = [
    "args", "context", "contexts", "dockerfile", "dockerfile-inline", "labels", "platforms", "secret", "tags", "target",
  ]

  private mutating func target(_ name: String, _ value: StoreValue, _ found: Diagnostics) -> Target {
    var target = Target(
      name: name, context: value["context"]?.text ?? ".", dockerfile: value["dockerfile"]?.text ?? "Dockerfile",
      text: value["dockerfile-inline"]?.text, stage: value["target"]?.text)
    target.contexts = texts(value, "contexts", name)
    for (context, address) in target.contexts.sorted(by: { $0.key < $1.key }) {
      if ![Self.imageScheme, Self.layoutScheme].contains(where: address.hasPrefix) {
        found.add(
          file, line(name, "contexts"), field: "target.\(name).contexts",
          "'\(address)' is neither an image nor an OCI layout",
          suggestion: .hint("put its stages into this target's Dockerfile, its files into this target's context"))
      } else if address.contains("@") {
        leave(name, "contexts", "the digest of '\(context)': digests are in catalog.lock, which 'kiln lock' writes")
      }
    }
    target.arguments = texts(value, "args", name)
    target.labels = texts(value, "labels", name)
    target.platforms = (value["platforms"]?.items ?? []).compactMap(\.text)
    target.tags = (value["tags"]?.items ?? []).compactMap(\.text)
    for platform in target.platforms
    where Platform(platform).map({ !CatalogLoader.knownPlatforms.contains($0.description) }) ?? true {
      found.add(
        file, line(name, "platforms"), field: "target.\(name).platforms",
        "'\(platform)' is not a platform that Kiln knows",
        suggestion: NearestName.suggestion(for: platform, among: CatalogLoader.knownPlatforms))
    }
    if target.context.contains("://") || target.context.hasPrefix("git@") {
      found.add(
        file, line(name, "context"), field: "target.\(name).context", "'\(target.context)' is not a folder",
        suggestion: .hint("fetch it first, and name the folder"))
    }
    for key in (value.fields ?? [:]).keys.sorted() where !Self.known.contains(key) && value[key] != nil {
      leave(name, key, "says how it is built, not what: a catalog has nothing like it")
    }
    if (value["secret"]?.items ?? []).contains(where: { ($0.text ?? "").contains(",") || $0.fields != nil }) {
      leave(name, "secret", "where its value comes from is no part of a catalog: say 'kiln build --secret ID=FILE'")
    }
    return target
  }

  private mutating func texts(_ value: StoreValue, _ key: String, _ target: String) -> [String: String] {
    var texts: [String: String] = [:]
    for (name, value) in value[key]?.fields ?? [:] {
      if let text = value.text {
        texts[name] = text
      } else {
        leave(target, key, "'\(name)' has no value here: it would come from whoever builds")
      }
    }
    return texts
  }

  private mutating func leave(_ target: String, _ key: String, _ why: String) {
    leftOut.append(Diagnostic(file: file, line: line(target, key), field: "target.\(target).\(key)", why))
  }

  /// Where the bake file says a target's field, as far as its lines tell: else where it says the target.
  func line(_ target: String, _ key: String) -> Int? {
    func begins(_ line: String, with word: String) -> Bool {
      let text = DockerfileParser.trimmedLeft(line)
      return [word, "\"\(word)\""].contains { start in
        text.hasPrefix(start) && [" ", "=", ":", "{"].contains(text.dropFirst(start.count).first)
      }
    }
    let start = lines.firstIndex { line in
      begins(line, with: "target \"\(target)\"") || begins(line, with: target) && line.contains("{")
    }
    guard let start else { return nil }
    let own = lines[(start + 1)...].prefix { !DockerfileParser.trimmedLeft($0).hasPrefix("target ") && $0 != "}" }
    return (own.firstIndex { begins($0, with: key) } ?? start) + 1
  }
}

extension StoreValue {
  /// Without the escapes of HCL's templates.
  fileprivate var unescaped: StoreValue {
    switch self {
    case .text(let text): .text(text.replacing("$${", with: "${").replacing("%%{", with: "%{"))
    case .list(let items): .list(items.map(\.unescaped))
    case .object(let fields): .object(fields.mapValues(\.unescaped))
    default: self
    }
  }
}

extension BakeDocument {
  /// What a target's `contexts` says, as `catalog.yml` says where an image is.
  ///
  /// - Parameter catalog: the catalog's own folder, which paths become relative to.
  package static func image(_ address: String, catalog: String) -> String {
    if address.hasPrefix(imageScheme) { return String(address.dropFirst(imageScheme.count)) }
    var path = String(address.dropFirst(layoutScheme.count).prefix { $0 != "@" })
    var tag = ""
    if let colon = path.lastIndex(of: ":"), !path[colon...].contains("/") {
      tag = String(path[colon...])
      path = String(path[..<colon])
    }
    let to = URL(fileURLWithPath: path).standardizedFileURL.path.split(separator: "/")
    let from = catalog.split(separator: "/")
    let shared = zip(from, to).prefix { $0 == $1 }.count
    let parts = [Substring](repeating: "..", count: from.count - shared) + to.dropFirst(shared)
    return "oci-layout:" + parts.joined(separator: "/") + tag
  }
}
