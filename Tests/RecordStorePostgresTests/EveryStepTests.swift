import Foundation
import Model
import RecordStore
import Testing

@testable import RecordStorePostgres
@testable import TestSupport

/// The connection ends at every step of what is spoken with the server, and in the middle of each.
@Suite("Real store: every step cut", .serialized, .timeLimit(.minutes(30)))
struct EveryStepTests {
  @Test("wherever the connection is cut: asked again, each change has happened once")
  func everywhere() async throws {
    try await TestDatabase.with { database in
      let proxy = try TCPProxy(to: try #require(URLComponents(string: database.url())?.port))
      let direct = SQLRecordStore(engine: try database.engine(database.configuration()), effects: .system())
      _ = try await direct.migrate(.postgres)
      let fixture = StoreFixture(store: direct, advance: { try await Task.sleep(for: .seconds($0)) })
      proxy.count()
      try await converse(0, database, proxy, fixture)
      let steps = proxy.steps
      try #require(steps.count > 20)
      let cuts = Services.cuts(steps)
      var missed = 0
      for (number, cut) in cuts.enumerated() {
        proxy.count(cuttingAfter: cut)
        try await converse(1 + number, database, proxy, fixture)
        if proxy.isUncut { missed += 1 }
      }
      // Not every conversation is as long as the first.
      #expect(missed * 10 <= cuts.count, "\(missed) of \(cuts.count) cuts never came to pass")
      proxy.close()
      await direct.close()
    }
  }

  /// One layer and its cell, from submission to the tag, through the proxy.
  private func converse(
    _ number: Int, _ database: TestDatabase, _ proxy: TCPProxy, _ fixture: StoreFixture
  ) async throws {
    let store = SQLRecordStore(
      engine: try database.engine(database.configuration(port: proxy.port)), effects: .system())
    let (id, path) = (BuildID(text: "b\(number)"), ["l\(number)"])
    let submission = try StoreFixture.submission(id.text, [path])
    let accepted = try await insist { try await store.submit(submission) }
    #expect(accepted.id == id)
    for job in 0..<2 {
      // A take whose answer was lost is taken again when its publish lease is out: not waited for here.
      var messages = try await insist {
        try await store.takeReady(pool: StoreFixture.pool, extra: 10, publishLeaseSeconds: 0)
      }
      messages = try await insist {
        let more = try await store.takeReady(pool: StoreFixture.pool, extra: 10, publishLeaseSeconds: 60)
        return more.isEmpty ? messages : more
      }
      try #require(messages.count == 1, "job \(job) of build \(number)")
      try await insist { try await store.markQueued(messages) }
      let nonce = UUID().uuidString
      let outcome = try await insist {
        try await store.claim(messages[0].job, executor: StoreFixture.executor, nonce: nonce, leaseSeconds: 600)
      }
      guard case .granted(let claim) = outcome else {
        Issue.record("\(outcome)")
        return
      }
      #expect(claim.fence.attempt == 1)
      _ = try await insist { try await store.heartbeat(claim.fence, leaseSeconds: 600) }
      switch claim.spec {
      case .layer(let layer):
        try await insist {
          try await store.completeLayer(StoreFixture.result(StoreFixture.image(layer.key)), fence: claim.fence)
        }
      case .finish(let cell):
        let record = try StoreFixture.record(cell)
        try await insist { try await store.completeCell(record, fence: claim.fence) }
      }
    }
    _ = try await insist { try await store.settleBuilds() }
    await store.close()
    let build = try await fixture.build(id.text)
    #expect(build.summary.state == .publishing)
    #expect(build.jobs.count == 2 && build.jobs.allSatisfy { $0.state == .succeeded })
    for job in build.jobs {
      let attempts = try await fixture.job(job.id).attempts
      #expect(attempts.map(\.outcome) == ["succeeded"])
    }
    let records = try await fixture.store.records(RecordFilter(), limit: 500, after: nil)
    #expect(records.count { $0.record.cell == submission.plan.cells[0].key } == 1)
    try await fixture.store.finishPublishing(id, .tagsAgree, indexes: [], problem: nil)
  }

  /// Asks until the store answers, as every caller of it does.
  private func insist<Value: Sendable>(_ call: () async throws -> Value) async throws -> Value {
    while true {
      do {
        return try await call()
      } catch let error as StoreError where error.code == .unavailable {}
    }
  }
}
