package import Model

/// One thing that a lock says otherwise than the one before it.
package struct LockChange: Sendable, Hashable {
  package enum Moved: Sendable, Hashable {
    /// Nil before: new; nil after: nobody refers to it any more.
    case base(name: String, Platform, from: Digest?, to: Digest?)
    /// A base's place or tag: what is locked for it came from elsewhere.
    case source(name: String, from: String, to: String)
    /// Seconds since 1970.
    case epoch(FragmentVersion, from: Int?, to: Int?)
  }

  package var moved: Moved
}

extension Lock {
  /// What moved between `old` and this one: bases by name and platform, then epochs.
  package func changes(since old: Lock) -> [LockChange] {
    var changes: [LockChange.Moved] = []
    for name in Set(bases.keys).union(old.bases.keys).sorted() {
      let (before, after) = (old.bases[name], bases[name])
      if let before, let after, (before.source, before.tag) != (after.source, after.tag) {
        changes.append(
          .source(name: name, from: "\(before.source):\(before.tag)", to: "\(after.source):\(after.tag)"))
      }
      let platforms = Set(before?.platforms.keys.map(\.self) ?? []).union(after?.platforms.keys.map(\.self) ?? [])
      for platform in platforms.sorted() where before?.platforms[platform] != after?.platforms[platform] {
        changes.append(
          .base(name: name, platform, from: before?.platforms[platform], to: after?.platforms[platform]))
      }
    }
    let fragments = Set(epochs.keys).union(old.epochs.keys).sorted { $0.description < $1.description }
    for fragment in fragments where epochs[fragment] != old.epochs[fragment] {
      changes.append(.epoch(fragment, from: old.epochs[fragment], to: epochs[fragment]))
    }
    return changes.map(LockChange.init)
  }
}

/// What somebody wants to look at again on purpose.
package struct LockRefresh: Sendable, Hashable {
  package var bases: Set<String>
  package var fragments: Set<FragmentVersion>

  package static let nothing = LockRefresh(bases: [], fragments: [])
}

extension Catalog {
  package var wholeRefresh: LockRefresh {
    LockRefresh(bases: Set(settings.bases.keys), fragments: Set(refreshingFragments.map(\.id)))
  }

  /// Each name is a fragment (all its versions), `fragment@version`, or a base. Throws for one that is
  /// none of them, or that does not depend on the outside.
  package func refresh(named names: [String]) throws(CatalogErrors) -> LockRefresh {
    var refresh = LockRefresh.nothing
    var wrong: [Diagnostic] = []
    let refreshing = refreshingFragments.map(\.id)
    for name in names {
      let chosen = refreshing.filter { $0.name == name || $0.description == name }
      refresh.fragments.formUnion(chosen)
      let isBase = settings.bases[name] != nil
      if isBase { refresh.bases.insert(name) }
      guard chosen.isEmpty, !isBase else { continue }
      if let fragment = fragments.values.first(where: { $0.id.name == name || $0.id.description == name }) {
        wrong.append(
          Diagnostic(
            file: fragment.file, field: "refresh", "'\(name)' does not depend on the outside: it has no epoch to move",
            suggestion: .hint("say 'refresh: 7d' or the like where it does")))
      } else {
        let known = Set(refreshing.map(\.name)).union(refreshing.map(\.description)).union(settings.bases.keys)
        wrong.append(
          Diagnostic(
            file: Lock.fileName, "there is neither a fragment nor a base '\(name)'",
            suggestion: NearestName.suggestion(for: name, among: known.sorted())))
      }
    }
    guard wrong.isEmpty else { throw CatalogErrors(wrong) }
    return refresh
  }
}
