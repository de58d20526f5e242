package import Foundation
package import Model

/// `catalog.lock`: what the outside was when somebody last looked on purpose.
package struct Lock: Sendable, Hashable {
  package static let fileName = "catalog.lock"

  package struct Base: Sendable, Hashable {
    package var source: String
    package var tag: String
    /// Digests of image manifests, never of an index.
    package var platforms: [Platform: Digest]

    package init(source: String, tag: String, platforms: [Platform: Digest]) {
      self.source = source
      self.tag = tag
      self.platforms = platforms
    }
  }

  package struct ForeignCatalog: Sendable, Hashable {
    package var source: GitSource
    package var digest: Digest
  }

  /// By the name that manifests use.
  package var bases: [String: Base]
  /// Other catalogs, by the name that this one gives them.
  package var catalogs: [String: ForeignCatalog] = [:]
  /// Of each fragment that depends on the outside: seconds since 1970, moved only on purpose.
  package var epochs: [FragmentVersion: Int]

  package init(bases: [String: Base] = [:], epochs: [FragmentVersion: Int] = [:]) {
    self.bases = bases
    self.epochs = epochs
  }

  /// Nil where it is not locked for this platform, or what is locked came from elsewhere.
  package func digest(of base: BaseDefinition, _ platform: Platform) -> Digest? {
    guard let locked = bases[base.name], locked.source == base.source, locked.tag == base.tag else { return nil }
    return locked.platforms[platform]
  }

  /// What FROM says: by digest where it is locked; a layout by the name of its build context.
  func image(of base: BaseDefinition, _ platform: Platform) -> String {
    guard base.layoutPath == nil else { return base.name }
    return digest(of: base, platform).map { "\(base.place)@\($0)" } ?? "\(base.place):\(base.tag)"
  }

  // MARK: Text

  /// YAML in one form: the same lock, the same text.
  package func text() -> String {
    var text = "# Written by 'kiln lock'. Commit it; do not edit it.\n"
    text += bases.isEmpty ? "bases: {}\n" : "bases:\n"
    for (name, base) in bases.sorted(by: { $0.key < $1.key }) {
      text += "  \"\(name)\":\n    source: \"\(base.source)\"\n    tag: \"\(base.tag)\"\n    platforms:\n"
      for (platform, digest) in base.platforms.sorted(by: { $0.key < $1.key }) {
        text += "      \(platform): \(digest)\n"
      }
    }
    if !catalogs.isEmpty { text += "catalogs:\n" }
    for (name, catalog) in catalogs.sorted(by: { $0.key < $1.key }) {
      text += "  \"\(name)\":\n    git: \"\(catalog.source.repository)\"\n"
      text += "    revision: \"\(catalog.source.revision)\"\n"
      if !catalog.source.path.isEmpty { text += "    path: \(Self.quoted(catalog.source.path))\n" }
      text += "    digest: \(catalog.digest)\n"
    }
    text += epochs.isEmpty ? "epochs: {}\n" : "epochs:\n"
    for (fragment, epoch) in epochs.sorted(by: { $0.key.description < $1.key.description }) {
      text += "  \"\(fragment)\": \(epoch)\n"
    }
    return text
  }

  /// In YAML's double quotes.
  private static func quoted(_ text: String) -> String {
    "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
  }

  /// The lock of a catalog; an empty one where there is no file.
  package static func load(_ tree: CatalogTree) throws(CatalogErrors) -> Lock {
    guard let bytes = tree.file(fileName) else { return Lock() }
    return try parse(bytes, file: fileName)
  }

  /// - Parameter file: for messages.
  package static func parse(_ bytes: Data, file: String) throws(CatalogErrors) -> Lock {
    let found = Diagnostics()
    var lock = Lock()
    if let content = YAMLValue.parse(bytes, file: file, into: found) {
      let fields = Fields(content, file: file, found: found)
      for member in fields.members("bases") {
        if let base = base(member, file, found) { lock.bases[member.key] = base }
      }
      let loader = CatalogLoader(tree: try CatalogTree([]), found: found)
      for member in fields.members("catalogs") {
        let item = Fields(member.value, file: file, prefix: "catalogs.\(member.key).", found: found)
        let source = loader.gitSource(item)
        let text = item.requireString("digest")
        item.finish()
        let digest = text.flatMap { Digest($0.value) }
        if let text, digest == nil {
          item.report("digest", line: text.line, "expected a digest: sha256: and 64 hex digits")
        }
        if let source, let digest { lock.catalogs[member.key] = ForeignCatalog(source: source, digest: digest) }
      }
      for member in fields.members("epochs") {
        let key = Located(member.key, line: member.line)
        guard let id = loader.fragmentVersion(key, "epochs.\(member.key)", fields) else { continue }
        guard case .scalar(let text, _) = member.value.content, let epoch = Int(text), epoch >= 0 else {
          fields.report("epochs.\(member.key)", line: member.line, "expected seconds since 1970")
          continue
        }
        lock.epochs[id.value] = epoch
      }
      fields.finish()
    }
    try found.throwIfAny()
    return lock
  }

  private static func base(_ member: YAMLValue.Member, _ file: String, _ found: Diagnostics) -> Base? {
    let fields = Fields(member.value, file: file, prefix: "bases.\(member.key).", found: found)
    let source = fields.requireString("source")
    let tag = fields.requireString("tag")
    var platforms: [Platform: Digest] = [:]
    for entry in fields.members("platforms") {
      let field = "platforms.\(entry.key)"
      guard let platform = Platform(entry.key) else {
        fields.report(field, line: entry.line, "'\(entry.key)' is not a platform")
        continue
      }
      guard case .scalar(let text, _) = entry.value.content, let digest = Digest(text) else {
        fields.report(field, line: entry.line, "expected a digest: sha256: and 64 hex digits")
        continue
      }
      platforms[platform] = digest
    }
    fields.finish()
    guard let source, let tag else { return nil }
    guard Reference.isSource(source.value), Name.isTag(tag.value) else {
      fields.report(
        "source", line: source.line, "'\(source.value)' with the tag '\(tag.value)' is not a place of an image")
      return nil
    }
    return Base(source: source.value, tag: tag.value, platforms: platforms)
  }
}

