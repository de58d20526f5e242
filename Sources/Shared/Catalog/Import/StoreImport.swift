import Foundation
import Model

/// Turns the prototype's store into a catalog that renders the same Dockerfiles. Pure: files in, files out.
///
/// There, a fragment replaces the text from its marker to the marker's end, and not that line's end: in
/// the catalog's template an empty line stands for it. COPY paths are relative to the store's root and
/// stay so, therefore what is named lies at the same path in the catalog.
package struct StoreImport {
  let store: [String: CatalogTree.Content]
  let tree: CatalogTree
  var draft = CatalogDraft()
  /// Markers that manifests fill, by template.
  var filled: [FragmentVersion: [Set<String>]] = [:]
  var modules: [FragmentVersion: StoreModule] = [:]
  var templates: [FragmentVersion: StoreTemplate] = [:]
  var manifests: Set<String> = []
  private var context: Set<String> = []

  private init(_ entries: [CatalogTree.Entry]) throws(CatalogErrors) {
    tree = try CatalogTree(store: entries)
    store = Dictionary(entries.map { ($0.path, $0.content) }, uniquingKeysWith: { first, _ in first })
  }

  /// Throws where it is no such store, or one of its documents cannot be read.
  package static func run(_ entries: [CatalogTree.Entry], name: String) throws(CatalogErrors) -> CatalogDraft {
    var work = try StoreImport(entries)
    let manifests = try work.document(StorePath.manifests, required: true)
    let products = try work.document(StorePath.products)
    let plans = try work.document(StorePath.plans)
    for (id, value) in manifests.sorted(by: { $0.key < $1.key }) { work.readManifest(id, value) }
    work.readTheRest()
    for (id, value) in manifests.sorted(by: { $0.key < $1.key }) { work.writeManifest(id, value) }
    for (id, value) in products.sorted(by: { $0.key < $1.key }) { work.writeProduct(id, value) }
    for (id, value) in plans.sorted(by: { $0.key < $1.key }) { work.writePlan(id, value) }
    for id in work.templates.keys.sorted(by: { $0.description < $1.description }) { work.writeTemplate(id) }
    for id in work.modules.keys.sorted(by: { $0.description < $1.description }) { work.writeModule(id) }
    let settingsName = work.draft.name(name, ".", "name") ?? "imported"
    work.draft.writeSettings(name: settingsName, context: work.context)
    return work.draft
  }

  /// Paths to read besides what is read already: call it until there are no more.
  package static func needed(_ entries: [CatalogTree.Entry]) -> Set<String> {
    let files = Dictionary(entries.map { ($0.path, $0.content) }, uniquingKeysWith: { first, _ in first })
    var paths: Set<String> = [
      StorePath.manifests, StorePath.products, StorePath.plans, StorePath.modules, StorePath.templates,
    ]
    for (_, manifest) in StoreValue.parse(files[StorePath.manifests])?.fields ?? [:] {
      let templates = [manifest["template"]?["path"]?.text]
      let modules = (manifest["modules"]?.items ?? []).map { $0["path"]?.text }
      paths.formUnion((templates + modules).compactMap { $0.flatMap(StorePath.plain) })
    }
    for (path, content) in files where path.hasSuffix("/" + StorePath.fragment) {
      guard let text = CatalogDraft.plainText(content) else { continue }
      let parsed = DockerfileParser.parse(text, file: path, into: Diagnostics())
      paths.formUnion(parsed.writtenContextPaths.map(DockerfileText.fixedPart).filter { !$0.isEmpty })
    }
    return paths
  }

  private func document(_ path: String, required: Bool = false) throws(CatalogErrors) -> [String: StoreValue] {
    guard let content = store[path] else {
      if !required { return [:] }
      throw CatalogErrors([
        Diagnostic(file: path, "is missing: this is not a store", suggestion: .hint("name the folder that holds it"))
      ])
    }
    guard let fields = StoreValue.parse(content)?.fields else {
      throw CatalogErrors([Diagnostic(file: path, "is not a JSON object")])
    }
    return fields
  }

  /// What nobody has asked for, with its place.
  mutating func leaveUnknown(_ value: StoreValue, known: Set<String>, _ file: String, _ prefix: String) {
    for field in (value.fields ?? [:]).keys.sorted() where !known.contains(field) {
      draft.leave(file, prefix + field, "a catalog has nothing like it")
    }
  }

  // MARK: Modules

  private mutating func writeModule(_ id: FragmentVersion) {
    guard let module = modules[id] else { return }
    let folder = "fragments/\(id.name)/\(id.version)"
    var text = "name: \(id.name)\nversion: \(CatalogDraft.quoted(id.version))\n"
    text += "description: \(CatalogDraft.quoted(module.description))\n"
    if let order = module.order { text += "order: \(order)\n" }
    text += "# Its paths are relative to the catalog's folder.\ncontext: catalog\n"
    draft.write("\(folder)/fragment.yml", text)
    draft.write("\(folder)/\(CatalogLoader.fragmentFile)", module.text)
    var taken: Set<String> = [module.file, module.textFile]
    let sources = ContextSources(folder: "", tree: tree)
    for path in DockerfileParser.parse(module.text, file: module.textFile, into: Diagnostics()).writtenContextPaths {
      // What matches nothing is said by the check of the finished catalog.
      for entry in (try? sources.entries(path)) ?? [] {
        let top = CatalogTree.top(of: entry.path)
        guard CatalogTree.isContextPath(top) else {
          draft.leave(
            module.textFile, nil, "'\(entry.path)': a catalog cannot have files of its own called '\(top)'",
            hint: "move them elsewhere in the store")
          continue
        }
        context.insert(top)
        guard let content = tree[entry.path] else { continue }
        draft.write(CatalogTree.Entry(path: entry.path, content: content))
        taken.insert(entry.path)
      }
    }
    for entry in tree.entries(below: module.folder) where !taken.contains(entry.path) && draft.files[entry.path] == nil
    {
      draft.leave(entry.path, nil, "no COPY, ADD or mount of the fragment names it")
    }
  }
}

extension CatalogTree {
  /// Any files, by the same rules.
  init(store entries: [Entry]) throws(CatalogErrors) { try self.init(entries) { _ in true } }
}
