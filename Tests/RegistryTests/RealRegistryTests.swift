import Foundation
import HTTPClient
import Model
import TestSupport
import Testing

@testable import Registry

@Suite("Real registry", .timeLimit(.minutes(5)))
struct RealRegistryTests {
  let host: String

  init() throws { host = try Services.require("KILN_TEST_REGISTRY") }

  func client(prefix: String) -> RegistryClient {
    RegistryClient(endpoint: RegistryEndpoint(host: host, prefix: prefix), http: HTTPClient(), effects: .system())
  }

  /// A prefix of the test's own, whose manifests are removed at the end.
  func withRegistry(_ body: (RegistryClient) async throws -> Void) async throws {
    let client = client(prefix: "test-\(UUID().uuidString.lowercased().prefix(8))")
    do {
      try await body(client)
    } catch {
      try await clean(client)
      throw error
    }
    try await clean(client)
  }

  private func clean(_ client: RegistryClient) async throws {
    let catalog = try await client.http.send(HTTPRequest("GET", "http://\(host)/v2/_catalog?n=10000"))
    let json = try JSONValue.parse(catalog.body, what: "the catalog")
    for name in (json["repositories"]?.array ?? []).compactMap(\.string)
    where name.hasPrefix(client.endpoint.prefix + "/") {
      let repository = String(name.dropFirst(client.endpoint.prefix.count + 1))
      for tag in try await client.tags(in: repository) {
        guard let manifest = try await client.manifest(.tag(tag), in: repository) else { continue }
        try await client.delete(manifest.digest, in: repository)
      }
    }
  }

  /// Where the registry keeps a blob's bytes.
  func storedFile(_ digest: Digest) throws -> URL {
    try dataFolder().appendingPathComponent("blobs/sha256/\(digest.hex.prefix(2))/\(digest.hex)/data")
  }

  private func dataFolder() throws -> URL {
    let text = try String(contentsOfFile: try Services.require("KILN_TEST_REGISTRY_CONFIG"), encoding: .utf8)
    let line = try #require(text.split(separator: "\n").first { $0.contains("rootdirectory:") })
    let root = try #require(line.split(separator: " ").last)
    return URL(fileURLWithPath: String(root)).appendingPathComponent("docker/registry/v2")
  }

  @Test("conforms", arguments: ImageStoreConformance.cases)
  func conforms(_ one: ImageStoreCase) async throws {
    try await withRegistry { store in
      try await one.run(store) { digest in
        let file = try storedFile(digest)
        var bytes = try Data(contentsOf: file)
        bytes[bytes.count / 2] ^= 1
        try bytes.write(to: file)
      }
    }
  }

  /// As a full disk leaves it: files that it had begun to write are there, and empty.
  @Test("what a registry noted, and cannot read, is not there, until it is written again")
  func emptyNotes() async throws {
    try await withRegistry { store in
      let image = SampleImage()
      let (digest, blob) = (image.manifest.digest, Digest(of: image.blobs[0]))
      try await image.push(to: store, "one", tag: "v1")
      let notes = try dataFolder().appendingPathComponent("repositories/\(store.endpoint.prefix)/one")

      try empty(notes.appendingPathComponent("_manifests/tags/v1/current/link"))
      #expect(try await store.manifest(.tag("v1"), in: "one") == nil)
      let reader = RegistryClient(endpoint: store.endpoint, http: store.http, effects: .system(), isReadOnly: true)
      let code = try await failureCode { _ = try await reader.manifest(.tag("v1"), in: "one") }
      #expect(code == "registry-500")
      #expect(try await store.manifest(.digest(digest), in: "one") == image.manifest)
      try await store.put(image.manifest, in: "one", tag: "v1")
      #expect(try await store.manifest(.tag("v1"), in: "one") == image.manifest)

      try empty(notes.appendingPathComponent("_manifests/revisions/sha256/\(digest.hex)/link"))
      #expect(try await store.manifest(.digest(digest), in: "one") == nil)
      #expect(try await store.putReadable(image.manifest, in: "one") == image.manifest)
      #expect(try await store.manifest(.digest(digest), in: "one") == image.manifest)

      // The registry remembers what it has noted in "one".
      let begun = notes.deletingLastPathComponent().appendingPathComponent("two/_layers/sha256/\(blob.hex)")
      try FileManager.default.createDirectory(at: begun, withIntermediateDirectories: true)
      try Data().write(to: begun.appendingPathComponent("link"))
      #expect(try await store.blobSize(blob, in: "two") == nil)
      try await store.upload(image.blobs[0], digest: blob, to: "two")
      #expect(try await store.blob(blob, in: "two", maxBytes: 1 << 20) == image.blobs[0])
    }
  }

