import ArgumentParser
import Foundation
import HTTPClient
import JobQueue
import JobQueueAMQP
import Logging
import Model
import RecordStore
import RecordStorePostgres
import Registry

/// Where a farm's services are; passwords come by environment or file, never by option.
struct FarmOptions: ParsableArguments {
  @Option(name: .customLong("store"), help: "postgresql://USER@HOST:PORT/DATABASE (KILN_STORE_URL).")
  var storeURL: String?
  @Option(name: .customLong("queue"), help: "amqp://USER@HOST:PORT/VHOST (KILN_QUEUE_URL).") var queueURL: String?
  @Option(help: "HOST:PORT/PREFIX (KILN_REGISTRY).") var registry: String?

  func store(_ role: PostgresConfiguration.Role, name: String, effects: Effects, logger: Logger) throws
    -> SQLRecordStore<PostgresEngine>
  {
    let url = try Environment.require(storeURL, "KILN_STORE_URL", "--store")
    let password = try Environment.secret("KILN_STORE_PASSWORD")
    let configuration = try Self.setting("KILN_STORE_URL") {
      try PostgresConfiguration(url: url, password: password, applicationName: name, role: role)
    }
    return SQLRecordStore(
      engine: PostgresEngine(configuration: configuration, effects: effects, logger: logger), effects: effects)
  }

  /// Throws where this program cannot work with the store's schema; waits for a store that is away, as
  /// everything else does.
  static func checkSchema(
    _ store: SQLRecordStore<PostgresEngine>, effects: Effects, logger: Logger
  ) async throws {
    while true {
      do {
        return try await store.checkSchema(.postgres)
      } catch let error as StoreError where error.code == .unavailable || error.code == .conflict {
        logger.warning("store out of reach", metadata: ["error": "\(error)"])
        try await effects.time.sleep(seconds: 1)
      }
    }
  }

  func queue(_ role: AMQPConfiguration.Role, effects: Effects, logger: Logger) throws -> AMQPJobQueue {
    let url = try Environment.require(queueURL, "KILN_QUEUE_URL", "--queue")
    let password = try Environment.secret("KILN_QUEUE_PASSWORD")
    let configuration = try Self.setting("KILN_QUEUE_URL") {
      try AMQPConfiguration(url: url, password: password, role: role)
    }
    return AMQPJobQueue(configuration: configuration, effects: effects, logger: logger)
  }

  func images() throws -> RegistryClient {
    try RegistryAccess.open(try registryPrefix())
  }

  func registryPrefix() throws -> String { try Environment.require(registry, "KILN_REGISTRY", "--registry") }

  /// What a driver refuses before it has reached for its service is a setting that is wrong.
  private static func setting<Value>(_ name: String, _ make: () throws -> Value) throws -> Value {
    do { return try make() } catch { throw ValidationError("\(name): \(error)") }
  }
}
