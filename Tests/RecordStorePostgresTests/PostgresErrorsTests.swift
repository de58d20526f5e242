import Model
import RecordStore
import TestSupport
import Testing

@testable import RecordStorePostgres

@Suite struct PostgresErrorsTests {
  @Test(
    arguments: [
      ("08006", .unavailable, true), ("57P01", .unavailable, true), ("57P03", .unavailable, true),
      ("25006", .unavailable, true), ("25P03", .unavailable, true), ("40003", .unavailable, true),
      ("53300", .unavailable, false), ("57014", .unavailable, false), ("58030", .unavailable, false),
      ("40001", .conflict, false), ("40P01", .conflict, false), ("55P03", .conflict, false),
      ("28P01", .refused, false), ("28000", .refused, false), ("3D000", .refused, false), ("42501", .refused, false),
      ("3F000", .schema, false), ("42P01", .schema, false), ("42883", .schema, false),
      ("23505", .statement, false), ("42601", .statement, false), ("25P02", .statement, false),
      ("XX000", .statement, false),
    ] as [(String, StoreError.Code, Bool)])
  func states(_ state: String, _ code: StoreError.Code, _ endsConnection: Bool) {
    #expect(PostgresErrors.meaning(state).code == code)
    #expect(PostgresErrors.meaning(state).endsConnection == endsConnection)
  }

  @Test(arguments: [
    (
      "connection to server at \"h\" failed: FATAL:  28P01: password authentication failed\nLOCATION:  a, b.c:1\n",
      StoreError.Code.refused
    ),
    ("connection to server failed: FATAL:  57P03: the database system is starting up\n", .unavailable),
    ("connection to server at \"h\" failed: FATAL:  3D000: database \"x\" does not exist\n", .refused),
    ("connection to server at \"h\", port 1 failed: Connection refused\n\tIs the server running?\n", .unavailable),
    ("connection to server at \"h\", port 1 failed: session is read-only\n", .unavailable),
    ("", .unavailable),
  ])
  func refusals(_ text: String, _ code: StoreError.Code) {
    let error = PostgresErrors.connectError(text)
    #expect(error.code == code)
    #expect(!error.message.contains("LOCATION"))
    #expect(!error.message.contains("\n"))
  }

  @Test func aURLIsTakenApart() throws {
    let configuration = try PostgresConfiguration(
      url: "postgresql://me:secret@a:1,b:2/db?sslmode=require", applicationName: "x", role: .executor)
    #expect(configuration.hosts.map { $0?.name } == ["a", "b"])
    #expect(configuration.hosts.map { $0?.port } == ["1", "2"])
    #expect(configuration.maxConnections == 1)
    #expect("\(configuration)" == "postgresql://me@a:1,b:2/db")
    #expect(!String(reflecting: configuration).contains("secret"))
  }

  @Test(arguments: ["postgresql://me:secret@[h/db", "mysql://me:secret@h/db", "host=h password=secret", ""])
  func whatIsNoURLIsRefusedWithoutShowingIt(_ url: String) async {
    let message = await SQLEngineConformance.expect(.refused) {
      try PostgresConfiguration(url: url, applicationName: "x", role: .coordinator)
    }
    #expect(!message.contains("secret"))
  }

  @Test(arguments: ["", "Kiln", "kiln; drop", "pg_kiln", "1kiln"])
  func aSchemaIsAName(_ schema: String) async {
    await SQLEngineConformance.expect(.refused) {
      try PostgresConfiguration(url: "postgresql://h/d", applicationName: "x", role: .coordinator, schema: schema)
    }
  }
}

@Suite struct ReconnectGateTests {
  @Test func delaysGrowToTheirCap() {
    #expect(ReconnectGate.delaySeconds(failures: 1, fraction: 0.5) == 0.1)
    #expect(ReconnectGate.delaySeconds(failures: 5, fraction: 1) == 3.2)
    #expect(ReconnectGate.delaySeconds(failures: 1000, fraction: 1) == ReconnectGate.maxDelaySeconds)
    #expect(ReconnectGate.delaySeconds(failures: 1000, fraction: 0) == 0)
  }

  @Test func callersWaitForTheirTurnOrAreToldThatItIsFar() async throws {
    let time = ManualTime()
    let gate = ReconnectGate(Effects(time: time, random: SeededRandom(seed: 7)))
    try await gate.pass()
    var refused = 0
    for _ in 0..<200 {
      gate.failed()
      let before = time.monotonicSeconds()
      do { try await gate.pass() } catch { refused += 1 }
      // The clock counts whole milliseconds.
      time.advance(seconds: 0.001)
      #expect(time.monotonicSeconds() - before <= ReconnectGate.maxWaitSeconds + 0.002)
    }
    #expect(refused > 0)
    gate.succeeded()
    let before = time.monotonicSeconds()
    try await gate.pass()
    #expect(time.monotonicSeconds() == before)
  }
}

@Suite struct AnnouncerTests {
  @Test func whatComesWhileOneIsSentIsSentTogether() async {
    let announcer = Announcer()
    let batches = Batches()
    await withTaskGroup { group in
      for index in 0..<50 {
        group.addTask {
          await batches.call()
          await announcer.announce("t\(index % 3)") { topics in
            // While the first is sent, all the others come.
            while await batches.callers < 50 { await Task.yield() }
            await batches.add(topics)
          }
        }
      }
    }
    let all = await batches.all
    #expect(Set(all.joined()) == ["t0", "t1", "t2"])
    #expect(all.allSatisfy { Set($0).count == $0.count })
    #expect(all.count < 50)
  }

  private actor Batches {
    var all: [[String]] = []
    private(set) var callers = 0
    func call() { callers += 1 }
    func add(_ batch: [String]) { all.append(batch) }
  }
}
