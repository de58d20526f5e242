import Invariants
import Model
import RecordStore
import RecordStoreSQLite
import Registry

/// What must hold, whatever happened. It reads the store's tables by itself, and watches every change of
/// theirs by triggers: none of Kiln's own judgement is asked.
enum Oracle {
  static func install(_ engine: SQLiteEngine) async throws {
    _ = try await engine.migrate(Schema.migrations(.sqlite), procedures: [])
    try await engine.transaction { store in
      for statement in Invariants.installation(.sqlite) { try store.run(statement, []) }
    }
  }

  // MARK: Reading

  private static func rows(_ engine: SQLiteEngine, _ statement: String) async throws -> [SQLRow] {
    try await engine.transaction { store in try store.run(statement, []) }
  }

  static func count(_ table: String, _ engine: SQLiteEngine) async throws -> Int {
    try await rows(engine, "SELECT count(*) AS n FROM \(table)").first?.int("n") ?? 0
  }

  static func transitions(_ engine: SQLiteEngine) async throws -> Set<String> {
    Set(
      try await rows(engine, "SELECT kind, was, became FROM oracle_transitions").map {
        "\(try $0.text("kind")): \(try $0.text("was")) → \(try $0.text("became"))"
      })
  }

  /// Of layers and of cells.
  static func images(_ engine: SQLiteEngine) async throws -> [Digest] {
    try await rows(
      engine,
      "SELECT image FROM layers WHERE state = 'available' UNION ALL SELECT image FROM cells WHERE state = 'passed'"
    ).compactMap { Digest(try $0.text("image")) }.sorted()
  }

  static func jobs(_ engine: SQLiteEngine, in states: [JobState]) async throws -> [JobID] {
    let states = states.map { "'\($0.rawValue)'" }.joined(separator: ", ")
    return try await rows(engine, "SELECT id FROM jobs WHERE state IN (\(states)) ORDER BY id")
      .map { JobID(text: try $0.text("id")) }
  }

  /// Cells of an open build that cannot be had.
  static func blockedCells(_ engine: SQLiteEngine, of build: BuildID) async throws -> [String] {
    try await rows(
      engine,
      """
      SELECT c.key AS key FROM build_cells b JOIN cells c ON c.scope = b.scope AND c.key = b.cell_key
      WHERE b.build_id = '\(build.text)' AND c.state = 'blocked'
        AND EXISTS (SELECT 1 FROM builds w WHERE w.id = b.build_id AND w.state = 'running')
      ORDER BY c.key
      """
    ).map { try $0.text("key") }
  }

  /// What failed cells stand on.
  static func imagesUnderFailed(_ engine: SQLiteEngine) async throws -> [Digest] {
    try await rows(
      engine,
      """
      SELECT DISTINCT l.image AS image FROM cells c JOIN cell_layers p ON p.scope = c.scope AND p.cell_key = c.key
      JOIN layers l ON l.scope = p.scope AND l.key = p.layer_key WHERE c.state = 'failed' AND l.state = 'available'
      """
    ).compactMap { Digest(try $0.text("image")) }.sorted()
  }

  static func open(_ engine: SQLiteEngine) async throws -> [String] {
    try await rows(engine, Invariants.openWork).map { try $0.text("what") }
  }

  static func isOpen(_ engine: SQLiteEngine) async throws -> Bool { try await !open(engine).isEmpty }

  // MARK: At the end

  static func check(_ world: SimulatedWorld, accepted: [BuildID]) async throws {
    let engine = world.engine
    for row in try await rows(engine, "SELECT at, what FROM oracle_violations ORDER BY at LIMIT 10") {
      world.violate("\(try row.text("what")) (at \(try row.integer("at") - 1_700_000_000_000) ms)")
    }
    try await checkDead(world)
    for (statement, what) in Invariants.statements(.sqlite) {
      for row in try await rows(engine, statement) { world.violate("\(what): \(try row.text("what"))") }
    }
    let builds = Set(try await rows(engine, "SELECT id FROM builds").map { try $0.text("id") })
    for build in accepted where !builds.contains(build.text) { world.violate("build \(build) is lost") }
    try await checkBuilds(world)
    try await checkBegun(world)
    try await checkMarks(world)
    try await checkRegistry(world)
    for row in try await rows(engine, "SELECT 'dead:' || id || ':' || attempt AS letter FROM jobs WHERE state = 'dead'")
    {
      let letter = try row.text("letter")
      if !world.broker.deadLetters.contains(letter) { world.violate("no letter \(letter) reached the broker") }
    }
  }

  /// A job dies of what cannot succeed, or when all its attempts met faults.
  private static func checkDead(_ world: SimulatedWorld) async throws {
    for row in try await rows(world.engine, "SELECT id, title, failures FROM jobs WHERE state = 'dead'") {
      let title = try row.text("title")
      // A job's title is a layer's or a cell's, and its platform.
      let isBroken = world.everBroken.contains { broken in
        title.hasPrefix("\(broken) ") || broken.hasPrefix("cell ") && title.hasSuffix(broken.dropFirst(4))
      }
      if !isBroken, try row.int("failures") < SimulatedFarm.attempts {
        world.violate("job \(try row.text("id")) (\(title)) is dead after \(try row.int("failures")) failures")
      }
    }
  }

