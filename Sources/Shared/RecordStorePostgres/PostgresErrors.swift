import RecordStore

/// SQLSTATE in the store's words: the one table.
enum PostgresErrors {
  struct Meaning: Sendable {
    var code: StoreError.Code
    var hint: String?
    /// The connection is of no more use even if it still stands.
    var endsConnection = false
  }

  /// The longest prefix that matches decides.
  static let meanings: [String: Meaning] = [
    // Connections
    "08": Meaning(code: .unavailable, endsConnection: true),
    "57P": Meaning(code: .unavailable, endsConnection: true),  // shut down, crashed, starting, idle too long
    "25006": Meaning(
      code: .unavailable, hint: "The server is a read-only standby; waiting for the one that takes writes",
      endsConnection: true),
    "25P03": Meaning(code: .unavailable, endsConnection: true),  // idle in transaction for too long
    "25P04": Meaning(code: .unavailable, endsConnection: true),  // transaction for too long
    // What the server lacks now
    "53": Meaning(code: .unavailable, hint: "The server lacks connections, memory or disk space"),
    "57014": Meaning(code: .unavailable, hint: "The statement took too long and was ended"),
    "58": Meaning(code: .unavailable),  // its own disk or system
    // Other transactions
    "40": Meaning(code: .conflict),  // serialization failure, deadlock
    "40003": Meaning(code: .unavailable, endsConnection: true),  // completion unknown
    "55P03": Meaning(code: .conflict),  // lock not available
    // Rights
    "28": Meaning(code: .refused, hint: "Check the user, its password and the server's pg_hba.conf"),
    "3D": Meaning(code: .refused, hint: "Create the database, or correct the store's URL"),
    "42501": Meaning(
      code: .refused,
      hint: "An executor's login needs GRANT kiln_executor, a coordinator's GRANT kiln_coordinator"),
    // Schema
    "3F": Meaning(code: .schema, hint: "Run 'kiln db migrate' first"),
    "42P01": Meaning(code: .schema, hint: "Run 'kiln db migrate' first"),
    "42883": Meaning(code: .schema, hint: "Run 'kiln db migrate' first"),
  ]

  static func meaning(_ state: String) -> Meaning {
    for length in [5, 3, 2] {
      if let meaning = meanings[String(state.prefix(length))] { return meaning }
    }
    return Meaning(code: .statement)
  }

  static func error(_ state: String, _ message: String) -> StoreError {
    let meaning = meaning(state)
    return StoreError(meaning.code, "\(message) (SQLSTATE \(state))\(meaning.hint.map { ". \($0)" } ?? "")")
  }

  /// Of a connection that did not come about: libpq has only text for it, but a server's refusal
  /// carries its SQLSTATE there in the verbose form (`FATAL:  28P01: password …`). All else is a server
  /// out of reach, a standby, or a name that does not resolve now.
  static func connectError(_ text: String) -> StoreError {
    // Lines of verbose text that only say where in the server's source it happened.
    let lines = text.split(separator: "\n").filter { !$0.hasPrefix("LOCATION:") }
    let message = lines.joined(separator: " ")
    if let match = message.firstMatch(of: #/[A-Z]+: +(?<state>[0-9A-Z]{5}): /#) {
      let state = String(match.output.state)
      return error(state, message.replacing("\(state): ", with: ""))
    }
    return StoreError(.unavailable, message.isEmpty ? "no connection" : message)
  }
}
