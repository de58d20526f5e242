package import Foundation
import Model
package import Registry

extension ImageStoreConformance {
  /// An image of random blobs, the documents as another tool could have written them.
  package struct SampleImage: Sendable {
    package var manifest: Manifest
    package var config: Data
    package var blobs: [Data]

    package init(platform: String = "linux/amd64", blobs count: Int = 2, bytes: Int = 1000) {
      let parts = platform.split(separator: "/")
      blobs = (0..<count).map { _ in someBytes(bytes) }
      let ids = blobs.map { "\"\(Digest(of: $0))\"" }.joined(separator: ",")
      config = Data(
        """
        {"os": "\(parts[0])", "architecture": "\(parts[1])", "config": {"Env": ["A=b"]},
         "rootfs": {"type": "layers", "diff_ids": [\(ids)]}}
        """.utf8)
      let layers = blobs.map {
        """
        {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "\(Digest(of: $0))", "size": \($0.count)}
        """
      }
      manifest = Manifest(
        mediaType: MediaType.imageManifest,
        bytes: Data(
          """
          {"schemaVersion": 2, "mediaType": "\(MediaType.imageManifest)",
           "config": {"mediaType": "\(MediaType.imageConfig)", "digest": "\(Digest(of: config))", "size": \(config.count)},
           "layers": [\(layers.joined(separator: ","))]}
          """.utf8))
    }

    package var parts: [Data] { blobs + [config] }

    package func push(to store: any ImageStore, _ repository: String, tag: String? = nil) async throws {
      for part in parts { try await store.upload(part, digest: Digest(of: part), to: repository) }
      try await store.put(manifest, in: repository, tag: tag)
    }
  }

  static let manifestCases: [ImageStoreCase] = [
    ImageStoreCase("a manifest is found by its digest, with its tag by that too, byte for byte") { store, _ in
      let image = SampleImage()
      try await image.push(to: store, "one")
      try expect(try await store.manifest(.digest(image.manifest.digest), in: "one") == image.manifest, "by digest")
      try expect(try await store.manifest(.tag("v1"), in: "one") == nil, "a tag that was not put")
      try await store.put(image.manifest, in: "one", tag: "v1")
      try await store.put(image.manifest, in: "one", tag: "v1")
      try expect(try await store.manifest(.tag("v1"), in: "one") == image.manifest, "by tag")
    },
    ImageStoreCase("a tag moves, and only that tag, in that repository") { store, _ in
      let old = SampleImage()
      let new = SampleImage()
      for repository in ["one", "two"] { try await old.push(to: store, repository, tag: "latest") }
      try await store.put(old.manifest, in: "one", tag: "v1")
      try await new.push(to: store, "one", tag: "latest")
      try expect(try await store.manifest(.tag("latest"), in: "one") == new.manifest, "it did not move")
      try expect(try await store.manifest(.tag("v1"), in: "one") == old.manifest, "another tag moved")
      try expect(try await store.manifest(.tag("latest"), in: "two") == old.manifest, "another repository's moved")
      try expect(try await store.manifest(.digest(old.manifest.digest), in: "one") == old.manifest, "the old is gone")
    },
    ImageStoreCase("tags moved at once all stand") { store, _ in
      let image = SampleImage()
      try await image.push(to: store, "one")
      try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<20 {
          group.addTask { try await store.put(image.manifest, in: "one", tag: "t\(index)") }
        }
        try await group.waitForAll()
      }
      for index in 0..<20 {
        try expect(try await store.manifest(.tag("t\(index)"), in: "one") == image.manifest, "t\(index)")
      }
    },
    ImageStoreCase("a manifest whose blobs are not there is refused") { store, _ in
      let image = SampleImage()
      let nothing = try await code { try await store.put(image.manifest, in: "one", tag: "v1") }
      try expect(nothing == "incomplete", "without anything: \(nothing)")
      for part in image.parts.dropFirst() { try await store.upload(part, digest: Digest(of: part), to: "one") }
      let some = try await code { try await store.put(image.manifest, in: "one", tag: "v1") }
      try expect(some == "incomplete", "without one: \(some)")
      try expect(try await store.manifest(.tag("v1"), in: "one") == nil, "its tag stands")
      try expect(try await store.manifest(.digest(image.manifest.digest), in: "one") == nil, "it is kept")
    },
    ImageStoreCase("an index is put when its images are there") { store, _ in
      let images = ["linux/amd64", "linux/arm64"].map { SampleImage(platform: $0) }
      let children = zip(["linux/amd64", "linux/arm64"], images).compactMap { name, image in
        Platform(name).map { IndexChild(platform: $0, manifest: image.manifest) }
      }
      let index = try ImageIndex.assemble(children)
      try await images[0].push(to: store, "one")
      let early = try await code { try await store.put(index, in: "one", tag: "v1") }
      try expect(early == "incomplete", "without one: \(early)")
      try await images[1].push(to: store, "one")
      try await store.put(index, in: "one", tag: "v1")
      try expect(try await store.manifest(.tag("v1"), in: "one") == index, "by tag")
      let found = try await PlatformResolution.resolve("v1", in: "one", of: store)
      let expected = Dictionary(uniqueKeysWithValues: children.map { ($0.platform, $0.manifest.digest) })
      try expect(found == expected, "its platforms: \(found)")
    },
  ]
}
