import Foundation
import Model
import RecordStore
import TestSupport
import Testing

@testable import RecordStorePostgres

/// A database of a test's own, with logins for each role, dropped at the end.
struct TestDatabase: Sendable {
  let name: String
  let coordinatorLogin: String
  let executorLogin: String
  /// What the logins' password is; it must never be seen in a message.
  static let password = "sesame-6c1b9e"

  private let superuserURL: String

  /// Makes the database, gives it to `body` and drops it.
  static func with(_ body: (TestDatabase) async throws -> Void) async throws {
    let server = try Services.require("KILN_TEST_POSTGRES_URL")
    let id = UUID().uuidString.prefix(13).lowercased().replacing("-", with: "")
    let database = TestDatabase(
      name: "kiln_test_\(id)", coordinatorLogin: "kiln_test_c_\(id)", executorLogin: "kiln_test_e_\(id)",
      superuserURL: server)
    try database.asSuperuser("CREATE DATABASE \(database.name)")
    do {
      try await body(database)
    } catch {
      try database.drop()
      throw error
    }
    try database.drop()
  }

  /// The two logins, after the roles were made.
  func makeLogins() throws {
    for (login, role) in [(coordinatorLogin, "kiln_coordinator"), (executorLogin, "kiln_executor")] {
      try asSuperuser("CREATE ROLE \(login) LOGIN PASSWORD '\(Self.password)' IN ROLE \(role)")
    }
  }

  /// Runs a statement on the server's own database, outside any transaction.
  func asSuperuser(_ statement: String) throws {
    let server = try PostgresConfiguration(url: superuserURL, applicationName: "kiln-test", role: .coordinator)
    try PostgresHandle.connect(server).command(statement, timeoutSeconds: 30)
  }

  private func drop() throws {
    try asSuperuser("DROP DATABASE IF EXISTS \(name) WITH (FORCE)")
    for login in [coordinatorLogin, executorLogin] { try asSuperuser("DROP ROLE IF EXISTS \(login)") }
  }

  func url(user: String? = nil, port: Int? = nil) throws -> String {
    var parts = try #require(URLComponents(string: superuserURL))
    parts.path = "/\(name)"
    if let user { (parts.user, parts.password) = (user, nil) }
    if let port { parts.port = port }
    return parts.string ?? ""
  }

  func configuration(
    _ role: PostgresConfiguration.Role = .coordinator, user: String? = nil, password: String? = nil, port: Int? = nil
  ) throws -> PostgresConfiguration {
    try PostgresConfiguration(
      url: url(user: user, port: port), password: password ?? user.map { _ in Self.password },
      applicationName: "kiln-test", role: role)
  }

  func engine(_ configuration: PostgresConfiguration) -> PostgresEngine {
    PostgresEngine(configuration: configuration, effects: .system())
  }
}
