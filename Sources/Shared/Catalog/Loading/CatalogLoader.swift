import Foundation
import Model

/// Turns files into definitions, one at a time; what refers to another definition is checked later.
final class CatalogLoader {
  struct DefinitionFile {
    let name: String
    let path: String
    let content: YAMLValue
  }

  struct VersionFolder {
    let id: FragmentVersion
    /// Without the name of another catalog that it comes from.
    var ownName: String
    var path: String
  }

  let tree: CatalogTree
  let found: Diagnostics
  /// Definitions that exist but could not be read in full: what refers to them, or misses what they
  /// would say, is no error of its own.
  private(set) var unread = Unread()

  struct Unread {
    var products: Set<String> = []
    var manifests: Set<String> = []
    var templates: Set<FragmentVersion> = []
    var fragments: Set<FragmentVersion> = []
    var bases = false
  }

  static let extensions = ["yml", "yaml", "json"]

  init(tree: CatalogTree, found: Diagnostics) {
    self.tree = tree
    self.found = found
  }

  // MARK: Finding

  /// `folder/NAME.yml` and its like, by name.
  func definitions(in folder: String) -> [DefinitionFile] {
    var byName: [String: DefinitionFile] = [:]
    for entry in tree.names(in: folder) {
      let path = "\(folder)/\(entry)"
      guard let (name, _) = Self.splitExtension(entry) else {
        found.add(path, nil, "is not a definition: expected NAME.yml, NAME.yaml or NAME.json")
        continue
      }
      guard Name.isValid(name) else {
        found.add(path, nil, "'\(name)' is not a name: \(Fields.nameRule)")
        continue
      }
      if let other = byName[name] {
        found.add(path, nil, "'\(name)' is defined in \(other.path) too")
        continue
      }
      guard let bytes = tree.file(path) else {
        found.add(path, nil, "is not a file")
        continue
      }
      if let content = YAMLValue.parse(bytes, file: path, into: found) {
        byName[name] = DefinitionFile(name: name, path: path, content: content)
      } else {
        miss(name, in: folder)
      }
    }
    return byName.values.sorted { $0.name < $1.name }
  }

  private func miss(_ name: String, in folder: String) {
    switch folder {
    case "manifests": unread.manifests.insert(name)
    case "products": unread.products.insert(name)
    default: break
    }
  }

  func missed(_ id: FragmentVersion, in folder: String) {
    if folder == "templates" { unread.templates.insert(id) } else { unread.fragments.insert(id) }
  }

  func missedManifest(_ name: String) { unread.manifests.insert(name) }

  private static func splitExtension(_ file: String) -> (name: String, ext: String)? {
    guard let dot = file.lastIndex(of: ".") else { return nil }
    let ext = String(file[file.index(after: dot)...])
    return extensions.contains(ext) ? (String(file[..<dot]), ext) : nil
  }

  /// `folder/NAME/VERSION`, by name and version. What is from another catalog is called `catalog.name`.
  func versions(in folder: String, of catalog: String? = nil) -> [VersionFolder] {
    let folder = catalog.map { "\(CatalogTree.foreignFolder)/\($0)/\(folder)" } ?? folder
    var folders: [VersionFolder] = []
    for name in tree.names(in: folder) {
      let fullName = catalog.map { "\($0).\(name)" } ?? name
      guard Name.isValid(name), Name.isValid(fullName) else {
        found.add("\(folder)/\(name)", nil, "'\(fullName)' is not a name: \(Fields.nameRule)")
        continue
      }
      for version in tree.names(in: "\(folder)/\(name)") {
        let path = "\(folder)/\(name)/\(version)"
        if tree[path] != nil {
          found.add(path, nil, "a file where a folder for a version is expected")
        } else if !Name.isTag(version) {
          found.add(path, nil, "'\(version)' is not a version: \(Fields.versionRule)")
        } else {
          let id = FragmentVersion(name: fullName, version: version)
          folders.append(VersionFolder(id: id, ownName: name, path: path))
        }
      }
      if tree["\(folder)/\(name)"] != nil {
        found.add("\(folder)/\(name)", nil, "a file where a folder with versions is expected")
      }
    }
    return folders
  }

  /// `BASE.yml` and its like; nil where there is none. Two are an error.
  func document(_ base: String, in folder: String = "") -> (path: String, content: YAMLValue)? {
    let paths = Self.extensions.map { (folder.isEmpty ? "" : folder + "/") + "\(base).\($0)" }
    let existing = paths.filter { tree[$0] != nil }
    guard let path = existing.first else {
      found.add(paths[0], nil, "is missing")
      return nil
    }
    for other in existing.dropFirst() { found.add(other, nil, "there is \(path) too") }
    guard let bytes = tree.file(path) else {
      found.add(path, nil, "is not a file")
      return nil
    }
    return YAMLValue.parse(bytes, file: path, into: found).map { (path, $0) }
  }

