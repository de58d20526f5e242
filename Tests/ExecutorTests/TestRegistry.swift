import Foundation
import HTTPClient
import KilnExecutor
import Model
import Registry
import TestSupport

/// The registry that tests run on.
enum TestRegistry {
  /// A repository that only this call knows.
  static func push(_ image: TestImage) async throws -> ImageLocation {
    let endpoint = RegistryEndpoint(host: try Services.require("KILN_TEST_REGISTRY"), prefix: "executor-tests")
    let registry = RegistryClient(endpoint: endpoint, http: HTTPClient(), effects: .system())
    let repository = "r\(UUID().uuidString.lowercased())"
    _ = try await ImageCopy.copy(
      image.image.manifest.digest, from: try OCILayoutStore(directory: image.layout), repository: "", to: registry,
      repository: repository, tag: nil)
    return registry.location(of: image.image.manifest.digest, in: repository)
  }
}
