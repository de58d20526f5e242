import Catalog
import Foundation
import Model
import Registry

/// Looks up what a catalog takes from outside and pins it.
struct Locker {
  let loaded: LoadedCatalog
  let refresh: LockRefresh

  func lock() async throws -> Lock {
    var lock = loaded.lock
    let needed = loaded.catalog.lockedBasesNeeded()
    let sources = Sources(catalogFolder: loaded.folder)
    // What nobody refers to any more goes.
    lock.bases = lock.bases.filter { name, _ in needed.contains { $0.base.name == name } }
    for need in needed {
      let isComplete = need.platforms.allSatisfy { lock.digest(of: need.base, $0) != nil }
      if isComplete, !refresh.bases.contains(need.base.name) { continue }
      let found = try await resolve(need.base, sources)
      for platform in need.platforms where found[platform] == nil {
        throw wrong(
          need.base, "\(need.base.place):\(need.base.tag) has no image for \(platform)",
          hint: "it has \(found.keys.sorted().map(\.description).joined(separator: ", "))")
      }
      lock.bases[need.base.name] = Lock.Base(
        source: need.base.source, tag: need.base.tag, platforms: found.filter { need.platforms.contains($0.key) })
    }
    for (name, found) in loaded.catalog.foreignLocks
    where lock.catalogs[name]?.source != found.source {
      lock.catalogs[name] = found
    }
    lock.catalogs = lock.catalogs.filter { name, _ in loaded.catalog.settings.catalogs[name] != nil }
    let now = Int(Date().timeIntervalSince1970)
    lock.epochs = lock.epochs.filter { id, _ in loaded.catalog.fragments[id] != nil }
    for fragment in loaded.catalog.refreshingFragments
    where refresh.fragments.contains(fragment.id) || lock.epochs[fragment.id] == nil {
      lock.epochs[fragment.id] = now
    }
    return lock
  }

  /// What the place answers, it answers about what the catalog says.
  private func resolve(_ base: BaseDefinition, _ sources: Sources) async throws -> [Platform: Digest] {
    do {
      return try await sources.resolve(base)
    } catch let failure as Failure where failure.failureClass == .input {
      throw wrong(base, failure.message, hint: failure.hint)
    }
  }

  private func wrong(_ base: BaseDefinition, _ message: String, hint: String?) -> CatalogErrors {
    CatalogErrors([
      Diagnostic(
        file: loaded.catalog.settingsFile, line: base.line, field: "bases.\(base.name)",
        message,
        suggestion: hint.map { .hint($0) })
    ])
  }
}
