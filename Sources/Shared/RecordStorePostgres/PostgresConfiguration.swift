import CPostgres
import RecordStore

/// Where the farm's store is and what this process may do there.
package struct PostgresConfiguration: Sendable, CustomStringConvertible {
  package enum Role: Sendable {
    /// Reads and writes every table, migrates, listens.
    case coordinator
    /// Calls procedures, on one connection, and nothing else.
    case executor
  }

  package let role: Role
  /// The tables' schema; its name is also the channel of announcements.
  package let schema: String
  package var maxConnections: Int
  package var connectTimeoutSeconds = 10.0
  /// Of one statement. The server ends it; where no answer comes at all, the connection is given up
  /// after twice as long.
  package var statementTimeoutSeconds = 30.0
  package var migrationTimeoutSeconds = 600.0

  let parameters: [(keyword: String, value: String)]
  /// Tried in order; one nil where the URL names none.
  let hosts: [Host?]

  struct Host: Sendable {
    var name: String
    var port: String?
  }

  /// `url` is `postgresql://user@host:port/database`, with several hosts (`host:port,host:port`) where a
  /// standby may take over. The password comes from elsewhere, or is in the URL; no message shows it.
  package init(
    url: String, password: String? = nil, applicationName: String, role: Role, schema: String = "kiln"
  ) throws {
    guard !schema.isEmpty, schema.utf8.count <= 40, !schema.hasPrefix("pg_"),
      schema.utf8.allSatisfy({ (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5F }),
      schema.utf8.first.map({ !(0x30...0x39).contains($0) }) == true
    else {
      throw StoreError(.refused, "\(schema) cannot be a schema: use lower-case letters, digits and _, at most 40")
    }
    var options = try Self.parse(url)
    // Our own program finds the hosts one by one, so that a dead one does not use up the time of the next.
    let names = options.removeValue(forKey: "host").map { $0.split(separator: ",", omittingEmptySubsequences: false) }
    let ports = options.removeValue(forKey: "port").map { $0.split(separator: ",", omittingEmptySubsequences: false) }
    if let names {
      hosts = names.enumerated().map { index, name in
        let port = ports.flatMap { $0.count == 1 ? $0.first : index < $0.count ? $0[index] : nil }
        return Host(name: String(name), port: port.flatMap { $0.isEmpty ? nil : String($0) })
      }
    } else {
      if let port = ports?.first { options["port"] = String(port) }
      hosts = [nil]
    }
    if let password { options["password"] = password }
    options["application_name"] = applicationName
    options["client_encoding"] = "UTF8"
    options["target_session_attrs"] = "read-write"
    // A peer that vanished without a word is noticed within 25 s.
    options["keepalives_idle"] = "10"
    options["keepalives_interval"] = "5"
    options["keepalives_count"] = "3"
    options["tcp_user_timeout"] = "25000"
    parameters = options.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    self.role = role
    self.schema = schema
    maxConnections = role == .coordinator ? 4 : 1
  }

  package var description: String {
    func value(_ keyword: String) -> String { parameters.first { $0.keyword == keyword }?.value ?? "" }
    let places = hosts.map { host in host.map { $0.name + ($0.port.map { ":\($0)" } ?? "") } ?? "" }
    return "postgresql://\(value("user"))@\(places.joined(separator: ","))/\(value("dbname"))"
  }

  private static func parse(_ url: String) throws -> [String: String] {
    // The library's own message would show the URL, password and all.
    guard url.hasPrefix("postgresql://") || url.hasPrefix("postgres://"),
      let parsed = PQconninfoParse(url, nil)
    else {
      throw StoreError(.refused, "the store's URL cannot be read. It must be like postgresql://user@host:5432/database")
    }
    defer { PQconninfoFree(parsed) }
    var options: [String: String] = [:]
    var option = parsed
    while let keyword = option.pointee.keyword {
      if let value = option.pointee.val { options[String(cString: keyword)] = String(cString: value) }
      option += 1
    }
    return options
  }
}
