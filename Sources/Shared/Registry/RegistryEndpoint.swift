import Model

package struct RegistryCredentials: Sendable, Hashable {
  package var user: String
  package var password: String

  package init(user: String, password: String) {
    self.user = user
    self.password = password
  }
}

/// Which registry, and what all repositories of this store begin with.
package struct RegistryEndpoint: Sendable, Hashable {
  /// `host` or `host:port`.
  package var host: String
  /// Empty, or repository components.
  package var prefix: String
  package var plainHTTP: Bool
  package var credentials: RegistryCredentials?

  /// Plain HTTP only for this machine itself.
  package init(host: String, prefix: String, credentials: RegistryCredentials? = nil) {
    self.host = host
    self.prefix = prefix
    let name = host.hasPrefix("[") ? host : String(host.split(separator: ":").first ?? "")
    plainHTTP = name == "localhost" || name.hasPrefix("127.") || name.hasPrefix("[::1]")
    self.credentials = credentials
  }

  /// `HOST[:PORT][/PREFIX]`.
  package static func parse(prefix text: String, credentials: RegistryCredentials? = nil) throws -> RegistryEndpoint {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    let prefix = parts.count == 2 ? parts[1] : ""
    guard isHost(parts[0]), prefix.isEmpty || Name.isRepository(prefix) else {
      throw Failure(.input, code: "bad-registry", "'\(text)' is not a registry like HOST:PORT/PREFIX")
    }
    return RegistryEndpoint(host: parts[0], prefix: prefix, credentials: credentials)
  }

  /// `HOST[:PORT]/REPOSITORY`, as bases are named.
  package static func parse(_ source: String) throws -> (RegistryEndpoint, repository: String) {
    guard let slash = source.firstIndex(of: "/") else {
      throw Failure(.input, code: "bad-source", "'\(source)' is not HOST/REPOSITORY")
    }
    let repository = String(source[source.index(after: slash)...])
    guard isHost(String(source[..<slash])), Name.isRepository(repository) else {
      throw Failure(.input, code: "bad-source", "'\(source)' is not HOST/REPOSITORY")
    }
    return (RegistryEndpoint(host: String(source[..<slash]), prefix: ""), repository)
  }

  private static func isHost(_ text: String) -> Bool {
    !text.isEmpty && !text.hasPrefix("-")
      && text.utf8.allSatisfy { byte in
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
          || [UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: ":"), UInt8(ascii: "["), UInt8(ascii: "]")].contains(
            byte)
      }
  }

  func path(_ repository: String) -> String {
    [prefix, repository].filter { !$0.isEmpty }.joined(separator: "/")
  }
}
