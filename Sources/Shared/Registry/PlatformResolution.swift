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
    guard MediaType.isIndex(manifest.mediaType) else {
      return [try await platform(of: manifest, repository, store): manifest.digest]
    }
    var found: [Platform: Digest] = [:]
    for child in try ImageIndex.children(manifest) {
      guard let image = try await store.manifest(.digest(child.descriptor.digest), in: repository) else {
        throw Failure(.input, code: "not-found", "the index names \(child.descriptor.digest), which is not there")
      }
      let actual = try await platform(of: image, repository, store)
      guard actual == child.platform else {
        throw Failure(
          .input, code: "platform-mismatch",
          "the index says that \(image.digest) is for \(child.platform), its config says \(actual)")
      }
      found[actual] = image.digest
    }
    return found
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
