import Foundation
import Model
import Testing

@testable import Registry

@Suite("OCI documents")
struct DocumentTests {
  @Test("JSON loses nothing, and equal values have equal bytes")
  func json() throws {
    let text = #"{"b":[1,-2,3.5,9007199254740993,true,false,null,""],"a":{"/":"ü\n\"","z":{}}}"#
    let value = try JSONValue.parse(Data(text.utf8), what: "it")
    #expect(
      String(decoding: value.canonicalBytes, as: UTF8.self)
        == #"{"a":{"/":"ü\n\"","z":{}},"b":[1,-2,3.5,9007199254740993,true,false,null,""]}"#)
  }

  @Test("what is nested too deep is refused before it is parsed; brackets in strings do not count")
  func depth() async throws {
    let deep = Data((String(repeating: "[", count: 100_000) + String(repeating: "]", count: 100_000)).utf8)
    #expect(try await failureCode { _ = try JSONValue.parse(deep, what: "it") } == "not-json")
    let string = Data((#"["\""# + String(repeating: "[", count: 1000) + #""]"#).utf8)
    #expect(try JSONValue.parse(string, what: "it").array?.count == 1)
    #expect(try await failureCode { _ = try JSONValue.parse(Data("{".utf8), what: "it") } == "not-json")
  }

  @Test("an index is the same for the same children, whatever their order, and is read back")
  func index() throws {
    let children = ["linux/arm64", "linux/amd64", "linux/arm/v7"].map { name in
      IndexChild(
        platform: Platform(name)!, manifest: Manifest(mediaType: MediaType.imageManifest, bytes: Data(name.utf8)))
    }
    let index = try ImageIndex.assemble(children)
    #expect(index == (try ImageIndex.assemble(children.reversed())))
    let read = try ImageIndex.children(index)
    #expect(read.map(\.platform.description) == ["linux/amd64", "linux/arm/v7", "linux/arm64"])
    #expect(read.map(\.descriptor.digest) == ["linux/amd64", "linux/arm/v7", "linux/arm64"].map { Digest(of: $0) })
    #expect(throws: Failure.self) { try ImageIndex.assemble([]) }
    #expect(throws: Failure.self) { try ImageIndex.assemble([children[0], children[0]]) }
  }

  @Test("attestations are no images, but entries")
  func attestations() throws {
    let digest = Digest(of: "x")
    let index = Manifest(
      mediaType: MediaType.imageIndex,
      bytes: Data(
        #"""
        {"manifests":[{"digest":"\#(digest)","size":1,"platform":{"os":"linux","architecture":"arm64","variant":"v8"}},
        {"digest":"\#(digest)","size":1,"platform":{"os":"unknown","architecture":"unknown"}}]}
        """#.utf8))
    #expect(try ImageIndex.children(index).map(\.platform) == [Platform("linux/arm64")!])
    #expect(try ImageIndex.entries(index).count == 2)
  }

  @Test(
    "names for engines are whole",
    arguments: [
      ("hello:1.0.0", "docker.io/library/hello:1.0.0"), ("team/hello:1", "docker.io/team/hello:1"),
      ("host:5000/hello", "host:5000/hello:latest"), ("localhost/hello:2", "localhost/hello:2"),
      ("ghcr.io/a/b:c", "ghcr.io/a/b:c"), ("hello", "docker.io/library/hello:latest"),
    ])
  func names(_ short: String, _ full: String) { #expect(OCIArchive.fullName(short) == full) }

  @Test("a tar header holds sizes beyond eight gigabytes")
  func tarSizes() {
    let small = TarFile.header("a", sizeBytes: 511)
    #expect(String(decoding: small[124..<135], as: UTF8.self) == "00000000777")
    let large = TarFile.header("a", sizeBytes: 1 << 33)
    #expect(Array(large[124..<136]) == [0x80, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0])
  }
}