  @Test("a manifest that a registry keeps empty is put as one that says the same, the same by whomever")
  func emptyManifests() async throws {
    try await withRegistry { store in
      let image = SampleImage()
      try await image.push(to: store, "one")
      try empty(try storedFile(image.manifest.digest))
      try await store.put(image.manifest, in: "one", tag: nil)
      #expect(try await store.manifest(.digest(image.manifest.digest), in: "one") == nil)
      let held = try await store.putReadable(image.manifest, in: "one")
      #expect(held.digest != image.manifest.digest)
      #expect(try await store.manifest(.digest(held.digest), in: "one") == held)
      let (said, says) = (try ImageManifest(image.manifest), try ImageManifest(held))
      #expect(says.allBlobs == said.allBlobs)
      #expect(try await store.putReadable(image.manifest, in: "one") == held)
      try empty(try storedFile(held.digest))
      let next = try await store.putReadable(image.manifest, in: "one")
      #expect(![image.manifest.digest, held.digest].contains(next.digest))
      let name = "docker://\(host)/\(store.endpoint.prefix)/one@\(next.digest)"
      let inspected = try await OutsideTool("skopeo").output(["inspect", "--tls-verify=false", "--raw", name])
      #expect(Data(inspected.utf8) == next.bytes)
    }
  }

  private func empty(_ file: URL) throws {
    let handle = try FileHandle(forWritingTo: file)
    try handle.truncate(atOffset: 0)
    try handle.close()
  }

  @Test("a deleted image is gone, with its tags")
  func delete() async throws {
    try await withRegistry { store in
      let image = SampleImage()
      try await image.push(to: store, "one", tag: "v1")
      #expect(try await store.tags(in: "one") == ["v1"])
      try await store.delete(image.manifest.digest, in: "one")
      try await store.delete(image.manifest.digest, in: "one")
      #expect(try await store.manifest(.digest(image.manifest.digest), in: "one") == nil)
      #expect(try await store.manifest(.tag("v1"), in: "one") == nil)
      #expect(try await store.tags(in: "never/used") == [])
    }
  }

  @Test("other tools read what was pushed, and the other way round")
  func otherTools() async throws {
    try await withRegistry { store in
      try await withFolder { folder in
        let images = ["linux/amd64", "linux/arm64"].map { SampleImage(platform: $0) }
        for image in images { try await image.push(to: store, "app") }
        let index = try ImageIndex.assemble(
          zip(["linux/amd64", "linux/arm64"], images).map { name, image in
            IndexChild(platform: try #require(Platform(name)), manifest: image.manifest)
          })
        try await store.put(index, in: "app", tag: "v1")
        let name = "\(host)/\(store.endpoint.prefix)/app:v1"

        let fetched = try await OutsideTool("oras").output(["manifest", "fetch", "--plain-http", name])
        #expect(Data(fetched.utf8) == index.bytes)
        let config = try await OutsideTool("skopeo").output([
          "--override-os", "linux", "--override-arch", "arm64", "inspect", "--tls-verify=false", "--config", "--raw",
          "docker://\(name)",
        ])
        #expect(Data(config.utf8) == images[1].config)
        // It checks every digest on the way.
        let layout = folder.appendingPathComponent("theirs")
        try await OutsideTool("skopeo").run([
          "copy", "--all", "--preserve-digests", "--src-tls-verify=false", "docker://\(name)", "oci:\(layout.path):v1",
        ])
        let theirs = try OCILayoutStore(directory: layout)
        #expect(try await theirs.manifest(.tag("v1"), in: "") == index)
        try await OutsideTool("skopeo").run([
          "copy", "--all", "--preserve-digests", "--dest-tls-verify=false", "oci:\(layout.path):v1",
          "docker://\(host)/\(store.endpoint.prefix)/back:v2",
        ])
        #expect(try await store.manifest(.tag("v2"), in: "back") == index)
        let found = try await PlatformResolution.resolve("v2", in: "back", of: store)
        #expect(Set(found.values) == Set(images.map(\.manifest.digest)))
      }
    }
  }

  @Test("an image goes from a layout to the registry and back, whole")
  func copies() async throws {
    try await withRegistry { registry in
      try await withLayout { layout, _ in
        let images = ["linux/amd64", "linux/arm64"].map { SampleImage(platform: $0, blobs: 6, bytes: 300_000) }
        for image in images { try await image.push(to: layout, "app") }
        let index = try ImageIndex.assemble(
          zip(["linux/amd64", "linux/arm64"], images).map { name, image in
            IndexChild(platform: try #require(Platform(name)), manifest: image.manifest)
          })
        try await layout.put(index, in: "app", tag: "v1")
        try await ImageCopy.copyAll(
          index.digest, from: layout, repository: "app", to: registry, repository: "copy", tag: "v1")
        // Mounted within the registry.
        try await ImageCopy.copyAll(
          index.digest, from: registry, repository: "copy", to: registry, repository: "moved", tag: "v2")
        try await withLayout { target, _ in
          try await ImageCopy.copyAll(
            index.digest, from: registry, repository: "moved", to: target, repository: "back", tag: "v3")
          #expect(try await target.manifest(.tag("v3"), in: "back") == index)
          for part in images.flatMap(\.parts) {
            #expect(try await target.blob(Digest(of: part), in: "back", maxBytes: 1 << 20) == part)
          }
        }
      }
    }
  }
}
