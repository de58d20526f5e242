import Model

/// A reference as docker users write it: `debian`, `debian:12`, `host:5000/team/app:1@sha256:…`.
struct ImageName {
  /// `host[:port]/repository`, as `catalog.yml` wants it.
  var source: String
  /// Without the registry.
  var repository: String
  /// Nil where it is docker's own registry.
  var host: String?
  var tag: String?
  var digest: String?

  /// What manifests call it: as it was written, without the digest.
  var baseName: String

  private static let standardHost = "docker.io"

  init?(_ text: String) {
    let parts = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    digest = parts.count > 1 ? parts[1] : nil
    baseName = parts[0]
    let slash = baseName.lastIndex(of: "/") ?? baseName.startIndex
    var path = baseName
    if let colon = baseName[slash...].lastIndex(of: ":") {
      tag = String(baseName[baseName.index(after: colon)...])
      path = String(baseName[..<colon])
    }
    let first = path.prefix { $0 != "/" }
    if first.count < path.count, first == "localhost" || first.contains(".") || first.contains(":") {
      host = String(first)
      repository = String(path.dropFirst(first.count + 1))
    } else {
      repository = path
    }
    let isOfficial = host == nil && !repository.contains("/")
    source = "\(host ?? Self.standardHost)/\(isOfficial ? "library/" : "")\(repository)"
    guard Reference.isSource(source), Reference.isBaseName(baseName), tag.map(Name.isTag) ?? true else { return nil }
  }
}
