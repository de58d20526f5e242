package import Foundation
import Model

package struct RegistryCredentials: Sendable, Hashable, CustomStringConvertible {
  package var user: String
  package var password: String

  package init(user: String, password: String) {
    self.user = user
    self.password = password
  }

  /// Never the password.
  package var description: String { "credentials of \(user)" }

  var basic: String { "Basic " + encoded }

  /// As `config.json` and HTTP write it.
  package var encoded: String { Data("\(user):\(password)".utf8).base64EncodedString() }

  /// What docker's `config.json` says about a registry host; nil where it says nothing. Credential
  /// helpers are programs of their own, and are not asked.
  package static func inDockerConfiguration(_ bytes: Data, host: String) throws -> RegistryCredentials? {
    guard let all = try JSONValue.parse(bytes, what: "docker's configuration")["auths"]?.object else { return nil }
    let hub = host == RegistryEndpoint.dockerHub ? ["https://index.docker.io/v1/", "index.docker.io"] : []
    let names = [host, "https://\(host)", "http://\(host)", "https://\(host)/v1/", "https://\(host)/v2/"] + hub
    guard let entry = names.lazy.compactMap({ all[$0] }).first else { return nil }
    if let user = entry["username"]?.string, let password = entry["password"]?.string {
      return RegistryCredentials(user: user, password: password)
    }
    guard let text = entry["auth"]?.string, let decoded = Data(base64Encoded: text) else { return nil }
    let parts = String(decoding: decoded, as: UTF8.self).split(
      separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[0].isEmpty else { return nil }
    return RegistryCredentials(user: String(parts[0]), password: String(parts[1]))
  }
}

/// Credentials for one registry.
package struct RegistryLogin: Sendable, Hashable {
  /// `host[:port]`
  package var host: String
  package var credentials: RegistryCredentials

  package init(host: String, credentials: RegistryCredentials) {
    self.host = host
    self.credentials = credentials
  }
}
