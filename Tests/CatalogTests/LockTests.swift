import Catalog
import Foundation
import Model
import Testing

@Suite struct LockTests {
  static func lock() throws -> Lock {
    let platforms = try ["linux/amd64", "linux/arm64", "linux/arm/v7"].map { try #require(Platform($0)) }
    return Lock(
      bases: [
        "debian": Lock.Base(
          source: "registry.example/library/debian", tag: "12",
          platforms: Dictionary(uniqueKeysWithValues: platforms.map { ($0, Digest(of: $0.description)) })),
        "host.example:5000/a/b:1": Lock.Base(source: "oci-layout:../x y", tag: "latest", platforms: [:]),
      ],
      epochs: [
        FragmentVersion(name: "core", version: "0.2.0"): 1_700_000_000, FragmentVersion(name: "a", version: "1.0"): 5,
      ])
  }

  @Test func readsWhatItWrites() throws {
    var lock = try Self.lock()
    lock.bases["host.example:5000/a/b:1"]?.source = "oci-layout:../x-y"
    #expect(try Lock.load(Fixture.tree([Lock.fileName: lock.text()])) == lock)
    #expect(try Lock.load(Fixture.tree([Lock.fileName: Lock().text()])) == Lock())
    #expect(try Lock.load(Fixture.tree()) == Lock())
    let lines = lock.text().split(separator: "\n")
    #expect(lines[0] == "# Written by 'kiln lock'. Commit it; do not edit it.")
    #expect(lines[6] == "      linux/amd64: \(Digest(of: "linux/amd64"))")
    #expect(lines.suffix(2) == ["  \"a@1.0\": 5", "  \"core@0.2.0\": 1700000000"])
  }

  @Test func saysWhatItDoesNotUnderstand() throws {
    let text =
      "bases:\n  debian:\n    source: a.example/b\n    tag: x\n    platforms:\n      linux/amd64: sha256:12\nepoch: {}\n"
    let errors = #expect(throws: CatalogErrors.self) { try Lock.load(Fixture.tree([Lock.fileName: text])) }
    #expect(
      errors?.diagnostics.map(\.description) == [
        "catalog.lock:6: field 'bases.debian.platforms.linux/amd64': expected a digest: sha256: and 64 hex digits",
        "catalog.lock:7: field 'epoch': unknown field; did you mean 'epochs'?",
      ])
  }

  @Test func whatCameFromElsewhereIsNotLocked() throws {
    let platform = try #require(Platform("linux/amd64"))
    let base = try #require(Fixture.catalog().settings.bases["debian"])
    #expect(try Self.lock().digest(of: base, platform) == Digest(of: "linux/amd64"))
    var moved = base
    moved.source = "mirror.example/debian"
    #expect(try Self.lock().digest(of: moved, platform) == nil)
    moved = base
    moved.tag = "13"
    #expect(try Self.lock().digest(of: moved, platform) == nil)
    #expect(try Self.lock().digest(of: base, #require(Platform("linux/386"))) == nil)
  }

  @Test func whatNeedsLocking() throws {
    let catalog = try Fixture.catalog([
      "fragments/app/1.0.0/Dockerfile.stages": "FROM alpine AS app-build\nRUN true\n",
      "fragments/app/1.0.0/fragment.yml": "name: app\nversion: 1.0.0\ndescription: app\nrefresh: 7d\n",
      "catalog.yml":
        "name: fixture\nbases:\n  debian: {source: r.example/debian, tag: '12'}\n  alpine: {source: r.example/alpine}\n  unused: {source: r.example/unused}\n",
      "products/hello.yml": (Fixture.files["products/hello.yml"] ?? "") + "  - platform: linux/arm64\n",
    ])
    #expect(
      catalog.lockedBasesNeeded().map { "\($0.base.source):\($0.base.tag) \($0.platforms)" } == [
        "r.example/alpine:latest [linux/amd64, linux/arm64]", "r.example/debian:12 [linux/amd64, linux/arm64]",
      ])
    #expect(catalog.refreshingFragments.map(\.id.description) == ["app@1.0.0"])
    #expect(catalog.refreshingFragments.map(\.refreshSeconds) == [7 * 86_400])
  }
}
