import Model

/// Which registry, and what all repositories of this store begin with.
package struct RegistryEndpoint: Sendable, Hashable {
  /// `host` or `host:port`.
  package var host: String
  /// Empty, or repository components.
  package var prefix: String
  package var plainHTTP: Bool
  package var credentials: RegistryCredentials?

  /// Without a word about it, plain HTTP only for this machine itself.
  package init(host: String, prefix: String, plainHTTP: Bool? = nil, credentials: RegistryCredentials? = nil) {
    self.host = host
    self.prefix = prefix
    self.plainHTTP = plainHTTP ?? Self.isLoopback(host)
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

  /// `HOST[:PORT]/REPOSITORY`, as bases are named. Docker Hub's own images may leave out `library/`.
  package static func parse(_ source: String) throws -> (RegistryEndpoint, repository: String) {
    let parts = source.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2, isHost(parts[0]), Name.isRepository(parts[1]) else {
      throw Failure(
        .input, code: "bad-source", "'\(source)' is not HOST/REPOSITORY",
        hint: "name the registry too, as in docker.io/library/debian, and the tag by itself")
    }
    let isShort = parts[0] == dockerHub && !parts[1].contains("/")
    return (RegistryEndpoint(host: parts[0], prefix: ""), isShort ? "library/\(parts[1])" : parts[1])
  }

  func path(_ repository: String) -> String {
    [prefix, repository].filter { !$0.isEmpty }.joined(separator: "/")
  }

  /// Where the API is.
  var origin: String {
    "\(plainHTTP ? "http" : "https")://\(host == Self.dockerHub ? "registry-1.docker.io" : host)"
  }

  static let dockerHub = "docker.io"

  private static func isLoopback(_ host: String) -> Bool {
    if host.hasPrefix("[") { return host.hasPrefix("[::1]") }
    let name = host.prefix { $0 != ":" }
    let numbers = name.split(separator: ".", omittingEmptySubsequences: false)
    return name == "localhost" || numbers.count == 4 && numbers[0] == "127" && numbers.allSatisfy { UInt8($0) != nil }
  }

  private static func isHost(_ text: String) -> Bool {
    !text.isEmpty && !text.hasPrefix("-")
      && text.utf8.allSatisfy { byte in
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
          || [UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: ":"), UInt8(ascii: "["), UInt8(ascii: "]")].contains(
            byte)
      }
  }
}
