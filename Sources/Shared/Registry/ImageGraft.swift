package import Foundation
import Model

/// A child image keeps its parent's blobs exactly: where a builder rewrote them, and where a layer was
/// built on nothing, its own new blobs are grafted onto the parent's image manifest and config. Pure.
package enum ImageGraft {
  package struct Result: Sendable {
    package var manifest: Manifest
    package var config: Data
    /// What the child added, in the image's order.
    package var newBlobs: [Descriptor]
  }

  /// An image's manifest and config, as far as grafting looks into them.
  package struct Image: Sendable {
    fileprivate var blobs: [Descriptor] = []
    fileprivate var config: JSONValue = .object([:])
    fileprivate var diffIDs: [JSONValue] = []
    fileprivate var history: [JSONValue] { config["history"]?.array ?? [] }

    package init(_ manifest: Manifest, config bytes: Data) throws {
      let image = try ImageManifest(manifest)
      blobs = image.blobs
      config = try JSONValue.parse(bytes, what: "config \(image.config.digest)")
      diffIDs = config["rootfs"]?["diff_ids"]?.array ?? []
      guard diffIDs.count == blobs.count else {
        throw Failure(
          .input, code: "bad-image",
          "\(manifest.digest) has \(blobs.count) blobs, but its config \(diffIDs.count) diff IDs")
      }
    }

    private init() {}
    package static let nothing = Image()
  }

  /// What the builder made of a parent, with the parent's own blobs. The result is always OCI's media
  /// types and canonical JSON, so that a child has one digest however its parent was handed to the
  /// builder. Everything else of the child's config stays.
  ///
  /// Throws where the parent's blobs, or the commands of its history, are not the child's beginning:
  /// then it was not built on it.
  package static func child(_ child: Image, of base: Image) throws -> Result {
    guard child.blobs.count >= base.blobs.count else {
      throw notAChild("it has \(child.blobs.count) blobs, its parent \(base.blobs.count)")
    }
    guard child.history.map(command).starts(with: base.history.map(command)) else {
      throw notAChild("its history does not begin with its parent's")
    }
    var config = child.config
    keepUnknown(of: base.config, in: &config)
    return assemble(
      base, child.blobs.dropFirst(base.blobs.count), child.diffIDs.dropFirst(base.blobs.count),
      child.history.dropFirst(base.history.count), config: config)
  }

  /// What was built on nothing, on a parent: its blobs on top of the parent's, and its config over the
  /// parent's as a builder would have changed it there.
  ///
  /// Throws where the parent sets one of `arguments` by ENV: there, a builder would take that value.
  package static func independent(_ own: Image, on parent: Image, arguments: [String], title: String) throws -> Result {
    let variables = (parent.config["config"]?["Env"]?.array ?? []).compactMap(\.string).map(name)
    if let hidden = Set(arguments).intersection(variables).min() {
      throw Failure(
        .input, code: "not-independent",
        "\(title): the image below sets '\(hidden)' by ENV, which hides the argument of that name",
        hint: "give the argument another name, or leave out 'independent'")
    }
    var config = parent.config
    config["created"] = own.config["created"] ?? config["created"]
    var settings = parent.config["config"]?.object ?? [:]
    let added = own.config["config"]?.object ?? [:]
    settings["Env"] = environment(added["Env"]?.array ?? [], over: settings["Env"])
    for name in ["ExposedPorts", "Labels", "Volumes"] {
      guard let new = added[name]?.object, !new.isEmpty else { continue }
      settings[name] = .object((settings[name]?.object ?? [:]).merging(new) { $1 })
    }
    // An entrypoint clears the command of the image below.
    if added["Entrypoint"] != nil, added["Cmd"] == nil { settings["Cmd"] = nil }
    for name in ["ArgsEscaped", "Cmd", "Entrypoint", "Healthcheck", "StopSignal", "User"] {
      if let new = added[name], new != .null, new != .string("") { settings[name] = new }
    }
    config["config"] = .object(settings)
    return assemble(parent, own.blobs[...], own.diffIDs[...], own.history[...], config: config)
  }

  /// A variable that is there keeps its place. PATH is the builder's own: no independent fragment sets it.
  private static func environment(_ new: [JSONValue], over old: JSONValue?) -> JSONValue? {
    var all = (old?.array ?? []).compactMap(\.string)
    for variable in new.compactMap(\.string) where name(variable) != "PATH" {
      if let place = all.firstIndex(where: { name($0) == name(variable) }) {
        all[place] = variable
      } else {
        all.append(variable)
      }
    }
    return all.isEmpty ? old : .array(all.map(JSONValue.string))
  }

  private static func name(_ variable: String) -> String { String(variable.prefix { $0 != "=" }) }

  private static func assemble(
    _ base: Image, _ blobs: ArraySlice<Descriptor>, _ diffIDs: ArraySlice<JSONValue>, _ history: ArraySlice<JSONValue>,
    config: JSONValue
  ) -> Result {
    var config = config
    config["rootfs"] = .object(["type": .string("layers"), "diff_ids": .array(base.diffIDs + diffIDs)])
    config["history"] = .array(base.history + history)
    let bytes = config.canonicalBytes
    let configDescriptor = Descriptor(
      mediaType: MediaType.imageConfig,
      blob: BlobReference(digest: Digest(of: bytes), sizeBytes: Int64(bytes.count)))
    let new = blobs.map(withoutAnnotations)
    let document = JSONValue.object([
      "schemaVersion": .integer(2), "mediaType": .string(MediaType.imageManifest), "config": configDescriptor.json,
      "layers": .array((base.blobs + new).map(oci)),
    ])
    return Result(
      manifest: Manifest(mediaType: MediaType.imageManifest, bytes: document.canonicalBytes), config: bytes,
      newBlobs: new)
  }

  /// What of an entry of the history stays when timestamps are pinned.
  private static func command(_ entry: JSONValue) -> [JSONValue?] { [entry["created_by"], entry["empty_layer"]] }

  private static func notAChild(_ why: String) -> Failure {
    Failure(.infrastructure, code: "not-a-child", "the built image was not built on its parent: \(why)")
  }

  /// The builder notes there that it rewrote something; the bytes do not depend on it.
  private static func withoutAnnotations(_ descriptor: Descriptor) -> Descriptor {
    var descriptor = descriptor
    descriptor.json["annotations"] = nil
    return descriptor
  }

  private static func oci(_ descriptor: Descriptor) -> JSONValue {
    var json = descriptor.json
    json["mediaType"] = .string(MediaType.ociBlob(descriptor.mediaType))
    return json
  }

  // MARK: What the builder does not know

  /// BuildKit carries over what it understands, by Docker's rules, so that what is absent there was
  /// removed; anything else in the parent's config it silently drops.
  private static func keepUnknown(of base: JSONValue, in child: inout JSONValue) {
    for (name, value) in base.object ?? [:] where !knownFields.contains(name) && child[name] == nil {
      child[name] = value
    }
    guard let old = base["config"]?.object else { return }
    var new = child["config"] ?? .object([:])
    for (name, value) in old where !knownConfigFields.contains(name) && new[name] == nil { new[name] = value }
    child["config"] = new
  }

  private static let knownFields: Set<String> = [
    "architecture", "author", "config", "container", "container_config", "created", "docker_version", "history", "id",
    "os", "os.features", "os.version", "parent", "rootfs", "variant", "moby.buildkit.buildinfo.v1",
    "moby.buildkit.cache.v0",
  ]
  private static let knownConfigFields: Set<String> = [
    "ArgsEscaped", "AttachStderr", "AttachStdin", "AttachStdout", "Cmd", "CpuShares", "Domainname", "Entrypoint",
    "Env", "ExposedPorts", "Healthcheck", "Hostname", "Image", "Labels", "Memory", "MemorySwap", "OnBuild", "OpenStdin",
    "Shell", "StdinOnce", "StopSignal", "Tty", "User", "Volumes", "WorkingDir",
  ]
}
