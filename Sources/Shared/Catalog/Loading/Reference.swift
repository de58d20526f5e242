import Model

/// Where images come from and go to, by the rules of OCI references.
enum Reference {
  /// `host[:port]`
  private static func isHost(_ text: Substring) -> Bool {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count <= 2, let host = parts.first, !host.isEmpty, host.utf8.count <= 253 else { return false }
    let labels = host.split(separator: ".", omittingEmptySubsequences: false)
    let fine = labels.allSatisfy { label in
      !label.isEmpty && label.first != "-" && label.last != "-"
        && label.utf8.allSatisfy {
          (48...57).contains($0) || (97...122).contains($0) || (65...90).contains($0) || $0 == 45
        }
    }
    guard fine else { return false }
    return parts.count == 1 || (Int(parts[1]).map { (1...65535).contains($0) } ?? false)
  }

  /// `host[:port][/prefix]`
  static func isRegistryPrefix(_ text: String) -> Bool {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    return isHost(parts[0]) && (parts.count == 1 || Name.isRepository(String(parts[1])))
  }

  /// `host[:port]/repository` or `oci-layout:PATH`. The first part is a host only with a dot or a port
  /// in it, or as `localhost`: docker takes everything else for a repository of its own registry.
  static func isSource(_ text: String) -> Bool {
    if text.hasPrefix(BaseDefinition.layoutPrefix) {
      let path = text.dropFirst(BaseDefinition.layoutPrefix.count)
      return !path.isEmpty && path.utf8.count <= 1024 && path.first != "-"
        && path.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && !"@:,=\"'$\\".utf8.contains($0) }
    }
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, isHost(parts[0]) else { return false }
    guard parts[0] == "localhost" || parts[0].contains(".") || parts[0].contains(":") else { return false }
    return Name.isRepository(String(parts[1]))
  }

  /// What a manifest may call a base: `debian`, `debian:12`, `host/library/debian:12`.
  static func isBaseName(_ text: String) -> Bool {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard let last = parts.last, text.utf8.count <= 255 else { return false }
    let ending = last.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard Name.isRepository(String(ending[0])), ending.count == 1 || Name.isTag(String(ending[1])) else { return false }
    return parts.dropLast().enumerated().allSatisfy { position, part in
      Name.isRepository(String(part)) || (position == 0 && isHost(part))
    }
  }

  /// What git may fetch: HTTPS, SSH, or a path; never another helper's address, never an option.
  static func isGitRepository(_ text: String) -> Bool {
    guard !text.isEmpty, text.utf8.count <= 1024, text.first != "-",
      text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && !"\"'$\\`".utf8.contains($0) })
    else { return false }
    for scheme in ["https://", "ssh://"] where text.hasPrefix(scheme) {
      let host = text.dropFirst(scheme.count).prefix { $0 != "/" }
      let name = host.split(separator: "@", omittingEmptySubsequences: false)
      // SSH would take such a host for an option.
      return !host.isEmpty && name.count <= 2 && name.allSatisfy { !$0.isEmpty && $0.first != "-" }
    }
    return isSSHPlace(text) || isGitPath(text)
  }

  /// A path on this machine: everything that git could take for an address is none.
  static func isGitPath(_ text: String) -> Bool { !text.isEmpty && text.first != "-" && !text.contains(":") }

  /// `user@host:path`
  private static func isSSHPlace(_ text: String) -> Bool {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let place = parts[0].split(separator: "@", omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[1].isEmpty, !parts[1].hasPrefix("-"), !parts[1].hasPrefix(":"), place.count == 2
    else { return false }
    return place.allSatisfy { name in
      !name.isEmpty && name.first != "-"
        && name.utf8.allSatisfy { byte in
          (48...57).contains(byte) || (97...122).contains(byte) || (65...90).contains(byte) || "._-".utf8.contains(byte)
        }
    }
  }

  /// A whole commit id, SHA-1 or SHA-256.
  static func isCommit(_ text: String) -> Bool {
    [40, 64].contains(text.utf8.count)
      && text.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
  }

  /// A path on this machine without control characters.
  static func isFolder(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.count <= 1024 && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
  }

  /// A folder in a repository: `a/b`, without `.`, `..` or an empty part.
  static func isInnerPath(_ text: String) -> Bool {
    text.utf8.count <= 1024 && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F && $0 != UInt8(ascii: ":") }
      && text.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { !["", ".", ".."].contains($0) }
  }
}
