import Catalog
import Foundation
import Model
import Testing

@Suite struct TarArchiveTests {
  typealias Entry = TarArchive.Entry
  static let limits = TarArchive.Limits(maxArchiveBytes: 1 << 20, maxFileBytes: 1 << 16, maxEntries: 100)
  static let long = String(repeating: "long/", count: 40) + "name.txt"
  static let entries = [
    Entry(path: "b.sh", content: .file(Data("#!".utf8), executable: true)),
    Entry(path: "a/z", content: .symlink(target: "../\(long)")),
    Entry(path: long, content: .file(Data(repeating: 7, count: 1000), executable: false)),
    Entry(path: "a-b", content: .file(Data(), executable: false)),
    Entry(path: "caf\u{e9}", content: .file(Data("x".utf8), executable: false)),
  ]

  @Test func orderOfEntriesDoesNotMatter() {
    let bytes = TarArchive.write(Self.entries)
    #expect(TarArchive.write(Self.entries.reversed()) == bytes)
    #expect(bytes.count % 512 == 0)
  }

  @Test func readsWhatItWrites() throws {
    let read = try TarArchive.read(TarArchive.write(Self.entries), limits: Self.limits)
    #expect(Set(read.filter { $0.content != .directory }) == Set(Self.entries))
    // Parents are there, each before what it holds.
    let paths = read.map(\.path)
    #expect(paths.contains("a") && paths.contains("long/long"))
    #expect(paths == paths.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) })
  }

  @Test func headersAreNormal() {
    let bytes = [UInt8](TarArchive.write([Entry(path: "x", content: .file(Data("abc".utf8), executable: true))]))
    let text = String(decoding: bytes.prefix(345).map { $0 == 0 ? UInt8(ascii: ".") : $0 }, as: UTF8.self)
    #expect(text.hasPrefix("x."))
    #expect(text.dropFirst(100).hasPrefix("0000755.0000000.0000000.00000000003.02263773600."))
    #expect(Int("02263773600", radix: 8) == Recipe.sourceDateEpochSeconds)
    #expect(text.dropFirst(257).hasPrefix("ustar.00"))
  }

  /// A header for `path` with a right checksum.
  private func header(_ path: String, type: Character = "0", link: String = "", size: Int = 0) -> Data {
    var block = [UInt8](repeating: 0, count: 512)
    func put(_ text: String, _ offset: Int) {
      for (index, byte) in text.utf8.enumerated() { block[offset + index] = byte }
    }
    put(path, 0)
    put("0000644", 100)
    put(
      String(String(size, radix: 8).reversed() + "00000000000".dropFirst(String(size, radix: 8).count)).reversed().map(
        String.init
      ).joined(), 124)
    put(String(type), 156)
    put(link, 157)
    put("ustar\u{0}00", 257)
    put("        ", 148)
    let sum = block.reduce(0) { $0 + Int($1) }
    put(String(sum, radix: 8) + "\u{0}", 148)
    return Data(block)
  }

  @Test func refusesWhatACatalogMustNotHave() {
    let end = Data(count: 1024)
    let cases: [(Data, String)] = [
      (header("/etc/passwd") + end, "'/etc/passwd' is an absolute path"),
      (header("a/../../b") + end, "'a/../../b' is not a plain relative path"),
      (header("a") + header("a") + end, "'a' is there twice"),
      (header("a") + header("a/b") + end, "'a/b' lies below something that is not a directory"),
      (
        header("a", type: "2", link: "/tmp") + header("a/b") + end, "'a/b' lies below something that is not a directory"
      ),
      (header("a", type: "1", link: "b") + end, "'a' is a hardlink"),
      (header("a", type: "3") + end, "'a' is neither a file nor a directory nor a symlink"),
      (header("a", type: "6") + end, "'a' is neither a file nor a directory nor a symlink"),
      (header("a", size: 70_000) + end, "an entry has 70000 bytes; at most 65536 are allowed"),
      (header("a", size: 600) + Data(count: 512), "it is cut short"),
      (header("a"), "it is cut short"),
      (header("a").dropFirst(1) + Data(count: 513), "a header's checksum is wrong"),
      (end + header("a"), "there is something after its end"),
      (Data(count: (1 << 20) + 512), "the archive has 1049088 bytes; at most 1048576 are allowed"),
      ((0..<101).reduce(into: Data()) { $0 += header("f\($1)") } + end, "more than 100 entries"),
    ]
    for (bytes, message) in cases {
      let failure = #expect(throws: Failure.self) { try TarArchive.read(bytes, limits: Self.limits) }
      #expect(failure?.message == message)
      #expect(failure?.failureClass == .input)
    }
  }

  @Test func dockerfileGoesBeforeTheContext() throws {
    let archive = ContextArchive(Self.entries)
    let whole = ContextArchive.withDockerfile(archive: archive.bytes, dockerfile: "FROM x\n")
    let read = try TarArchive.read(whole, limits: Self.limits)
    #expect(read.first == Entry(path: ".kiln.Dockerfile", content: .file(Data("FROM x\n".utf8), executable: false)))
    #expect(try Array(read.dropFirst()) == TarArchive.read(archive.bytes, limits: Self.limits))
    #expect(
      try TarArchive.read(ContextArchive.withDockerfile(archive: nil, dockerfile: ""), limits: Self.limits).count == 1)
    #expect(
      archive.reference == BlobReference(digest: Digest(of: archive.bytes), sizeBytes: Int64(archive.bytes.count)))
  }
}