  /// A build whose cells all passed has passed, unless an image got lost in between.
  private static func checkBuilds(_ world: SimulatedWorld) async throws {
    for row in try await rows(
      world.engine,
      """
      SELECT b.id AS id, b.state AS state, coalesce(b.problem, '') AS problem,
        sum(CASE WHEN coalesce(c.state, '') IN ('passed', 'reused') THEN 0 ELSE 1 END) AS bad
      FROM builds b JOIN build_cells c ON c.build_id = b.id GROUP BY b.id
      """)
    {
      let (state, problem) = (try row.text("state"), try row.text("problem"))
      let isGood = state == "passed" || state == "superseded"
      if world.cancelled.contains(BuildID(text: try row.text("id"))) {
        if !isGood, state != "cancelled", state != "failed" { world.violate("a cancelled build is \(state)") }
        continue
      }
      if isGood != (try row.int("bad") == 0), !(world.registry.lost.count > 0 && problem.contains("submit again")) {
        world.violate("build \(try row.text("id")) is \(state), with \(try row.int("bad")) bad cells: \(problem)")
      }
    }
  }

  /// No step ran but in an attempt that the store knows, counted where they run.
  private static func checkBegun(_ world: SimulatedWorld) async throws {
    var attempts: [LayerKey: Int] = [:]
    for row in try await rows(
      world.engine,
      "SELECT j.layer_key AS key, count(*) AS n FROM attempts a JOIN jobs j ON j.id = a.job_id GROUP BY j.layer_key")
    {
      if let key = row.optionalText("key") { attempts[LayerKey(text: key)] = try row.int("n") }
    }
    for (key, begun) in world.builds where begun > attempts[key] ?? 0 {
      world.violate("layer \(key.short) was begun \(begun) times, in \(attempts[key] ?? 0) attempts")
    }
  }

  /// What counts as queued was in the queue before it was marked.
  private static func checkMarks(_ world: SimulatedWorld) async throws {
    for row in try await rows(world.engine, "SELECT job, dispatch, at FROM oracle_marks") {
      let message = JobMessage(job: JobID(text: try row.text("job")), dispatch: try row.int("dispatch"))
      guard let since = world.broker.accepted[message], since <= (try row.integer("at")) else {
        world.violate("\(message) was marked as queued before the broker held it")
        continue
      }
    }
  }

  private static func checkRegistry(_ world: SimulatedWorld) async throws {
    let registry = world.registry
    for row in try await rows(
      world.engine,
      """
      SELECT image FROM layers WHERE state = 'available'
      UNION SELECT image FROM cells WHERE state = 'passed'
      UNION SELECT image FROM records WHERE verdict = 'passed'
      """)
    {
      guard let digest = Digest(try row.text("image")) else { continue }
      for missing in registry.missing(digest, in: "layers").subtracting(registry.lost).sorted() {
        world.violate("\(digest) is recorded, and \(missing) is not in the registry")
      }
    }
    // A build that lost an image ends between the row and the tag.
    let interrupted = try await rows(world.engine, "SELECT id FROM builds WHERE problem LIKE '%submit again%'")
    for row in try await rows(world.engine, "SELECT repository, tag, digest FROM tags") {
      let (repository, tag) = (try row.text("repository"), try row.text("tag"))
      if interrupted.isEmpty, registry.tags[repository]?[tag]?.description != (try row.text("digest")) {
        world.violate("\(repository):\(tag) does not point to what the store says")
      }
    }
    try await checkLayerTags(world)
  }

  private static func checkLayerTags(_ world: SimulatedWorld) async throws {
    let registry = world.registry
    var results: [String: (result: String, endedAt: Int64)] = [:]
    for row in try await rows(
      world.engine,
      """
      SELECT 'layer-' || j.layer_key || '-g' || j.generation AS tag, a.result AS result, a.ended_at AS ended_at
      FROM jobs j JOIN attempts a ON a.job_id = j.id WHERE j.layer_key IS NOT NULL AND a.outcome = 'succeeded'
      """)
    {
      results[try row.text("tag")] = (try row.text("result"), try row.integer("ended_at"))
    }
    for (move, at) in registry.moves where move.repository == "layers" && move.tag.hasPrefix("layer-") {
      guard let end = results[move.tag], end.result.contains(move.digest.description), end.endedAt <= at else {
        world.violate("\(move.tag) was put for \(move.digest), which no attempt had committed")
        continue
      }
    }
    for row in try await rows(
      world.engine, "SELECT 'layer-' || key || '-g' || generation AS tag, image FROM layers WHERE state = 'available'")
    {
      let tag = try row.text("tag")
      guard let image = Digest(try row.text("image")), registry.tags["layers"]?[tag] != image else { continue }
      // One that had lost something when its turn came is left alone.
      let parts = registry.parts(image, in: "layers")
      if registry.lost.isDisjoint(with: parts) { world.violate("\(tag) is not there") }
    }
  }
}
