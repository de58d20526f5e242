import Foundation
package import Model
package import Registry

/// What every image store must do. A case gets a store whose repositories are its own, and a way to
/// damage a blob behind the store's back.
package struct ImageStoreCase: Sendable, CustomStringConvertible {
  package typealias Damage = @Sendable (Digest) throws -> Void

  package let description: String
  package let run: @Sendable (any ImageStore, Damage) async throws -> Void

  init(_ description: String, _ run: @escaping @Sendable (any ImageStore, Damage) async throws -> Void) {
    self.description = description
    self.run = run
  }
}

package enum ImageStoreConformance {
  package static let cases: [ImageStoreCase] = blobCases + manifestCases

  package struct Violation: Error, CustomStringConvertible {
    package let description: String
  }

  /// Throws with `what` unless `condition` holds: here a failed expectation is an error, for this
  /// module is not a test.
  static func expect(_ condition: Bool, _ what: @autoclosure () -> String) throws {
    if !condition { throw Violation(description: what()) }
  }

  /// The code of the `Failure` that `work` throws.
  static func code(_ work: () async throws -> Void) async throws -> String {
    do {
      try await work()
    } catch let failure as Failure {
      return failure.code
    }
    throw Violation(description: "nothing was thrown")
  }

  static func withFolder<Value>(_ body: (URL) async throws -> Value) async throws -> Value {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-images-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try await body(folder)
  }

  /// Bytes that no other case has.
  static func someBytes(_ count: Int) -> Data {
    var random = SystemRandomNumberGenerator()
    var bytes = Data(capacity: count + 8)
    while bytes.count < count { withUnsafeBytes(of: random.next()) { bytes.append(contentsOf: $0) } }
    return bytes.prefix(count)
  }

  private static let blobCases: [ImageStoreCase] = [
    ImageStoreCase("a blob comes back as it went in") { store, _ in
      for size in [0, 1, 70_000] {
        let bytes = someBytes(size)
        let digest = Digest(of: bytes)
        try expect(try await store.blobSize(digest, in: "one") == nil || size == 0, "it is there before it was sent")
        try await store.upload(bytes, digest: digest, to: "one")
        try expect(try await store.blobSize(digest, in: "one") == Int64(size), "its size")
        try expect(try await store.blob(digest, in: "one", maxBytes: size) == bytes, "its bytes")
      }
    },
    ImageStoreCase("a large blob goes from file to file") { store, _ in
      try await withFolder { folder in
        let source = folder.appendingPathComponent("source")
        let target = folder.appendingPathComponent("target")
        let bytes = someBytes(20_000_000)
        try bytes.write(to: source)
        let blob = BlobReference(digest: Digest(of: bytes), sizeBytes: Int64(bytes.count))
        try await store.upload(file: source, blob: blob, to: "one/two", mountFrom: nil)
        try await store.download(blob, in: "one/two", to: target)
        try expect(try Data(contentsOf: target) == bytes, "its bytes")
        let code = try await code { try await store.download(blob, in: "one/two", to: target) }
        try expect(code == "local-file", "an existing file is not overwritten, but \(code)")
      }
    },
    ImageStoreCase("what is not there is told as such") { store, _ in
      let digest = Digest(of: someBytes(8))
      try expect(try await store.blobSize(digest, in: "one") == nil, "a size")
      let read = try await code { _ = try await store.blob(digest, in: "one", maxBytes: 10) }
      try expect(read == "not-found", "reading gave \(read)")
      try await withFolder { folder in
        let file = folder.appendingPathComponent("file")
        let got = try await code {
          try await store.download(BlobReference(digest: digest, sizeBytes: 8), in: "one", to: file)
        }
        try expect(got == "not-found", "downloading gave \(got)")
        try expect(!FileManager.default.fileExists(atPath: file.path), "a file was left behind")
      }
      try expect(try await store.manifest(.tag("none"), in: "one") == nil, "a tag")
      try expect(try await store.manifest(.digest(digest), in: "one") == nil, "a manifest")
      try expect(try await store.manifest(.tag("none"), in: "never/used") == nil, "a repository")
    },
    ImageStoreCase("more than the caller wants is refused") { store, _ in
      let bytes = someBytes(1000)
      try await store.upload(bytes, digest: Digest(of: bytes), to: "one")
      let code = try await code { _ = try await store.blob(Digest(of: bytes), in: "one", maxBytes: 999) }
      try expect(code == "too-large", "it gave \(code)")
    },
    ImageStoreCase("bytes that are not their digest are refused") { store, _ in
      let bytes = someBytes(100)
      let other = Digest(of: someBytes(100))
      let direct = try await code { try await store.upload(bytes, digest: other, to: "one") }
      try expect(direct == "wrong-digest", "bytes gave \(direct)")
      try await withFolder { folder in
        let file = folder.appendingPathComponent("file")
        try bytes.write(to: file)
        let byFile = try await code {
          let blob = BlobReference(digest: other, sizeBytes: 100)
          try await store.upload(file: file, blob: blob, to: "one", mountFrom: nil)
        }
        try expect(byFile == "wrong-digest", "a file gave \(byFile)")
      }
      try expect(try await store.blobSize(other, in: "one") == nil, "it was kept")
    },
    ImageStoreCase("a damaged blob is never given out") { store, damage in
      let bytes = someBytes(5000)
      let blob = BlobReference(digest: Digest(of: bytes), sizeBytes: 5000)
      try await store.upload(bytes, digest: blob.digest, to: "one")
      try damage(blob.digest)
      let read = try await code { _ = try await store.blob(blob.digest, in: "one", maxBytes: 5000) }
      try expect(["corrupt", "not-found"].contains(read), "reading gave \(read)")
      try await withFolder { folder in
        let file = folder.appendingPathComponent("file")
        let got = try await code { try await store.download(blob, in: "one", to: file) }
        try expect(["corrupt", "not-found"].contains(got), "downloading gave \(got)")
        try expect(!FileManager.default.fileExists(atPath: file.path), "a file was left behind")
      }
    },
    ImageStoreCase("sending again changes nothing, also twenty at once") { store, _ in
      let shared = someBytes(300_000)
      let digest = Digest(of: shared)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<20 {
          group.addTask {
            try await store.upload(shared, digest: digest, to: "many")
            let own = shared + Data([UInt8(index)])
            try await store.upload(own, digest: Digest(of: own), to: "many")
          }
        }
        try await group.waitForAll()
      }
      try expect(try await store.blob(digest, in: "many", maxBytes: 300_000) == shared, "the shared blob")
      for index in 0..<20 {
        let own = shared + Data([UInt8(index)])
        try expect(try await store.blobSize(Digest(of: own), in: "many") == 300_001, "blob \(index)")
      }
    },
    ImageStoreCase("a blob is mounted from where it is, and not from where it is not") { store, _ in
      let bytes = someBytes(1000)
      let blob = BlobReference(digest: Digest(of: bytes), sizeBytes: 1000)
      try expect(try await !store.mount(blob, from: "source", to: "target"), "mounted from nowhere")
      try await store.upload(bytes, digest: blob.digest, to: "source")
      try expect(try await store.mount(blob, from: "source", to: "target"), "not mounted")
      try expect(try await store.blob(blob.digest, in: "target", maxBytes: 1000) == bytes, "its bytes")
      try expect(try await store.mount(blob, from: "target", to: "target"), "not mounted onto itself")
      try await withFolder { folder in
        let nowhere = folder.appendingPathComponent("absent")
        try await store.upload(file: nowhere, blob: blob, to: "third", mountFrom: "source")
      }
      try expect(try await store.blobSize(blob.digest, in: "third") == 1000, "not mounted by an upload")
    },
  ]
}
