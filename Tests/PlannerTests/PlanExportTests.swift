import Catalog
import Foundation
import Model
import Planner
import Testing

@Suite struct PlanExportTests {
  private func bake(_ fixture: PlanFixture) throws -> BakeFile {
    try BakeFile(try fixture.work(), catalog: fixture.catalog(), lock: fixture.lock, catalogPath: "here/catalog")
  }

  @Test func eachCellIsATargetWithTheRenderedDockerfile() throws {
    var fixture = PlannerTests.withMatrix()
    fixture.change(
      "products/hello.yml", "  - platform: linux/amd64", "  - platform: linux/amd64\n  - platform: linux/arm64")
    fixture.files["fragments/core/0.3.0/Dockerfile.fragment"] = "RUN echo ${HOME} %{x} $${PATH}\n"
    let file = try bake(fixture)
    #expect(file.group["default"]?.targets == ["hello"])
    #expect(file.group["hello"]?.targets.count == 6)
    #expect(Set(file.group["hello"]?.targets ?? []) == Set(file.target.keys))
    let target = try #require(file.target["hello-core-0-3-0-linux-arm64"])
    #expect(target.context == "here/catalog")
    #expect(target.contexts == nil)
    #expect(target.platforms == ["linux/arm64"])
    #expect(target.tags == ["fixture/hello:1.0.0-core-0.3.0-linux-arm64"])
    #expect(target.args == ["SOURCE_DATE_EPOCH": "\(Recipe.sourceDateEpochSeconds)"])
    #expect(target.secret == nil)
    let arm64 = try #require(Platform("linux/arm64"))
    let catalog = try fixture.catalog()
    let rendered = try catalog.render(
      catalog.compose(manifest: "hello", choice: ["core": "0.3.0"]), platform: arm64, lock: fixture.lock)
    #expect(target.dockerfile.contains("RUN echo $${HOME} %%{x} $$${PATH}\n"), "bake would read these as its own")
    #expect(target.dockerfile.replacing("$${", with: "${").replacing("%%{", with: "%{") == rendered.markedText)
  }

  @Test func oneTargetKeepsTheTagsOfItsImage() throws {
    let file = try bake(PlanFixture())
    #expect(file.target.keys.sorted() == ["hello-linux-amd64"])
    #expect(file.target["hello-linux-amd64"]?.tags == ["fixture/hello:1.0.0"])
    #expect(file.target["hello-linux-amd64"]?.secret == ["id=token"])
    #expect(file.leftOut == ["2 smoke tests, SBOMs and records: bake only builds"])
  }

  @Test func aLayoutOfTheCatalogIsFoundFromWhereBakeRuns() throws {
    var fixture = PlanFixture()
    fixture.change("catalog.yml", "r.example/library/debian", "oci-layout:../base")
    fixture.lock.bases["debian"]?.source = "oci-layout:../base"
    let digest = Digest(of: "base")
    #expect(
      try bake(fixture).target["hello-linux-amd64"]?.contexts == [
        "debian": "oci-layout://here/catalog/../base@\(digest)"
      ])
  }

  @Test func whatBakeCannotCarryIsListed() throws {
    var fixture = PlannerTests.withMatrix()
    fixture.files["fragments/core/0.2.1/fragment.yml"]? += "conflicts: {app: 1.0.0}\n"
    fixture.change(
      "products/hello.yml", "  - platform: linux/amd64", "  - platform: linux/amd64\n  - platform: linux/arm64")
    let left = try bake(fixture).leftOut
    #expect(left.contains { $0.hasPrefix("the index fixture/hello:1.0.0-core-0.3.0:") })
    #expect(left.contains { $0.hasSuffix("core@0.2.1 conflicts with app@1.0.0") })
  }

  @Test func theFileIsTheSameEachTime() throws {
    let fixture = PlannerTests.withMatrix()
    #expect(try bake(fixture).text() == bake(fixture).text())
  }

  @Test func theGraphHasEveryEdgeOnce() throws {
    let plan = try PlannerTests.withMatrix().work().plan
    let text = plan.dot { _ in "note \"x\"" }
    let lines = text.split(separator: "\n")
    #expect(lines.first == "digraph kiln {" && lines.last == "}")
    #expect(lines.count { $0.contains(" -> ") } == plan.layers.count + plan.cells.count)
    #expect(lines.count { $0.contains("shape=cylinder") } == 1)
    #expect(lines.count { $0.contains(#"\nnote \"x\"""#) } == plan.layers.count + plan.cells.count)
    for layer in plan.layers where layer.parentKey != nil {
      #expect(lines.contains { $0 == "  \"\(layer.parentKey?.text ?? "")\" -> \"\(layer.key)\"" })
    }
  }

  @Test func theJobMatrixHasEveryCell() throws {
    struct Matrix: Decodable {
      struct Entry: Decodable, Hashable {
        var product: String
        var variant: String
        var platform: String
        var required: Bool
        var tags: [String]
      }
      var include: [Entry]
    }
    let text = try PlannerTests.withMatrix().work().plan.jobMatrix()
    let matrix = try JSONDecoder().decode(Matrix.self, from: Data(text.utf8))
    #expect(
      matrix.include.first
        == Matrix.Entry(
          product: "hello", variant: "core=0.2.0", platform: "linux/amd64", required: true, tags: ["1.0.0-core-0.2.0"]))
    #expect(matrix.include.count == 3)
  }
}
