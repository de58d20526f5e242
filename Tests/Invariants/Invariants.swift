import Model

/// What must be true of the store whatever was killed, in simulated farms as in real ones: watched by
/// triggers while it changes, and asked for at the end. In the SQL that both stores know.
package enum Invariants {
  package enum Dialect: Sendable { case sqlite, postgres }

  /// One step of a table, or two that one statement makes at once.
  private static var allowed: [(String, String, String)] {
    func steps<State: RawRepresentable<String> & CaseIterable, Event: CaseIterable>(
      _ kind: String, _ state: State.Type, _ event: Event.Type, _ after: (State, Event) -> State?
    ) -> [(String, String, String)] {
      State.allCases.flatMap { from in
        let next = Event.allCases.compactMap { after(from, $0) }
        let second = next.flatMap { state in Event.allCases.compactMap { after(state, $0) } }
        return (next + (kind == "job" ? [] : second)).map { (kind, from.rawValue, $0.rawValue) }
      }
    }
    return steps("job", JobState.self, JobEvent.self) { $0.after($1)?.state }
      + steps("layer", LayerState.self, LayerEvent.self) { $0.after($1)?.state }
      + steps("cell", CellState.self, CellEvent.self) { $0.after($1)?.state }
      + steps("build", BuildState.self, BuildEvent.self) { $0.after($1)?.state }
  }

  private static let tables = [
    "CREATE TABLE oracle_allowed (kind text, was text, became text, PRIMARY KEY (kind, was, became))",
    "CREATE TABLE oracle_transitions (kind text, was text, became text, PRIMARY KEY (kind, was, became))",
    "CREATE TABLE oracle_marks (job text, dispatch bigint, at bigint)",
    "CREATE TABLE oracle_violations (at bigint, what text)",
  ]

  /// What makes the tables and the triggers in a store that has its schema.
  package static func installation(_ dialect: Dialect) -> [String] {
    tables
      + allowed.map { kind, old, new in
        "INSERT INTO oracle_allowed VALUES ('\(kind)', '\(old)', '\(new)') ON CONFLICT DO NOTHING"
      } + triggers.enumerated().flatMap { $1.creation(named: "oracle_\($0)", dialect) }
  }

  /// After an update of a column, and under a condition, a statement.
  private struct Trigger {
    var table: String
    var column: String
    var condition: String
    var statement: String

    init(_ table: String, _ column: String, _ condition: String, _ statement: String) {
      (self.table, self.column, self.condition, self.statement) = (table, column, condition, statement)
    }

    func creation(named name: String, _ dialect: Dialect) -> [String] {
      let event = "CREATE TRIGGER \(name) AFTER UPDATE OF \(column) ON \(table)"
      switch dialect {
      case .sqlite: return ["\(event) WHEN \(condition) BEGIN \(statement); END"]
      case .postgres:
        // Who may change the table need not be allowed to write what is noticed.
        return [
          """
          CREATE FUNCTION \(name)() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS
          $$ BEGIN IF \(condition) THEN \(statement); END IF; RETURN NULL; END $$
          """, "\(event) FOR EACH ROW EXECUTE FUNCTION \(name)()",
        ]
      }
    }
  }

  private static func violation(_ what: String) -> String {
    "INSERT INTO oracle_violations VALUES (kiln_now(), \(what))"
  }

  /// Of a job that ends: an open build still counts on it.
  private static let isWanted = """
    EXISTS (SELECT 1 FROM builds b JOIN build_cells bc ON bc.build_id = b.id AND bc.state IS NULL
      JOIN cells c ON c.scope = bc.scope AND c.key = bc.cell_key AND c.state IN ('waiting', 'finishing')
      WHERE b.state = 'running' AND bc.scope = NEW.scope AND (bc.cell_key = NEW.cell_key OR EXISTS (
        SELECT 1 FROM cell_layers p
        WHERE p.scope = bc.scope AND p.cell_key = bc.cell_key AND p.layer_key = NEW.layer_key)))
    """

  private static let triggers: [Trigger] =
    [("jobs", "job", "id"), ("layers", "layer", "key"), ("cells", "cell", "key"), ("builds", "build", "id")].flatMap {
      table, kind, name in
      let isSame = table == "jobs" || table == "builds" ? "" : " AND OLD.generation = NEW.generation"
      return [
        Trigger(
          table, "state", "OLD.state <> NEW.state",
          "INSERT INTO oracle_transitions VALUES ('\(kind)', OLD.state, NEW.state) ON CONFLICT DO NOTHING"),
        Trigger(
          table, "state",
          """
          OLD.state <> NEW.state\(isSame) AND NOT EXISTS (SELECT 1 FROM oracle_allowed
            WHERE kind = '\(kind)' AND was = OLD.state AND became = NEW.state)
          """, violation("'\(kind) ' || NEW.\(name) || ' went from ' || OLD.state || ' to ' || NEW.state")),
      ]
    } + [
      Trigger(
        "jobs", "attempt", "NEW.attempt < OLD.attempt", violation("'the fence of job ' || NEW.id || ' fell'")),
      Trigger(
        "jobs", "attempt", "NEW.attempt <> OLD.attempt AND OLD.state NOT IN ('ready', 'queued')",
        violation("'job ' || NEW.id || ' was claimed while it was ' || OLD.state")),
      Trigger(
        "jobs", "attempt", "NEW.attempt <> OLD.attempt AND OLD.cancel_requested = 1",
        violation("'job ' || NEW.id || ' was claimed although it was cancelled'")),
      // What runs is told to end, and may be wanted again by the time that it does.
      Trigger(
        "jobs", "state", "NEW.state = 'cancelled' AND OLD.state <> 'running' AND \(isWanted)",
        violation("'job ' || NEW.id || ' was cancelled although an open build wants it'")),
      Trigger(
        "jobs", "cancel_requested", "NEW.cancel_requested = 1 AND \(isWanted)",
        violation("'job ' || NEW.id || ' was told to end although an open build wants it'")),
      Trigger(
        "jobs", "nonce", "NEW.attempt = OLD.attempt",
        violation("'job ' || NEW.id || ' was claimed without a new attempt'")),
      Trigger(
        "jobs", "state",
        """
        OLD.state = 'waiting' AND NEW.state = 'ready' AND NOT EXISTS (SELECT 1 FROM layers l
          WHERE l.scope = NEW.scope AND l.key = OLD.waits_on AND l.state = 'available')
        """, violation("'job ' || NEW.id || ' was released before what it waits on was there'")),
      Trigger(
        "jobs", "state", "NEW.state = 'queued'",
        "INSERT INTO oracle_marks VALUES (NEW.id, NEW.dispatch, kiln_now())"),
      Trigger(
        "layers", "generation", "NEW.generation < OLD.generation",
        violation("'the generation of layer ' || NEW.key || ' fell'")),
      Trigger(
        "cells", "generation", "NEW.generation < OLD.generation",
        violation("'the generation of cell ' || NEW.key || ' fell'")),
      Trigger(
        "tags", "sequence", "NEW.sequence < OLD.sequence", violation("'tag ' || NEW.tag || ' went back'")),
      Trigger(
        "attempts", "outcome", "OLD.outcome IS NOT NULL AND OLD.outcome <> NEW.outcome",
        violation("'attempt ' || NEW.attempt || ' of job ' || NEW.job_id || ' ended twice'")),
    ]

  /// A job that waits on a layer which failed waits for a person, also where somebody cancelled the next try; in
  /// an open build there is none, or the build stays open.
  package static let openWork = """
    SELECT 'job ' || j.id || ' (' || j.title || ') is ' || j.state || coalesce((SELECT ' for ' || l.title
        || ', generation ' || l.generation || ', ' || l.state FROM layers l WHERE l.scope = j.scope AND l.key = j.waits_on), '')
      AS what FROM jobs j
    WHERE j.state IN ('ready', 'queued', 'running', 'delayed')
      OR (j.state = 'waiting' AND NOT EXISTS (WITH RECURSIVE below(key) AS (
        SELECT j.waits_on UNION
        SELECT coalesce(w.waits_on, '') FROM below b JOIN layers l ON l.key = b.key JOIN jobs w ON w.id = l.job_id)
        SELECT 1 FROM below b JOIN layers f ON f.key = b.key WHERE f.state IN ('failed', 'idle')))
    UNION ALL SELECT 'build ' || id || ' is ' || state FROM builds
      WHERE state NOT IN ('passed', 'failed', 'superseded', 'cancelled')
    UNION ALL SELECT 'effect ' || identifier || ': ' || coalesce(problem, '') FROM outbox
    """

  /// What a row of each is wrong with, at the end.
  package static func statements(_ dialect: Dialect) -> [(statement: String, wrong: String)] {
    // Postgres looks at the clock in each statement.
    let tolerance = dialect == .postgres ? 5000 : 0
    return [
      (
        """
        SELECT layer_key || ' generation ' || generation AS what FROM jobs
        WHERE layer_key IS NOT NULL GROUP BY layer_key, generation HAVING count(*) > 1
        """, "two jobs for one generation of a layer"
      ),
      (
        "SELECT key AS what FROM layers WHERE generation > 1 AND cause = 'new'",
        "a layer was built again without a cause"
      ),
      (
        """
        SELECT cell_key || ' generation ' || generation AS what FROM records WHERE verdict = 'passed'
        GROUP BY cell_key, generation HAVING count(*) > 1
        """, "two records for one generation of a cell"
      ),
      (
        """
        SELECT c.key AS what FROM cells c WHERE c.state = 'passed' AND NOT EXISTS (SELECT 1 FROM records r
          WHERE r.id = c.record_id AND r.cell_key = c.key AND r.verdict = 'passed' AND r.image = c.image)
        """, "a cell passed without its record"
      ),
      (
        """
        SELECT r.id AS what FROM records r JOIN attempts a ON a.job_id = r.job_id AND a.attempt = r.attempt
        WHERE r.verdict = 'passed' AND coalesce(a.outcome, '') <> 'succeeded'
        """, "a record of an attempt that did not succeed"
      ),
      (
        """
        SELECT a.job_id || ' attempt ' || a.attempt AS what FROM attempts a JOIN jobs j ON j.id = a.job_id
        WHERE a.outcome IS NULL OR a.ended_at IS NULL
        """, "an attempt that nobody ended"
      ),
      (
        """
        SELECT j.id || ' (' || count(*) || ')' AS what FROM jobs j JOIN attempts a ON a.job_id = j.id
        WHERE a.outcome = 'succeeded' GROUP BY j.id HAVING count(*) > 1
        """, "a job succeeded twice"
      ),
      (
        """
        SELECT j.id AS what FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.outcome = 'succeeded'
        WHERE abs(j.finished_at - a.ended_at) > \(tolerance)
        """, "a job did not succeed by the attempt that says so"
      ),
      (
        """
        SELECT j.id AS what FROM jobs j WHERE j.state = 'succeeded'
          AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.job_id = j.id AND a.outcome = 'succeeded')
        """, "a job succeeded without an attempt that did"
      ),
      (
        """
        SELECT l.key AS what FROM layers l LEFT JOIN layers p ON p.key = l.parent_key
        WHERE l.state = 'available' AND l.parent_key IS NOT NULL AND p.image IS NULL
        """, "a layer is there before its parent ever was"
      ),
      (
        """
        SELECT j.id AS what FROM jobs j WHERE j.state = 'dead'
          AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.identifier = 'dead:' || j.id || ':' || j.attempt)
        """, "a dead job without its letter"
      ),
      (
        """
        SELECT c.key || ' is ' || c.state AS what FROM cells c JOIN jobs j ON j.id = c.job_id
        WHERE c.state IN ('waiting', 'blocked', 'finishing') AND j.state IN ('succeeded', 'dead', 'cancelled')
        """, "a cell goes on without a job"
      ),
    ]
  }
}
