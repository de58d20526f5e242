import RecordStore

/// What the engine itself puts into a database: migration zero, safe to repeat.
///
/// `kiln_coordinator` owns everything and its members use it; `kiln_executor` may call procedures.
/// Neither can log in: logins are granted one of them.
enum PostgresSchema {
  static let becomeOwner = "SET LOCAL ROLE kiln_coordinator"

  /// Leaves the transaction acting as the owner.
  static func make(_ schema: String, _ transaction: any SQLTransaction) throws {
    for statement in setUp(schema) { try transaction.run(statement, []) }
  }

  static func check(_ transaction: any SQLTransaction, _ migrations: [Migration]) throws {
    let asked = try transaction.run("SELECT min_compatible FROM kiln_schema()", [])
    try Migration.check(storeAsksFor: asked.first?.int("min_compatible") ?? 0, known: migrations)
  }

  /// Makes or replaces the function that stands for a procedure.
  static func make(_ procedure: Procedure, _ schema: String, _ transaction: any SQLTransaction) throws {
    let types = procedure.arguments.map(\.rawValue).joined(separator: ", ")
    let signature = "\(schema).\(procedure.name)(\(types))"
    let result =
      procedure.result.isEmpty
      ? "void" : "TABLE(\(procedure.result.map { "\($0.name) \($0.type.rawValue)" }.joined(separator: ", ")))"
    let existing = try transaction.run(
      "SELECT pg_get_function_result(to_regprocedure($1::text)) AS result", [.text(signature)])
    // A function's result cannot be replaced.
    if let old = existing.first?.optionalText("result"), old != result {
      try transaction.run("DROP FUNCTION \(signature)", [])
    }
    let statements = procedure.statements.map { SQLDialect.postgres.render($0) }.joined(separator: ";\n")
    // In a VOLATILE function each statement has a snapshot of its own, so that a later one sees what
    // others committed while an earlier one waited for a lock.
    try transaction.run(
      """
      CREATE OR REPLACE FUNCTION \(signature) RETURNS \(result)
      LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = \(schema), pg_temp
      AS $kiln$
      \(statements)
      $kiln$
      """, [])
    try transaction.run("REVOKE ALL ON FUNCTION \(signature) FROM PUBLIC", [])
    try transaction.run("GRANT EXECUTE ON FUNCTION \(signature) TO kiln_executor", [])
  }

  private static func setUp(_ schema: String) -> [String] {
    [
      // Roles are the whole server's: another database's coordinator may make them at the same moment.
      role("kiln_coordinator"), role("kiln_executor"),
      """
      DO $kiln$ BEGIN
        IF NOT pg_has_role(current_user, 'kiln_coordinator', 'MEMBER') THEN
          GRANT kiln_coordinator TO CURRENT_USER;
        END IF;
        IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = '\(schema)') THEN
          CREATE SCHEMA \(schema) AUTHORIZATION kiln_coordinator;
        END IF;
      END $kiln$
      """,
      becomeOwner,
      "GRANT USAGE ON SCHEMA \(schema) TO kiln_executor",
      """
      CREATE TABLE IF NOT EXISTS schema_versions(
        version integer PRIMARY KEY, min_compatible integer NOT NULL, applied_ms bigint)
      """,
      """
      CREATE OR REPLACE FUNCTION kiln_now() RETURNS bigint LANGUAGE sql VOLATILE
      AS 'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint'
      """,
      "REVOKE ALL ON FUNCTION kiln_now() FROM PUBLIC",
      """
      CREATE OR REPLACE FUNCTION kiln_notify(topic text) RETURNS void
      LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = \(schema), pg_temp
      AS 'SELECT pg_notify(''\(schema)'', topic)'
      """,
      """
      CREATE OR REPLACE FUNCTION kiln_schema() RETURNS TABLE(version integer, min_compatible integer)
      LANGUAGE sql STABLE SECURITY DEFINER SET search_path = \(schema), pg_temp
      AS 'SELECT coalesce(max(s.version), 0), coalesce(max(s.min_compatible), 0) FROM schema_versions s'
      """,
      "REVOKE ALL ON FUNCTION kiln_notify(text), kiln_schema() FROM PUBLIC",
      "GRANT EXECUTE ON FUNCTION kiln_notify(text), kiln_schema() TO kiln_executor",
    ]
  }

  private static func role(_ name: String) -> String {
    """
    DO $kiln$ BEGIN
      IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '\(name)') THEN CREATE ROLE \(name) NOLOGIN; END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END $kiln$
    """
  }
}
