import Catalog
import Foundation
import Model
import Planner
import Testing

@Suite struct PlannerTests {
  /// A second version of core, and a product with a matrix over it.
  static func withMatrix(_ extra: String = "") -> PlanFixture {
    var fixture = PlanFixture()
    for version in ["0.2.1", "0.3.0"] {
      fixture.files["fragments/core/\(version)/fragment.yml"] = "name: core\nversion: \(version)\ndescription: core\n"
      fixture.files["fragments/core/\(version)/Dockerfile.fragment"] = "RUN echo \(version)\n"
    }
    fixture.change("products/hello.yml", "{version}", "{version}-{variant}")
    fixture.files["products/hello.yml"]? += "matrix:\n  core: [0.2.0, 0.2.1, 0.3.0]\n\(extra)"
    return fixture
  }

  @Test func productsShareTheirLowerLayers() throws {
    var fixture = PlanFixture()
    fixture.files["products/world.yml"] =
      "image: fixture/world\nversion: 2\nmanifest: world\ntags: [x]\ntargets: [{platform: linux/amd64}]\n"
    fixture.files["manifests/world.yml"] = fixture.files["manifests/hello.yml"]?.replacing("red", with: "green")
    let plan = try fixture.work().plan
    #expect(plan.images.map(\.product) == ["hello", "world"])
    #expect(plan.cells.count == 2)
    // head and core once; app and tail for each.
    #expect(plan.layers.count == 6)
    #expect(plan.cells[0].path.prefix(2) == plan.cells[1].path.prefix(2))
    #expect(Set(plan.cells[0].path.dropFirst(2)).isDisjoint(with: plan.cells[1].path.dropFirst(2)))
    for (position, layer) in plan.layers.enumerated() {
      if let parent = layer.parentKey {
        #expect(plan.layers[..<position].contains { $0.key == parent }, "parents come before children")
      }
    }
  }

  @Test func howOftenTestsAreTriedIsTheProductsAndInNoKey() throws {
    var fixture = PlanFixture()
    let before = try #require(try fixture.work().plan.cells.first)
    fixture.files["products/hello.yml"]? += "retries:\n  test: {attempts: 7, firstDelaySeconds: 1}\n"
    let after = try #require(try fixture.work().plan.cells.first)
    #expect(after.key == before.key)
    let pool = Pool(name: PoolName(text: "pool"), platforms: [], slots: 1)
    #expect(JobSpec.finish(before).retries(in: pool) == pool.retries)
    var expected = pool.retries
    expected.test = RetryRule(attempts: 7, firstDelaySeconds: 1, maximumDelaySeconds: 60)
    #expect(JobSpec.finish(after).retries(in: pool) == expected)
  }

  @Test func equalCellsOfTwoProductsAreOne() throws {
    var fixture = PlanFixture()
    fixture.files["products/copy.yml"] = fixture.files["products/hello.yml"]?.replacing(
      "fixture/hello", with: "fixture/copy")
    let plan = try fixture.work().plan
    #expect(plan.images.count == 2 && plan.cells.count == 1 && plan.layers.count == 4)
    #expect(plan.cells[0].product == "copy")
    #expect(plan.images[0].cells == plan.images[1].cells)
  }

  @Test func matrixBecomesVariantsWithTagsOfTheirOwn() throws {
    let work = try Self.withMatrix("  exclude: [{core: 0.2.1}]\n").work()
    #expect(work.plan.images.map(\.variant) == ["core=0.2.0", "core=0.3.0"])
    #expect(work.plan.images.map(\.tags) == [["1.0.0-core-0.2.0"], ["1.0.0-core-0.3.0"]])
    let included = try Self.withMatrix("  include: [{app: 1.0.0}]\n").work()
    #expect(included.plan.images.map(\.variant) == ["app=1.0.0,core=0.2.0", "core=0.2.0", "core=0.2.1", "core=0.3.0"])
  }

  @Test(arguments: [
    (
      "requires: {core: [0.2.0, 0.3.0]}\n", "core=0.2.1",
      "app@1.0.0 requires core@0.2.0 or 0.3.0, but it has core@0.2.1"
    ),
    ("conflicts: {core: 0.2.1}\n", "core=0.2.1", "app@1.0.0 conflicts with core@0.2.1"),
  ])
  func impossibleCellsAreLeftOut(_ rule: String, _ variant: String, _ reason: String) throws {
    var fixture = Self.withMatrix()
    fixture.files["fragments/app/1.0.0/fragment.yml"]? += rule
    let work = try fixture.work()
    #expect(work.plan.images.map(\.variant) == ["core=0.2.0", "core=0.3.0"])
    #expect(work.impossible.map(\.variant) == [variant])
    #expect(work.impossible.map(\.reason) == [reason])
  }

