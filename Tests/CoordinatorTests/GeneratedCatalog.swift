import Catalog
import Foundation
import Model
import Planner

/// A catalog of one product with many variants, made from a seed: the same seed, the same bytes.
/// Fragments stand one upon the other; the first has one version, all others are axes of the matrix.
struct GeneratedCatalog {
  static let bottom = "bottom"
  static let app = "app"

  private(set) var catalog: CatalogFiles
  let variants: Int

  /// - Parameter versions: of each fragment between bottom and app, then of the app.
  init(seed: UInt64, versions: [Int], bases: [Platform: Digest]) {
    var state = seed
    func random(_ limit: Int) -> Int {
      // Knuth's MMIX constants.
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % limit
    }
    catalog = CatalogFiles(bases: bases)
    catalog.files = catalog.files.filter { !$0.key.hasPrefix("fragments/") }
    let middle = (0..<versions.count - 1).map { "middle\($0)" }
    let names = [Self.bottom] + middle + [Self.app]
    let counts = [1] + versions
    for (name, count) in zip(names, counts) {
      for version in 1...count {
        let folder = "fragments/\(name)/1.0.\(version)"
        catalog.files["\(folder)/fragment.yml"] = "name: \(name)\nversion: 1.0.\(version)\ndescription: generated\n"
        let steps = (0...random(3)).map { "RUN step \($0) of \(name) \(version) \(random(1 << 30))\n" }
        catalog.files["\(folder)/Dockerfile.fragment"] = steps.joined() + "COPY data /\(name)\n"
        for file in 0...random(2) { catalog.files["\(folder)/data/\(file)"] = "\(name) \(random(1 << 30))\n" }
      }
    }
    catalog.files["templates/base/1/Dockerfile.tpl"] =
      "FROM {base}\n" + names.map { "#--MODULE:\($0)--#\n#--ENDMODULE--#\n" }.joined()
    catalog.files["manifests/hello.yml"] =
      "template: base@1\nbase: debian\nfragments: {\(names.map { "\($0): 1.0.1" }.joined(separator: ", "))}\n"
    let axes = zip(names, counts).dropFirst().map { name, count in
      "  \(name): [\((1...count).map { "1.0.\($0)" }.joined(separator: ", "))]\n"
    }
    catalog.files["products/hello.yml"] = """
      image: fixture/hello
      version: 1.0.0
      manifest: hello
      tags: ["{version}-{variant}"]
      targets:
        - platform: linux/amd64
        - platform: linux/arm64
      matrix:
      \(axes.joined())
      """
    variants = versions.reduce(1, *)
  }

  /// One line more in one version of a fragment.
  mutating func changeLine(in fragment: String, version: Int) {
    catalog.files["fragments/\(fragment)/1.0.\(version)/Dockerfile.fragment"]? += "RUN one more line\n"
  }

  mutating func moveBase(to bases: [Platform: Digest]) { catalog.lock.bases["debian"]?.platforms = bases }

  func side() throws -> PlanComparison.Side { PlanComparison.Side(try catalog.work(), catalog.lock) }
}
