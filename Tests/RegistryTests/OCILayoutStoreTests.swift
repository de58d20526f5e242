import Foundation
import Model
import TestSupport
import Testing

@testable import Registry

@Suite("OCI layout store", .timeLimit(.minutes(2)))
struct OCILayoutStoreTests {
  static func blobFile(_ layout: URL, _ digest: Digest) -> URL {
    layout.appendingPathComponent("blobs/sha256/\(digest.hex)")
  }

  @Test("conforms", arguments: ImageStoreConformance.cases)
  func conforms(_ one: ImageStoreCase) async throws {
    try await withLayout { store, layout in
      try await one.run(store) { digest in
        // The same size: only its digest tells.
        let file = Self.blobFile(layout, digest)
        var bytes = try Data(contentsOf: file)
        bytes[bytes.count / 2] ^= 1
        try bytes.write(to: file)
      }
    }
  }

  @Test("a truncated blob is told, removed, and repaired by the next upload")
  func truncated() async throws {
    try await withLayout { store, layout in
      let bytes = Data(repeating: 7, count: 10_000)
      let digest = Digest(of: bytes)
      try await store.upload(bytes, digest: digest, to: "one")
      try bytes.prefix(5000).write(to: Self.blobFile(layout, digest))
      #expect(try await failureCode { _ = try await store.blob(digest, in: "one", maxBytes: 10_000) } == "corrupt")
      #expect(await store.blobSize(digest, in: "one") == nil)
      try await store.upload(bytes, digest: digest, to: "one")
      try bytes.prefix(5000).write(to: Self.blobFile(layout, digest))
      try await store.upload(bytes, digest: digest, to: "one")
      #expect(try await store.blob(digest, in: "one", maxBytes: 10_000) == bytes)
    }
  }

  @Test("a manifest with a truncated blob is refused")
  func truncatedChild() async throws {
    try await withLayout { store, layout in
      let image = SampleImage()
      try await image.push(to: store, "one")
      try Data("x".utf8).write(to: Self.blobFile(layout, Digest(of: image.blobs[0])))
      #expect(try await failureCode { try await store.put(image.manifest, in: "one", tag: "v1") } == "incomplete")
    }
  }

  @Test("two stores of one folder lose none of each other's tags")
  func shared() async throws {
    try await withLayout { first, layout in
      let second = try OCILayoutStore(directory: layout)
      let image = SampleImage()
      try await image.push(to: first, "one")
      try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<40 {
          group.addTask {
            try await (index % 2 == 0 ? first : second).put(image.manifest, in: "one", tag: "t\(index)")
          }
        }
        try await group.waitForAll()
      }
      for index in 0..<40 { #expect(try await first.manifest(.tag("t\(index)"), in: "one") != nil, "t\(index)") }
    }
  }

  @Test("what killed writers left is swept at the start, what is being written is not")
  func sweep() async throws {
    try await withLayout { _, layout in
      let files = FileManager.default
      let old = Date(timeIntervalSinceNow: -LayoutFolder.staleSeconds - 5)
      let ingest = layout.appendingPathComponent("ingest")
      var stale: [URL] = []
      var fresh: [URL] = []
      for (folder, name) in [(layout.appendingPathComponent("blobs/sha256"), ".new-"), (ingest, "")] {
        try files.createDirectory(at: folder, withIntermediateDirectories: true)
        for age in ["old", "young"] {
          let file = folder.appendingPathComponent(name + age)
          try Data("x".utf8).write(to: file)
          if age == "old" { try files.setAttributes([.modificationDate: old], ofItemAtPath: file.path) }
          age == "old" ? stale.append(file) : fresh.append(file)
        }
      }
      // As containerd has it: a folder for each ingestion, whose data grow.
      let growing = ingest.appendingPathComponent("growing")
      try files.createDirectory(at: growing, withIntermediateDirectories: true)
      try Data("x".utf8).write(to: growing.appendingPathComponent("data"))
      try files.setAttributes([.modificationDate: old], ofItemAtPath: growing.path)
      fresh.append(growing)
      _ = try OCILayoutStore(directory: layout)
      for file in stale { #expect(!files.fileExists(atPath: file.path), "\(file.path)") }
      for file in fresh { #expect(files.fileExists(atPath: file.path), "\(file.path)") }
      #expect(try files.contentsOfDirectory(atPath: layout.path).allSatisfy { !$0.hasPrefix(".new-") })
    }
  }

  @Test("in a folder of another tool, the only entry has every name")
  func onlyEntry() async throws {
    try await withLayout { store, layout in
      let image = SampleImage()
      try await image.push(to: store, "", tag: "theirs")
      #expect(try await store.manifest(.tag("latest"), in: "") == image.manifest)
      #expect(try await store.manifest(.tag("latest"), in: "one") == nil)
      let other = SampleImage()
      try await other.push(to: store, "", tag: "more")
      #expect(try await store.manifest(.tag("latest"), in: "") == nil)
      #expect(try await store.manifest(.tag("more"), in: "") == other.manifest)
      #expect(
        store.location(of: image.manifest.digest, in: "").buildContext
          == "oci-layout://\(layout.path)@\(image.manifest.digest)")
    }
  }

  @Test("a folder that cannot be, and a file that cannot be read, are told in words")
  func unusable() async throws {
    #expect(
      try await failureCode { _ = try OCILayoutStore(directory: URL(fileURLWithPath: "/proc/none/such")) }
        == "local-file")
    try await withLayout { store, layout in
      try Data("no JSON".utf8).write(to: layout.appendingPathComponent("index.json"))
      #expect(try await failureCode { _ = try await store.manifest(.tag("x"), in: "") } == "not-json")
    }
  }
}
