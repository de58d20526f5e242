import Foundation
import HTTPClient
import KilnExecutor
import Model
import RecordStore
import Registry

/// Hands finished images to where they were asked for.
struct ImageDelivery {
  let images: any ImageStore
  /// For files on their way.
  let folder: URL

  func load(_ index: PublishedIndex, _ engine: Engine) async throws {
    let names = index.deliveredTags.map { "\(index.repository):\($0)" }
    try await load(index.digest, in: index.repository, names: names, engine)
  }

  func load(_ image: Digest, in repository: String, names: [String], _ engine: Engine) async throws {
    let archive = folder.appendingPathComponent("load-\(image.short).tar")
    defer { try? FileManager.default.removeItem(at: archive) }
    try await OCIArchive.write(image, from: images, repository: repository, names: names, to: archive)
    try await engine.load(archive)
  }

  /// A layout for each repository, in which an image is found by its tag alone, as other tools name it.
  func write(_ index: PublishedIndex, to folder: URL) async throws {
    let name = index.repository.split(separator: "/").joined(separator: "-")
    let layout = try OCILayoutStore(directory: folder.appendingPathComponent(name, isDirectory: true))
    for tag in index.deliveredTags {
      try await ImageCopy.copyAll(
        index.digest, from: images, repository: index.repository, to: layout, repository: "", tag: tag)
    }
  }

  func push(_ index: PublishedIndex, to prefix: String) async throws {
    let registry = try RegistryAccess.open(prefix)
    for tag in index.deliveredTags {
      try await ImageCopy.copyAll(
        index.digest, from: images, repository: index.repository, to: registry, repository: index.repository, tag: tag)
    }
  }
}

extension PublishedIndex {
  /// Where no tag was moved, a name of the content's own: it can never have meant anything else.
  var deliveredTags: [String] { tags.isEmpty ? ["kiln-\(digest.short)"] : tags }
}

enum RegistryAccess {
  /// `HOST:PORT/PREFIX`, with KILN_REGISTRY_USER and KILN_REGISTRY_PASSWORD(_FILE) where it asks.
  static func open(_ prefix: String) throws -> RegistryClient {
    let endpoint = try RegistryEndpoint.parse(prefix: prefix, credentials: try credentials())
    return RegistryClient(endpoint: endpoint, http: HTTPClient(), effects: .system())
  }

  static func credentials() throws -> RegistryCredentials? {
    guard let user = Environment.value("KILN_REGISTRY_USER"),
      let password = try Environment.secret("KILN_REGISTRY_PASSWORD")
    else { return nil }
    return RegistryCredentials(user: user, password: password)
  }

  /// The same for the docker client, which fetches parents and finished images by itself.
  static func login(_ prefix: String) throws -> RegistryLogin? {
    guard let credentials = try credentials() else { return nil }
    return RegistryLogin(host: try RegistryEndpoint.parse(prefix: prefix).host, credentials: credentials)
  }
}
