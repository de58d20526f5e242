package import Model

// How to use this module:
//
//   let tree = try CatalogTree(directory: url)             // or CatalogTree(tar: data)
//   let catalog = try Catalog.load(tree)                   // throws CatalogErrors: every diagnostic at once
//   let lock = try Lock.load(tree)                         // empty where there is no catalog.lock
//   catalog.lockedBasesNeeded(products:)                   // what `kiln lock` resolves: [NeededBase]
//   catalog.refreshingFragments                            // what it writes epochs for: [Fragment]
//   lock.text()                                            // what it writes
//   let composition = try catalog.compose(manifest: "hello", choice: ["app": "1.1.0"])
//   try catalog.render(composition, platform: platform, lock: lock).text   // `kiln render`
//
// Everything is a pure function of the tree, but `CatalogTree(directory:)`, which reads files.

/// A checked catalog: every name in it that refers to something else is known to exist.
package struct Catalog: Sendable, Hashable {
  package let tree: CatalogTree
  package let settings: CatalogSettings
  package internal(set) var products: [String: Product] = [:]
  package internal(set) var manifests: [String: ProductManifest] = [:]
  package internal(set) var templates: [FragmentVersion: Template] = [:]
  package internal(set) var fragments: [FragmentVersion: Fragment] = [:]
  package internal(set) var testPlans: [String: TestPlan] = [:]

  init(tree: CatalogTree, settings: CatalogSettings) {
    self.tree = tree
    self.settings = settings
  }

  /// Reads and checks all definitions; throws everything that is wrong at once.
  package static func load(_ tree: CatalogTree) throws(CatalogErrors) -> Catalog {
    let found = Diagnostics()
    let loader = CatalogLoader(tree: tree, found: found)
    var catalog = Catalog(tree: tree, settings: loader.settings())
    for file in loader.definitions(in: "manifests") {
      if let manifest = loader.manifest(file) { catalog.manifests[file.name] = manifest }
    }
    for folder in loader.versions(in: "templates") {
      if let template = loader.template(folder, bases: catalog.settings.bases) {
        catalog.templates[folder.id] = template
      }
    }
    let foreign = catalog.settings.catalogs.keys.sorted().flatMap { loader.versions(in: "fragments", of: $0) }
    for folder in loader.versions(in: "fragments") + foreign {
      if let fragment = loader.fragment(folder, bases: catalog.settings.bases) {
        catalog.fragments[folder.id] = fragment
      }
    }
    for file in loader.definitions(in: "products") {
      if let product = loader.product(file) { catalog.products[file.name] = product }
    }
    for file in loader.definitions(in: "plans") {
      if let plan = loader.testPlan(file) { catalog.testPlans[file.name] = plan }
    }
    CatalogCheck(catalog: catalog, unread: loader.unread, found: found).run()
    try found.throwIfAny()
    return catalog
  }

  /// Versions of a fragment, sorted.
  package func versions(ofFragment name: String) -> [String] {
    fragments.keys.filter { $0.name == name }.map(\.version).sorted()
  }

  /// Fragments whose result depends on the outside, by name and version: the lock keeps their epochs.
  package var refreshingFragments: [Fragment] {
    fragments.values.filter { $0.refreshSeconds != nil }.sorted { $0.id.description < $1.id.description }
  }
}

extension Catalog {
  /// What `kiln lock` writes of each other catalog whose files are here.
  package var foreignLocks: [String: Lock.ForeignCatalog] {
    settings.catalogs.mapValues { Lock.ForeignCatalog(source: $0.source, digest: tree.digest(of: $0)) }
  }

  /// Other catalogs whose files are not what is locked.
  package func unlockedCatalogs(_ lock: Lock) -> [Diagnostic] {
    settings.catalogs.values.sorted { $0.name < $1.name }.compactMap { catalog in
      func wrong(_ message: String, _ hint: String) -> Diagnostic {
        Diagnostic(
          file: settingsFile, line: catalog.line, field: "catalogs.\(catalog.name)", message, suggestion: .hint(hint))
      }
      guard let locked = lock.catalogs[catalog.name], locked.source == catalog.source else {
        return wrong("the catalog '\(catalog.name)' is not locked at \(catalog.source.revision)", "run 'kiln lock'")
      }
      if locked.digest == tree.digest(of: catalog) { return nil }
      return wrong(
        "the files of '\(catalog.name)' are not those that were locked, though the revision is the same",
        "find out why; 'kiln lock --refresh' takes them as they are")
    }
  }

  /// For messages.
  package var settingsFile: String {
    CatalogTree.files.first { $0 != Lock.fileName && tree[$0] != nil } ?? CatalogTree.files[0]
  }

  /// For a request that names a product which is not there.
  package func unknownProduct(_ name: String) -> Diagnostic {
    Diagnostic(
      file: "products", "there is no product '\(name)'",
      suggestion: NearestName.suggestion(for: name, among: products.keys.sorted()))
  }
}