  /// A text file; CR line ends, byte order marks and what is not UTF-8 are refused.
  func text(_ path: String) -> String? {
    guard let bytes = tree.file(path) else {
      found.add(path, nil, tree[path] == nil ? "is missing" : "is not a regular file")
      return nil
    }
    guard bytes.count <= YAMLValue.maxBytes, let text = String(validating: bytes, as: UTF8.self) else {
      found.add(path, nil, "is not UTF-8, or has more than \(YAMLValue.maxBytes) bytes")
      return nil
    }
    if text.unicodeScalars.first == "\u{FEFF}" {
      found.add(path, 1, "begins with a byte order mark; save it without")
      return nil
    }
    if let carriage = text.utf8.firstIndex(of: 13) {
      let line = text.utf8[..<carriage].count { $0 == 10 } + 1
      found.add(path, line, "a carriage return; save the file with plain line ends")
      return nil
    }
    if let zero = text.utf8.firstIndex(of: 0) {
      found.add(path, text.utf8[..<zero].count { $0 == 10 } + 1, "a NUL byte")
      return nil
    }
    return text
  }

  // MARK: catalog.yml

  func settings() -> CatalogSettings {
    var settings = CatalogSettings(
      name: "", registry: nil, bases: [:], maxVariants: CatalogSettings.standardMaxVariants)
    guard let (path, content) = document("catalog") else {
      unread.bases = true
      return settings
    }
    let fields = Fields(content, file: path, found: found)
    settings.name = fields.checkedName(fields.requireString("name"), "name")?.value ?? ""
    if let registry = fields.string("registry") {
      if Reference.isRegistryPrefix(registry.value) {
        settings.registry = registry.value
      } else {
        fields.report("registry", line: registry.line, "'\(registry.value)' is not host[:port][/prefix]")
      }
    }
    for member in fields.members("bases") {
      if let base = base(member, fields) { settings.bases[base.name] = base } else { unread.bases = true }
    }
    readMirrors(fields, &settings)
    if let maximum = fields.integer("maxVariants", in: 1...100_000) { settings.maxVariants = maximum }
    settings.contextPaths = contextPaths(fields)
    for member in fields.members("catalogs") {
      if let catalog = foreignCatalog(member, fields) { settings.catalogs[catalog.name] = catalog }
    }
    fields.finish()
    return settings
  }

  private func contextPaths(_ fields: Fields) -> [Located<String>] {
    let paths = fields.strings("context")
    for (index, path) in paths.enumerated() {
      if !CatalogTree.isContextPath(path.value) {
        fields.report(
          "context[\(index)]", line: path.line,
          "'\(path.value)' is not a folder or file beside the definitions that fragments may name")
      } else if tree[path.value] == nil, tree.entries(below: path.value).isEmpty {
        fields.report("context[\(index)]", line: path.line, "there is no '\(path.value)' in the catalog")
      }
    }
    return paths
  }

  private func foreignCatalog(_ member: YAMLValue.Member, _ parent: Fields) -> ForeignCatalog? {
    let fields = Fields(member.value, file: parent.file, prefix: "catalogs.\(member.key).", found: found)
    let source = gitSource(fields)
    fields.finish()
    guard parent.checkedName(Located(member.key, line: member.line), "catalogs.\(member.key)") != nil else {
      return nil
    }
    let own = tree.names(in: "fragments").first { $0.hasPrefix(member.key + ".") }
    if let own {
      parent.report(
        "catalogs.\(member.key)", line: member.line,
        "the fragment '\(own)' of this catalog has the name of one of '\(member.key)'")
    }
    return source.map { ForeignCatalog(name: member.key, source: $0, line: member.line) }
  }

  /// `git`, `revision` and, optionally, `path`.
  func gitSource(_ fields: Fields) -> GitSource? {
    let repository = fields.requireString("git")
    let revision = fields.requireString("revision")
    let path = fields.string("path")
    guard let repository, let revision else { return nil }
    guard Reference.isGitRepository(repository.value) else {
      fields.report(
        "git", line: repository.line,
        "'\(repository.value)' is not a place that git may fetch from: https://…, ssh://…, user@host:path, or a path")
      return nil
    }
    guard Reference.isCommit(revision.value) else {
      fields.report(
        "revision", line: revision.line, "'\(revision.value)' is not a whole commit id, and what is not one can move",
        suggestion: .hint("say the 40 hex digits that 'git rev-parse' prints"))
      return nil
    }
    if let path, !Reference.isInnerPath(path.value) {
      fields.report("path", line: path.line, "'\(path.value)' is not a folder in a repository")
      return nil
    }
    return GitSource(repository: repository.value, revision: revision.value, path: path?.value ?? "")
  }

