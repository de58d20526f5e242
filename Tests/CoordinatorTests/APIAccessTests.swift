import Catalog
import Foundation
import HTTPClient
import KilnCoordinator
import Model
import RecordStore
import RecordStoreSQLite
import TestSupport
import Testing

@Suite struct APIAccessTests {
  @Test(arguments: ["/builds", "/builds/x", "/jobs/x", "/jobs/x/log", "/records", "/dead-letters", "/executors"])
  func nothingIsToldWithoutAToken(_ path: String) async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        for token in [nil, "", "0123456789abcdef-wrong", TestAPI.token + "x"] {
          let response = try await api.get(path, token: token)
          #expect(response.status == 401)
          #expect(response.headers["www-authenticate"] == "Bearer")
          _ = try response.problem()
        }
      }
    }
  }

  @Test func nothingIsTakenWithoutAToken() async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        let response = try await api.post(try bench.catalog.tree().tar(), key: "key", token: "0123456789abcdef-wrong")
        #expect(response.status == 401)
        let builds = try await bench.store.builds(limit: 10, before: nil)
        #expect(builds.isEmpty)
      }
    }
  }

  @Test func healthNeedsNoToken() async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        let response = try await HTTPClient().send(HTTPRequest("GET", "\(api.address)/healthz"))
        #expect(response.status == 200)
        #expect(response.body == Data("ok\n".utf8))
      }
    }
  }

  @Test func anUnknownPathIsAProblemToo() async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        let response = try await api.get("/nothing")
        #expect(response.status == 404)
        _ = try response.problem()
      }
    }
  }

  @Test func aStoreThatIsAwayIsToldWithWhenToComeBack() async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench) { api in
        await bench.store.close()
        for response in [try await api.get("/builds"), try await api.submit()] {
          #expect(response.status == 503)
          #expect(response.headers["retry-after"] == "2")
          _ = try response.problem()
        }
      }
    }
  }

  @Test func noTokenIsEverWrittenDown() async throws {
    try await Bench.with { bench in
      try await TestAPI.with(bench, maxBodyBytes: 10_000) { api in
        let wrong = "0123456789abcdef-wrong"
        var answers = [
          try await api.get("/builds", token: wrong), try await api.post(Data("no tar".utf8), key: "key", token: wrong),
          try await api.post(Data("no tar".utf8), key: "key"), try await api.submit(),
          try await api.post(Data(count: 20_000), key: "key"), try await api.get("/builds?limit=0"),
        ]
        await bench.store.close()
        answers.append(try await api.get("/builds"))
        #expect(Set(answers.map(\.status)).isSuperset(of: [401, 422, 413, 400, 503]))
        let lines = bench.log.lines
        #expect(lines.contains { $0.contains("store out of reach") })
        for text in lines + answers.map({ String(decoding: $0.body, as: UTF8.self) }) {
          #expect(!text.contains(TestAPI.token) && !text.contains(wrong))
        }
      }
    }
  }
}

@Suite struct TokenTableTests {
  @Test func aTokenIsItsNames() throws {
    let table = try TokenTable(text: "# ours\n\nann  0123456789abcdef\r\n\tbob\t0123456789abcdeF\n")
    #expect(table.principal(bearing: "0123456789abcdef") == Principal(text: "ann"))
    #expect(table.principal(bearing: "0123456789abcdeF") == Principal(text: "bob"))
    for wrong in ["", "0123456789abcde", "0123456789abcdef ", "ann"] {
      #expect(table.principal(bearing: wrong) == nil)
    }
  }

  @Test(arguments: [
    ("ann 0123456789abcde\n", "line 1"),
    ("# c\n0123456789abcdef\n", "line 2"),
    ("ann 0123456789abcdef x\n", "line 1"),
    ("-ann 0123456789abcdef\n", "line 1"),
    ("", "names no token"),
    ("# nobody\n\n", "names no token"),
  ])
  func aBadFileIsRefusedWithoutItsTokens(_ text: String, _ says: String) throws {
    let failure = try #require(throws: Failure.self) { try TokenTable(text: text) }
    #expect("\(failure)".contains(says))
    #expect(!"\(failure)".contains("0123456789abcde"))
  }
}
