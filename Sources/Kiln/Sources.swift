import Catalog
import Foundation
import HTTPClient
import Model
import Registry

/// Where base images come from: registries by `host[:port]/repository`, OCI layout folders by
/// `oci-layout:PATH` relative to the catalog.
struct Sources: Sendable {
  let catalogFolder: URL?
  /// For the registry that it names.
  var login: RegistryLogin?

  func open(_ source: String) async throws -> (any ImageStore, repository: String) {
    if source.hasPrefix(BaseDefinition.layoutPrefix) {
      return (try OCILayoutStore(directory: try layout(source)), "")
    }
    var (endpoint, repository) = try RegistryEndpoint.parse(source)
    if let login, login.host == endpoint.host { endpoint.credentials = login.credentials }
    return (RegistryClient(endpoint: endpoint, http: HTTPClient(), effects: .system(), isReadOnly: true), repository)
  }

  func resolve(_ base: BaseDefinition) async throws -> [Platform: Digest] {
    let (store, repository) = try await open(base.place)
    return try await PlatformResolution.resolve(base.tag, in: repository, of: store)
  }

  private func layout(_ source: String) throws -> URL {
    guard let catalogFolder else {
      throw Failure(
        .input, code: "local-base", "base '\(source)' is a folder beside the catalog, which a farm cannot see",
        hint: "push it to a registry and name it there in catalog.yml")
    }
    let path = String(source.dropFirst(BaseDefinition.layoutPrefix.count))
    let folder = URL(fileURLWithPath: path, relativeTo: catalogFolder).standardizedFileURL
    guard FileManager.default.fileExists(atPath: folder.appendingPathComponent("index.json").path) else {
      throw Failure(.input, code: "no-layout", "'\(source)': there is no OCI layout at \(folder.path)")
    }
    return folder
  }
}