  /// `host/repository: host/repository`: where this site keeps its copy of an image.
  private func readMirrors(_ fields: Fields, _ settings: inout CatalogSettings) {
    let sources = settings.bases.values.filter { $0.layoutPath == nil }.map(\.source)
    for member in fields.members("mirrors") {
      let field = "mirrors.\(member.key)"
      guard let place = fields.text(of: member.value, field) else { continue }
      guard Reference.isSource(place.value), !place.value.hasPrefix(BaseDefinition.layoutPrefix) else {
        fields.report(
          field, line: place.line, "'\(place.value)' is not host[:port]/repository (without tag or digest)")
        continue
      }
      if !sources.contains(member.key), !unread.bases {
        fields.report(
          field, line: member.line, "no base image comes from '\(member.key)'",
          suggestion: NearestName.suggestion(for: member.key, among: Set(sources).sorted()))
      }
      for (name, base) in settings.bases where base.source == member.key { settings.bases[name]?.mirror = place.value }
    }
  }

  private func base(_ member: YAMLValue.Member, _ parent: Fields) -> BaseDefinition? {
    let fields = Fields(member.value, file: parent.file, prefix: "bases.\(member.key).", found: found)
    let source = fields.requireString("source")
    let tag = fields.string("tag")
    fields.finish()
    guard Reference.isBaseName(member.key) else {
      parent.report("bases.\(member.key)", line: member.line, "'\(member.key)' is not a name of a base image")
      return nil
    }
    guard let source else { return nil }
    guard Reference.isSource(source.value) else {
      fields.report(
        "source", line: source.line,
        "'\(source.value)' is neither host[:port]/repository (without tag or digest) nor oci-layout:PATH")
      return nil
    }
    if let tag, !Name.isTag(tag.value) {
      fields.report("tag", line: tag.line, "'\(tag.value)' is not a tag: \(Fields.versionRule)")
      return nil
    }
    return BaseDefinition(name: member.key, source: source.value, tag: tag?.value ?? "latest", line: member.line)
  }

  // MARK: What several definitions say

  /// The field `name` may be left out; where it is said, it agrees with the file's place.
  func checkName(_ fields: Fields, is name: String, required: Bool = false, field: String = "name") {
    guard let said = required ? fields.requireString(field) : fields.string(field) else { return }
    if said.value != name {
      let names = field == "name" ? fields.checkedName(said, field) : fields.checkedVersion(said, field)
      if names != nil {
        fields.report(field, line: said.line, "'\(said.value)' does not agree with the path, which says '\(name)'")
      }
    }
  }

  /// `name@version`
  func fragmentVersion(_ text: Located<String>, _ field: String, _ fields: Fields) -> Located<FragmentVersion>? {
    let parts = text.value.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2 else {
      fields.report(field, line: text.line, "'\(text.value)' is not name@version")
      return nil
    }
    guard let name = fields.checkedName(Located(parts[0], line: text.line), field),
      let version = fields.checkedVersion(Located(parts[1], line: text.line), field)
    else { return nil }
    return Located(FragmentVersion(name: name.value, version: version.value), line: text.line)
  }

  func tests(_ fields: Fields) -> [SmokeTest] {
    var names: Set<String> = []
    return fields.mappings("tests").compactMap { item in
      let name = item.checkedName(item.requireString("name"), "name")
      let command = item.require("command").map { value in
        item.items(of: value, "command").enumerated().compactMap { item.text(of: $1, "command[\($0)]")?.value }
      }
      let seconds = item.integer("timeoutSeconds", in: 1...3600)
      let expected = item.string("expectedOutput")
      item.finish()
      guard let name, let command else { return nil }
      if !names.insert(name.value).inserted { item.report("name", line: name.line, "'\(name.value)' is there twice") }
      guard let program = command.first, !program.isEmpty, !program.hasPrefix("-") else {
        item.report("command", line: item.line(of: "command"), "expected a program and its arguments, as a list")
        return nil
      }
      return SmokeTest(
        name: name.value, command: command, timeoutSeconds: seconds ?? 60, expectedOutput: expected?.value)
    }
  }

  /// `name: value`, all strings.
  func dictionary(_ name: String, _ fields: Fields) -> [String: Located<String?>] {
    var pairs: [String: Located<String?>] = [:]
    for member in fields.members(name) {
      let field = "\(name).\(member.key)"
      if case .null = member.value.content {
        pairs[member.key] = Located(nil, line: member.line)
      } else if let text = fields.text(of: member.value, field) {
        pairs[member.key] = Located(text.value, line: text.line)
      }
    }
    return pairs
  }
}
