import Foundation
import Model
import RecordStore
import TestSupport
import Testing

/// After a fix at the bottom, an independent fragment is grafted and not built. What is in the image
/// says docker.
@Suite("Independent", .serialized, .timeLimit(.minutes(5)))
struct RealIndependentTests {
  @Test("built once, grafted onto whatever comes below it")
  func grafted() async throws {
    let fragments = ["water", "leaves"]
    try await EmbeddedFolder.with(CatalogFolder.product("tea", fragments: fragments)) { folder in
      let image = "\(folder.tag)/tea"
      try folder.catalog.write(CatalogFolder.product("tea", fragments: fragments, repository: image))
      try folder.catalog.write(
        "fragments/leaves/1.0.0/fragment.yml",
        "name: leaves\nversion: 1.0.0\ndescription: For the tests.\nindependent: true\nargs: {KIND: green}\n")
      try folder.catalog.write(
        "fragments/leaves/1.0.0/Dockerfile.fragment",
        "ARG KIND\nCOPY --link said.txt /said.txt\nENV KIND=$KIND\nCMD [\"env\"]\n")
      #expect(
        try await titles(folder)
          == ["leaves@1.0.0 (graft) linux/amd64", "leaves@1.0.0 (independent) linux/amd64", "water@1.0.0 linux/amd64"])
      let before = try await inspect(folder, image)
      #expect(before.environment.contains("KIND=green"))

      try folder.step("water", calling: "more-water")
      #expect(
        try await titles(folder) == ["leaves@1.0.0 (graft) linux/amd64", "water@1.0.0 linux/amd64"])
      let after = try await inspect(folder, image)
      #expect(after.layers.last == before.layers.last)
      #expect(after.environment == before.environment)
      #expect(folder.count("more-water") == 1)

      try folder.catalog.write("fragments/leaves/1.0.0/said.txt", "more tea\n")
      #expect(
        try await titles(folder)
          == ["leaves@1.0.0 (graft) linux/amd64", "leaves@1.0.0 (independent) linux/amd64"])
      let run = ["run", "--rm", "--pull", "never", "--network", "none", "\(image):1.0.0"]
      #expect(try await folder.docker.output(run + ["cat", "/said.txt"]) == "more tea\n")
    }
  }

  /// The layers' jobs of a build, which passes.
  private func titles(_ folder: EmbeddedFolder) async throws -> [String] {
    let build: BuildDetail = try await folder.kiln.json(["build", "--json", "--load"])
    #expect(build.summary.state == .passed)
    return build.jobs.filter { $0.kind == .layer }.map(\.title).sorted()
  }

  private func inspect(_ folder: EmbeddedFolder, _ image: String) async throws -> (
    layers: [String], environment: [String]
  ) {
    func list(_ field: String) async throws -> [String] {
      let format = ["image", "inspect", "--format", "{{json .\(field)}}", "\(image):1.0.0"]
      return try JSONDecoder().decode([String].self, from: Data(try await folder.docker.output(format).utf8))
    }
    return (try await list("RootFS.Layers"), try await list("Config.Env"))
  }
}
