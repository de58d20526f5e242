import Foundation

/// Versions that somebody may have built must stay what they are.
package enum ReleasedVersions {
  /// What differs in the versions of fragments and templates that were there `before`: a version is
  /// released once it is committed. A version may go as a whole; in a fragment's definition only
  /// `deprecated` and `description`, which build nothing, may change.
  package static func changes(from before: CatalogTree, to after: CatalogTree, revision: String) -> [Diagnostic] {
    var changes: [Diagnostic] = []
    for folder in folders(of: before) {
      let new = files(below: folder, of: after)
      if new.isEmpty { continue }
      let old = files(below: folder, of: before)
      for path in Set(old.keys).union(new.keys).sorted() {
        guard let what = change(path, old[path], new[path]) else { continue }
        changes.append(
          Diagnostic(
            file: path, "\(what), but \(title(folder)) was released with \(revision)",
            suggestion: .hint("leave it as it was, and make a new version: a folder beside \(folder)")))
      }
    }
    return changes
  }

  private static func folders(of tree: CatalogTree) -> [String] {
    ["fragments", "templates"].flatMap { kind in
      tree.names(in: kind).flatMap { name in
        tree.names(in: "\(kind)/\(name)").map { "\(kind)/\(name)/\($0)" }
      }
    }.filter { tree[$0] == nil }
  }

  private static func title(_ folder: String) -> String {
    folder.split(separator: "/").dropFirst().joined(separator: "@")
  }

  private static func files(below folder: String, of tree: CatalogTree) -> [String: CatalogTree.Content] {
    Dictionary(uniqueKeysWithValues: tree.entries(below: folder).map { ($0.path, $0.content) })
  }

  private static func change(_ path: String, _ old: CatalogTree.Content?, _ new: CatalogTree.Content?) -> String? {
    guard let old else { return "was added" }
    guard let new else { return "was removed" }
    if old == new { return nil }
    if case .file(let before, let was) = old, case .file(let after, let now) = new {
      if before == after, was != now { return "was made \(now ? "" : "not ")executable" }
      let name = path.split(separator: "/").dropFirst(3).joined(separator: "/")
      if ["fragment.yml", "fragment.yaml", "fragment.json"].contains(name), was == now,
        let one = YAMLValue.parse(before, file: path, into: Diagnostics()),
        let two = YAMLValue.parse(after, file: path, into: Diagnostics()),
        one.outline(without: ["deprecated", "description"]) == two.outline(without: ["deprecated", "description"])
      {
        return nil
      }
    }
    return "was changed"
  }
}

extension YAMLValue {
  /// What it says, whatever its layout; of a mapping at the root, without some fields.
  fileprivate func outline(without fields: Set<String> = []) -> String {
    switch content {
    case .null: "null"
    case .scalar(let text, let plain): "\(plain ? "plain" : "text")\(text.utf8.count):\(text)"
    case .list(let items): "[" + items.map { $0.outline() }.joined(separator: ",") + "]"
    case .map(let members):
      "{"
        + members.filter { !fields.contains($0.key) }.sorted { $0.key < $1.key }
        .map { "\($0.key.utf8.count):\($0.key)=\($0.value.outline())" }.joined(separator: ",") + "}"
    }
  }
}
