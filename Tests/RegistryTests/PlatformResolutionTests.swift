import Foundation
import Model
import TestSupport
import Testing

@testable import Registry

/// What `kiln lock` pins: which platform is which image.
@Suite("Platform resolution", .timeLimit(.minutes(1)))
struct PlatformResolutionTests {
  struct Entry: Sendable {
    /// As the index says it; nil: it says none.
    var index: String?
    /// As the image's config says it.
    var config: String

    init(_ index: String?, config: String? = nil) {
      self.index = index
      self.config = config ?? index ?? ""
    }
  }

  struct Example: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var entries: [Entry]
    /// By platform, the position of its entry.
    var found: [String: Int] = [:]
    var code: String?

    init(_ name: String, _ entries: [Entry], found: [String: Int] = [:], code: String? = nil) {
      (testDescription, self.entries, self.found, self.code) = (name, entries, found, code)
    }
  }

  static let examples: [Example] = [
    Example(
      "each platform is itself, sorted or not",
      [Entry("linux/s390x"), Entry("linux/amd64"), Entry("windows/amd64")],
      found: ["linux/amd64": 1, "linux/s390x": 0, "windows/amd64": 2]),
    Example(
      "arm v6 is not v7", [Entry("linux/arm/v6"), Entry("linux/arm/v7")], found: ["linux/arm/v6": 0, "linux/arm/v7": 1]),
    Example("arm64 v8 is arm64", [Entry("linux/arm64/v8")], found: ["linux/arm64": 0]),
    Example(
      "amd64 v2 is not amd64", [Entry("linux/amd64/v2"), Entry("linux/amd64")],
      found: ["linux/amd64/v2": 0, "linux/amd64": 1]),
    Example(
      "names of other tools", [Entry("linux/x86_64"), Entry("linux/aarch64")],
      found: ["linux/amd64": 0, "linux/arm64": 1]),
    Example(
      "a config may leave the variant out", [Entry("linux/arm/v7", config: "linux/arm")], found: ["linux/arm/v7": 0]),
    Example("but must not say another", [Entry("linux/arm/v7", config: "linux/arm/v6")], code: "platform-mismatch"),
    Example(
      "nor a variant where the index has none", [Entry("linux/arm", config: "linux/arm/v6")], code: "platform-mismatch"),
    Example("nor another architecture", [Entry("linux/arm64", config: "linux/amd64")], code: "platform-mismatch"),
    Example("attestations are skipped", [Entry("linux/amd64"), Entry("unknown/unknown")], found: ["linux/amd64": 0]),
    Example(
      "attestations alone are nothing", [Entry("unknown/unknown"), Entry("unknown/unknown")], code: "no-platform"),
    Example(
      "of two for a platform, the first", [Entry("linux/amd64"), Entry("linux/amd64")], found: ["linux/amd64": 0]),
    Example(
      "an entry without a platform, alone, is asked itself", [Entry(nil, config: "linux/riscv64")],
      found: ["linux/riscv64": 0]),
    Example(
      "an entry without a platform, among others, is not", [Entry(nil, config: "linux/riscv64"), Entry("linux/amd64")],
      found: ["linux/amd64": 1]),
    Example("an empty index", [], code: "no-platform"),
  ]

  @Test("an index", arguments: examples)
  func index(_ example: Example) async throws {
    try await withLayout { store, _ in
      var images: [Manifest] = []
      for (position, entry) in example.entries.enumerated() {
        images.append(try await push(entry.config, "\(position)", to: store))
      }
      let index = Self.index(zip(example.entries, images).map { ($0.index, $1) })
      try await store.put(index, in: "one", tag: "v1")
      var found: [Platform: Digest] = [:]
      let code = try await failureCode { found = try await PlatformResolution.resolve("v1", in: "one", of: store) }
      #expect(code == example.code)
      let expected = example.found.map { (Platform($0.key)!, images[$0.value].digest) }
      #expect(found == Dictionary(uniqueKeysWithValues: expected))
    }
  }

  @Test("an image without an index is of the platform that its config says")
  func single() async throws {
    try await withLayout { store, _ in
      let image = try await push("linux/arm/v7", "x", to: store)
      try await store.put(image, in: "one", tag: "v1")
      let found = try await PlatformResolution.resolve("v1", in: "one", of: store)
      #expect(found == [Platform("linux/arm/v7")!: image.digest])
    }
  }

  @Test("an index in an index, as buildx exports it, is followed; a tower of them is not")
  func nested() async throws {
    try await withLayout { store, _ in
      let image = try await push("linux/amd64", "x", to: store)
      var index = Self.index([("linux/amd64", image)])
      for depth in 1...3 {
        try await store.put(index, in: "one", tag: nil)
        index = Self.index([(nil, index)])
        try await store.put(index, in: "one", tag: "v\(depth)")
      }
      for tag in ["v1", "v2"] {
        #expect(
          try await PlatformResolution.resolve(tag, in: "one", of: store) == [Platform("linux/amd64")!: image.digest])
      }
      let code = try await failureCode { _ = try await PlatformResolution.resolve("v3", in: "one", of: store) }
      #expect(code == "no-platform")
    }
  }

  @Test("a tag that is not there is told by its name")
  func absent() async throws {
    try await withLayout { store, _ in
      do {
        _ = try await PlatformResolution.resolve("v9", in: "one", of: store)
        Issue.record("nothing was thrown")
      } catch let failure as Failure {
        #expect(failure.code == "not-found" && failure.message.contains("'v9'"), "\(failure)")
      }
    }
  }

  // MARK: Images

  private static func platform(_ text: String) -> String {
    let parts = text.split(separator: "/")
    let variant = parts.count > 2 ? #","variant":"\#(parts[2])""# : ""
    return #""os":"\#(parts[0])","architecture":"\#(parts[1])"\#(variant)"#
  }

  private func push(_ platform: String, _ content: String, to store: OCILayoutStore) async throws -> Manifest {
    let config = Data(
      #"{\#(Self.platform(platform)),"author":"\#(content)","rootfs":{"type":"layers","diff_ids":[]}}"#.utf8)
    try await store.upload(config, digest: Digest(of: config), to: "one")
    let manifest = Manifest(
      mediaType: MediaType.imageManifest,
      bytes: Data(
        """
        {"schemaVersion":2,"mediaType":"\(MediaType.imageManifest)","config":{"mediaType":"\(MediaType.imageConfig)",\
        "digest":"\(Digest(of: config))","size":\(config.count)},"layers":[]}
        """.utf8))
    try await store.put(manifest, in: "one", tag: nil)
    return manifest
  }

  private static func index(_ entries: [(String?, Manifest)]) -> Manifest {
    let texts = entries.map { said, manifest in
      let place = said.map { #","platform":{\#(platform($0))}"# } ?? ""
      return #"{"mediaType":"\#(manifest.mediaType)","digest":"\#(manifest.digest)","#
        + #""size":\#(manifest.bytes.count)\#(place)}"#
    }
    return Manifest(
      mediaType: MediaType.imageIndex,
      bytes: Data(
        """
        {"schemaVersion":2,"mediaType":"\(MediaType.imageIndex)","manifests":[\(texts.joined(separator: ","))]}
        """.utf8))
  }
}