/// A base image that must be locked before anything can be planned.
package struct NeededBase: Sendable, Hashable {
  package var base: BaseDefinition
  /// Sorted.
  package var platforms: [Platform]
}

extension Catalog {
  /// The bases of these products (of all, by default) and of their fragments' stages, by name.
  package func lockedBasesNeeded(products names: [String] = []) -> [NeededBase] {
    var needed: [String: Set<Platform>] = [:]
    for product in products.values where names.isEmpty || names.contains(product.name) {
      for target in product.targets {
        let manifest = (target.manifest ?? product.manifest).value
        for variant in variants(of: product, manifest: manifest) {
          guard let composition = try? compose(manifest: manifest, choice: variant.choice) else { continue }
          for base in bases(of: composition) { needed[base.name, default: []].insert(target.target.platform) }
        }
      }
    }
    return needed.sorted { $0.key < $1.key }.compactMap { name, platforms in
      settings.bases[name].map { NeededBase(base: $0, platforms: platforms.sorted()) }
    }
  }

  /// The composition's base first, then those that its parts take something from.
  package func bases(of composition: Composition) -> [BaseDefinition] {
    var bases = [composition.base]
    for part in composition.parts {
      let instructions = part.texts.flatMap(\.instructions)
      let stages = Set(instructions.compactMap(\.stageName))
      for image in instructions.flatMap(\.originNames) where !stages.contains(image) {
        if let base = settings.bases[image], !bases.contains(base) { bases.append(base) }
      }
    }
    return bases
  }
}
