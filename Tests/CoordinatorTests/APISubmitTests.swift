import Catalog
import Foundation
import HTTPClient
import KilnCoordinator
import Model
import RecordStore
import RecordStoreSQLite
import TestSupport
import Testing

@Suite struct APISubmitTests {
  @Test func theSameKeyIsTheSameBuild() async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        let first = try await api.submit()
        let again = try await api.submit()
        let other = try await api.submit(key: "other")
        #expect([first, again, other].map(\.status) == [201, 200, 201])
        let replies = try [first, again, other].map { try $0.value(SubmitReply.self) }
        #expect(replies[0].build.id == replies[1].build.id)
        #expect(replies[0].build.id != replies[2].build.id)
        #expect(replies[0].layersToBuild == 4)
        #expect(replies[0].cells == 2)
        #expect(replies[2].layersToBuild == 0)
        let builds = try await bench.store.builds(limit: 10, before: nil)
        #expect(builds.count == 2)
        #expect(builds.allSatisfy { $0.principal == Principal(text: "somebody") })
      }
    }
  }

  @Test func theSameKeyOfSomebodyElseIsAnotherBuild() async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        let tar = try bench.catalog.tree().tar()
        let mine = try await api.post(tar, key: "key")
        let theirs = try await api.post(tar, key: "key", token: TestAPI.token + "-2")
        #expect(mine.status == 201 && theirs.status == 201)
      }
    }
  }

  @Test(arguments: [nil, "", String(repeating: "k", count: 201)])
  func aKeyIsDemanded(_ key: String?) async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        let response = try await api.post(try bench.catalog.tree().tar(), key: key)
        #expect(response.status == 400)
        #expect(try response.problem().title.contains("Idempotency-Key"))
      }
    }
  }

  @Test func everyErrorOfACatalogIsTold() async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        var catalog = bench.catalog
        catalog.files["products/hello.yml"]? += "colour: red\n"
        catalog.files["manifests/hello.yml"] = "template: base@2\nbase: debian\nfragments: {core: 1.0.0}\n"
        let response = try await api.submit(catalog)
        #expect(response.status == 422)
        let errors = try #require(try response.problem().errors)
        #expect(errors.contains { $0.hasPrefix("products/hello.yml:8: ") && $0.contains("colour") })
        #expect(errors.contains { $0.hasPrefix("manifests/hello.yml:1: ") })
        let builds = try await bench.store.builds(limit: 10, before: nil)
        #expect(builds.isEmpty)
      }
    }
  }

  @Test(arguments: ["?product=nothing", ""])
  func whatIsNoCatalogOrNotInItIsTheCallersFault(_ query: String) async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        let body = query.isEmpty ? Data("this is no tar archive".utf8) : try bench.catalog.tree().tar()
        let response = try await api.post(body, key: "key", query: query)
        #expect(response.status == 422)
        _ = try response.problem()
      }
    }
  }

  @Test func workThatNoPoolDoesIsRefused() async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench, pools: [Bench.pool(platforms: Bench.amd64)]) { api in
        let response = try await api.submit()
        #expect(response.status == 422)
        let problem = try response.problem()
        #expect(problem.title == "no pool builds linux/arm64")
        #expect(problem.hint?.contains("pool (linux/amd64)") == true)
      }
    }
  }

  @Test func aBodyOverTheLimitIsRefused() async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench, maxBodyBytes: 1000) { api in
        let response = try await api.post(Data(count: 1001), key: "key")
        #expect(response.status == 413)
        #expect(try response.problem().title.contains("1000 bytes"))
      }
    }
  }

  @Test func aBodyWithoutALengthIsRefusedWhenItIsOverTheLimit() async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench, maxBodyBytes: 1000) { api in
        let file = bench.folder.appendingPathComponent("body")
        for (size, status) in [(1000, "422"), (1001, "413")] {
          try Data(count: size).write(to: file)
          let answer = try await OutsideTool("curl").output([
            "--silent", "--noproxy", "*", "--header", "Transfer-Encoding: chunked", "--header", "Idempotency-Key: key",
            "--header", "Authorization: Bearer \(TestAPI.token)", "--data-binary", "@\(file.path)", "--write-out",
            "\n%{http_code}", "\(api.address)/api/v1/builds",
          ])
          #expect(answer.hasSuffix("\n\(status)"))
        }
      }
    }
  }

  @Test(arguments: ["?priority=high", "?priority=1.5"])
  func aPriorityThatIsNoNumberIsRefused(_ query: String) async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        let response = try await api.submit(query: query)
        #expect(response.status == 400)
      }
    }
  }

  // MARK: Plans

  @Test func aPlanIsWhatASubmissionWouldDoAndKeepsNothing() async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        let tar = try bench.catalog.tree().tar()
        let planned = try await api.post(tar, key: nil, to: "/plan")
        let first: ForecastReport = try planned.value()
        #expect(planned.status == 200 && first.layers.count(where: \.isBuilt) == 4 && first.movesTags)
        #expect(first.cells.map(\.what) == ["build", "build"] && first.images == 1)
        let one: ForecastReport = try await api.post(tar, key: nil, to: "/plan", query: "?platform=linux/amd64").value()
        #expect(one.layers.count == 2 && one.cells.count == 1)
        let still: ForecastReport = try await api.post(tar, key: nil, to: "/plan", query: "?moveTags=false").value()
        #expect(!still.movesTags && still.layers == first.layers)
        #expect(try await bench.store.builds(limit: 10, before: nil).isEmpty)
        _ = try await api.submit()
        let attached: ForecastReport = try await api.post(tar, key: nil, to: "/plan").value()
        #expect(attached.layers.allSatisfy { $0.what == "wait" })
        for query in ["?platform=linux", "?product=helo"] {
          let refused = try await api.post(tar, key: nil, to: "/plan", query: query)
          #expect((400..<500).contains(refused.status), "\(query): \(refused.status)")
        }
        #expect(try await api.post(tar, key: nil, to: "/plan", token: nil).status == 401)
        // Tags are never for a part of the platforms.
        let whole: SubmitReply = try await api.submit(key: "one", query: "?platform=linux/amd64").value()
        #expect(whole.cells == 2)
      }
    }
  }
}
