import Catalog
import Foundation
import Model
import Planner
import Testing

@Suite struct LockMoveTests {
  private static let core = FragmentVersion(name: "core", version: "0.2.0")

  @Test func saysWhatMovedFromWhatToWhat() throws {
    let platform = try #require(Platform("linux/amd64"))
    let (one, two) = (Digest(of: "1"), Digest(of: "2"))
    func lock(_ digest: Digest?, tag: String = "12", epoch: Int?) -> Lock {
      Lock(
        bases: digest.map { ["debian": Lock.Base(source: "r.example/debian", tag: tag, platforms: [platform: $0])] }
          ?? [:], epochs: epoch.map { [Self.core: $0] } ?? [:])
    }
    let table: [(Lock, Lock, [LockChange.Moved])] = [
      (lock(one, epoch: 1), lock(one, epoch: 1), []),
      (lock(one, epoch: 1), lock(two, epoch: 1), [.base(name: "debian", platform, from: one, to: two)]),
      (lock(one, epoch: 1), lock(one, epoch: 2), [.epoch(Self.core, from: 1, to: 2)]),
      (
        lock(nil, epoch: nil), lock(one, epoch: 2),
        [.base(name: "debian", platform, from: nil, to: one), .epoch(Self.core, from: nil, to: 2)]
      ),
      (
        lock(one, epoch: 1), lock(nil, epoch: nil),
        [.base(name: "debian", platform, from: one, to: nil), .epoch(Self.core, from: 1, to: nil)]
      ),
      (
        lock(one, epoch: 1), lock(one, tag: "13", epoch: 1),
        [.source(name: "debian", from: "r.example/debian:12", to: "r.example/debian:13")]
      ),
    ]
    for (old, new, expected) in table { #expect(new.changes(since: old).map(\.moved) == expected) }
  }

  @Test func refreshesWhatIsNamed() throws {
    let catalog = try PlanFixture().catalog()
    for (name, bases, fragments) in [
      ("core", [], [Self.core]), ("core@0.2.0", [], [Self.core]), ("debian", ["debian"], []),
    ] as [(String, Set<String>, Set<FragmentVersion>)] {
      let refresh = try catalog.refresh(named: [name])
      #expect(refresh.bases == bases && refresh.fragments == fragments, "\(name)")
    }
    #expect(catalog.wholeRefresh.bases == ["debian"] && catalog.wholeRefresh.fragments == [Self.core])
    let errors = #expect(throws: CatalogErrors.self) { try catalog.refresh(named: ["app", "cor", "core@1"]) }
    #expect(
      errors?.diagnostics.map(\.description) == [
        "catalog.lock: there is neither a fragment nor a base 'cor'; did you mean 'core'?",
        "catalog.lock: there is neither a fragment nor a base 'core@1'; did you mean 'core'?",
        "fragments/app/1.0.0/fragment.yml: field 'refresh': 'app' does not depend on the outside: it has no epoch to move; say 'refresh: 7d' or the like where it does",
      ])
  }

  /// The base, and an image that a builder stage begins with.
  @Test func aMirrorChangesNoKey() throws {
    var fixture = PlanFixture()
    fixture.files["fragments/app/1.0.0/Dockerfile.stages"] = "FROM debian AS app-build\nRUN true\n"
    let before = try fixture.work()
    fixture.change("catalog.yml", "bases:", "mirrors: {r.example/library/debian: 'm.example:5000/copy/debian'}\nbases:")
    let after = try fixture.work()
    #expect(after.plan.layers.map(\.key) == before.plan.layers.map(\.key))
    #expect(after.plan.cells.map(\.key) == before.plan.cells.map(\.key))
    #expect(after.plan.cells.map(\.base.source) == ["m.example:5000/copy/debian"])
    let digest = Digest(of: "base")
    let app = try #require(after.plan.layers.first { $0.fragment?.name == "app" })
    #expect(app.dockerfile.contains("FROM m.example:5000/copy/debian@\(digest) AS app-build\n"))
    let rendered = try fixture.catalog().render(
      try fixture.catalog().compose(manifest: "hello"), platform: try #require(Platform("linux/amd64")),
      lock: fixture.lock)
    #expect(rendered.text.contains("\nFROM m.example:5000/copy/debian@\(digest)\n"))
    // What the lock keeps is what the catalog says, not where this site fetches it.
    #expect(fixture.lock.text().contains("source: \"r.example/library/debian\""))
  }

  @Test(arguments: [
    ("r.example/library/debian: not-a-place", "field 'mirrors.r.example/library/debian': 'not-a-place' is not host"),
    ("r.example/library/debian: 'oci-layout:../x'", "'oci-layout:../x' is not host[:port]/repository"),
    (
      "r.example/library/debiam: m.example/debian",
      "no base image comes from 'r.example/library/debiam'; did you mean 'r.example/library/debian'?"
    ),
  ])
  func aMirrorIsChecked(_ text: String, _ expected: String) throws {
    var fixture = PlanFixture()
    fixture.change("catalog.yml", "bases:", "mirrors:\n  \(text)\nbases:")
    let errors = try fixture.errors()
    #expect(errors.count == 1 && errors[0].hasPrefix("catalog.yml:3: "), "\(errors)")
    #expect(errors.first?.contains(expected) ?? false, "\(errors)")
  }
}
