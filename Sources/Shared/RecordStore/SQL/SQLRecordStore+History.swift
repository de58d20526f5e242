package import Model

extension SQLRecordStore {
  package func history(of layers: [LayerKey], scope: Scope) async throws -> LayerHistory {
    try await engine.transaction { store in
      var history = LayerHistory()
      for key in layers {
        let rows = try store.run(
          """
          SELECT a.result AS result FROM layers l JOIN attempts a ON a.job_id = l.job_id
          WHERE l.scope = $1 AND l.key = $2 AND a.outcome = 'succeeded' ORDER BY a.attempt DESC LIMIT 1
          """, [.id(scope), .id(key)])
        guard let text = rows.first?.optionalText("result") else { continue }
        history.addedBytes[key] = try StoredJSON.value(text, as: LayerResult.self).addedBytes
      }
      history.past = try Self.past(scope, store)
      return history
    }
  }

  private static func past(_ scope: Scope, _ store: any SQLTransaction) throws -> [LayerHistory.Past] {
    let rows = try store.run(
      """
      SELECT p.title AS title, p.platform AS platform, p.took AS took FROM (
        SELECT l.title AS title, l.platform AS platform, a.ended_at - a.started_at AS took,
          row_number() OVER (PARTITION BY l.title, l.platform ORDER BY a.ended_at DESC, a.job_id DESC) AS place
        FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN layers l ON l.scope = j.scope AND l.key = j.layer_key
        WHERE j.scope = $1 AND j.kind = 'layer' AND a.outcome = 'succeeded' AND a.ended_at IS NOT NULL) p
      WHERE p.place <= \(LayerHistory.maxAttempts) ORDER BY p.title, p.platform, p.place
      """, [.id(scope)])
    var past: [LayerHistory.Past] = []
    for row in rows {
      let title = try row.text("title")
      guard let platform = Platform(try row.text("platform")) else { continue }
      if past.last?.title != title || past.last?.platform != platform {
        past.append(LayerHistory.Past(title: title, platform: platform, seconds: []))
      }
      past[past.count - 1].seconds.append(Double(try row.integer("took")) / 1000)
    }
    return past
  }
}
