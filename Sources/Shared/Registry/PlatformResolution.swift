package import Model

/// Resolves a tag to the image of each platform, for `kiln lock`.
package enum PlatformResolution {
  /// In an OCI layout folder with one entry, that entry, whatever its name. A config that says another
  /// platform than the index is refused: what is built on it would lie.
  package static func resolve(_ tag: String, in repository: String, of store: any ImageStore) async throws
    -> [Platform: Digest]
  {
    guard let manifest = try await store.manifest(.tag(tag), in: repository) else {
      throw Failure(
        .input, code: "not-found", "there is no '\(tag)'\(repository.isEmpty ? " in the layout" : " in \(repository)")")
    }
    return try await images(of: manifest, in: repository, of: store, depth: 0)
  }

  /// An index may name an index: buildx exports so.
  private static func images(of manifest: Manifest, in repository: String, of store: any ImageStore, depth: Int)
    async throws -> [Platform: Digest]
  {
    guard MediaType.isIndex(manifest.mediaType) else {
      return [try await platform(of: manifest, repository, store): manifest.digest]
    }
    let children = try ImageIndex.children(manifest)
    let entries = try ImageIndex.entries(manifest)
    if children.isEmpty, entries.count == 1, depth < 2, let only = entries.first {
      return try await images(
        of: try await present(only.digest, repository, store), in: repository, of: store, depth: depth + 1)
    }
    var found: [Platform: Digest] = [:]
    // Where an index names a platform twice, the first is what engines take.
    for child in children where found[child.platform] == nil {
      let image = try await present(child.descriptor.digest, repository, store)
      let actual = try await platform(of: image, repository, store)
      let isSilent =
        actual.platformVariant == nil && actual.os == child.platform.os
        && actual.architecture == child.platform.architecture
      guard actual == child.platform || isSilent else {
        throw Failure(
          .input, code: "platform-mismatch",
          "the index says that \(image.digest) is for \(child.platform), its config says \(actual)")
      }
      found[child.platform] = image.digest
    }
    guard !found.isEmpty else {
      throw Failure(.input, code: "no-platform", "the index \(manifest.digest) names no image of any platform")
    }
    return found
  }

  private static func present(_ digest: Digest, _ repository: String, _ store: any ImageStore) async throws -> Manifest
  {
    guard let manifest = try await store.manifest(.digest(digest), in: repository) else {
      throw Failure(.input, code: "not-found", "the index names \(digest), which is not there")
    }
    return manifest
  }

  private static func platform(of image: Manifest, _ repository: String, _ store: any ImageStore) async throws
    -> Platform
  {
    let descriptor = try ImageManifest(image).config
    let config = try JSONValue.parse(
      try await store.blob(descriptor.digest, in: repository, maxBytes: 8 << 20), what: "config \(descriptor.digest)")
    guard
      let platform = Platform(
        os: config["os"]?.string ?? "", architecture: config["architecture"]?.string ?? "",
        platformVariant: config["variant"]?.string)
    else { throw Failure(.input, code: "no-platform", "the config of \(image.digest) says no platform") }
    return platform
  }
}