  @Test func requiredFragmentsStandBelow() throws {
    var fixture = PlanFixture()
    fixture.files["fragments/core/0.2.0/fragment.yml"]? += "requires: {app: any}\n"
    #expect(
      try fixture.errors() == [
        "products/hello.yml: field 'matrix': no variant is possible: core@0.2.0 requires app, which comes after it"
      ])
  }

  @Test func whatIsNotLockedIsNotPlanned() throws {
    var fixture = PlanFixture()
    fixture.lock.bases = [:]
    #expect(
      try fixture.errors() == [
        "manifests/hello.yml:2: field 'base': the base image 'debian' (r.example/library/debian) is not locked for linux/amd64; run 'kiln lock'"
      ])
    fixture = PlanFixture()
    fixture.lock.epochs = [:]
    #expect(
      try fixture.errors() == [
        "fragments/core/0.2.0/fragment.yml: field 'refresh': no epoch is locked for core@0.2.0, which depends on the outside; run 'kiln lock'"
      ])
  }

  @Test func oneTagForTwoImagesIsAnError() throws {
    var fixture = PlanFixture()
    fixture.files["products/world.yml"] = fixture.files["products/hello.yml"]?.replacing("[/main.sh]", with: "[/other]")
    #expect(
      try fixture.errors() == [
        "products/world.yml:5: field 'tags': world and hello would both be fixture/hello:1.0.0; say '{variant}' or '{product}' in it"
      ])
  }

  @Test func tagsAreExpanded() throws {
    var fixture = PlanFixture()
    fixture.change("products/hello.yml", "\"{version}\"", "\"{version}\", \"{product}-{revision}\", latest")
    fixture.revision = "0123456789abcdef0123456789abcdef01234567"
    #expect(try fixture.work().plan.images[0].tags == ["1.0.0", "hello-0123456789ab", "latest"])
    fixture.revision = nil
    #expect(try fixture.work().plan.images[0].tags[1] == "hello-\(fixture.catalog().tree.digest.short)")
  }

  @Test func requestsChooseProductsAndPlatforms() throws {
    var fixture = PlanFixture()
    fixture.change(
      "products/hello.yml", "  - platform: linux/amd64\n",
      "  - platform: linux/amd64\n  - platform: linux/arm64\n    required: false\n")
    #expect(
      try fixture.work().plan.images[0].cells.map { "\($0.target.platform) \($0.required)" } == [
        "linux/amd64 true", "linux/arm64 false",
      ])
    fixture.request = try PlanRequest(platforms: [#require(Platform("linux/arm64"))])
    #expect(try fixture.work().plan.cells.map(\.target.platform.description) == ["linux/arm64"])
    fixture.request = try PlanRequest(platforms: [#require(Platform("linux/386"))])
    #expect(try fixture.errors() == ["products/hello.yml: field 'targets': has no target for linux/386"])
    fixture.request = PlanRequest(products: ["helo"])
    #expect(try fixture.errors() == ["products: there is no product 'helo'; did you mean 'hello'?"])
  }

  @Test func layersCarryWhatTheirBuildNeeds() throws {
    let work = try PlanFixture().work()
    let core = try #require(work.plan.layers.first { $0.fragment?.name == "core" })
    #expect(core.secrets == ["token": "1"] && core.context == nil)
    #expect(
      core.dockerfile
        == "ARG LEVEL=1\nFROM kiln-parent\nARG SOURCE_DATE_EPOCH\nRUN --mount=type=secret,id=token,required=true true\n"
    )
    let app = try #require(work.plan.layers.first { $0.fragment?.name == "app" })
    #expect(app.arguments == ["LEVEL": "1", "COLOR": "red"])
    let context = try #require(app.context)
    #expect(work.contexts.keys.sorted() == [context.digest])
    #expect(work.contexts[context.digest].map { Digest(of: $0) } == context.digest)
    let cell = try #require(work.plan.cells.first)
    #expect(cell.tests.map(\.name) == ["app.there", "runs"])
    #expect(cell.fragments.map(\.description) == ["core@0.2.0", "app@1.0.0"])
    #expect(cell.base == BaseImage(name: "debian", source: "r.example/library/debian", digest: Digest(of: "base")))
  }

  @Test func emptySectionsAreNoLayers() throws {
    var fixture = PlanFixture()
    fixture.change("templates/base/1/Dockerfile.tpl", "USER 1", "# nothing")
    fixture.change("templates/base/1/Dockerfile.tpl", "LABEL vendor=fixture", "")
    #expect(try fixture.work().plan.layers.map(\.title) == ["core@0.2.0", "app@1.0.0"])
  }
}
