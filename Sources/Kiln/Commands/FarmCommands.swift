import ArgumentParser
import Foundation
import Hummingbird
import JobQueue
import JobQueueAMQP
import KilnCoordinator
import KilnExecutor
import Logging
import Model
import RecordStore
import RecordStorePostgres
import ServiceLifecycle
import UnixSignals

struct CoordinatorCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "coordinator",
    abstract: "Take builds, publish their jobs, watch leases, answer the API. Any number may run at once.",
    discussion: "Listens on this machine only unless told otherwise, and never without a token (KILN_TOKENS_FILE).")
  @OptionGroup var farm: FarmOptions
  @OptionGroup var log: LogOptions
  @Option(name: .customLong("pools"), help: "The folder with the pools' files (KILN_POOLS).") var poolFolder: String?
  @Option(help: "HOST:PORT to listen on (KILN_LISTEN; default 127.0.0.1:7070).") var listen: String?
  @Option(name: .customLong("tokens-file"), help: "'NAME TOKEN' a line (KILN_TOKENS_FILE).")
  var tokensFile: String?
  @Option(help: "The largest catalog that is taken, in bytes.") var maxBodyBytes = 64 << 20

  func run() async throws {
    let logger = try log.logger("kiln.coordinator", standard: .info)
    let effects = try Failpointing.effects()
    let tokens = try Self.tokens(tokensFile)
    let (host, port) = try Self.address(listen ?? Environment.value("KILN_LISTEN") ?? "127.0.0.1:7070")
    let pools = try Pools.load(try Environment.require(poolFolder, "KILN_POOLS", "--pools"))
    let name = "coordinator-\(ProcessInfo.processInfo.processIdentifier)"
    let store = try farm.store(.coordinator, name: "kiln \(name)", effects: effects, logger: logger)
    try await FarmOptions.checkSchema(store, effects: effects, logger: logger)
    let sources = Sources(catalogFolder: nil, login: try RegistryAccess.login(try farm.registryPrefix()))
    let coordinator = Coordinator(
      name: name, store: store, queue: try farm.queue(.coordinator, effects: effects, logger: logger),
      images: try farm.images(), pools: pools, openSource: { try await sources.open($0) }, effects: effects,
      logger: logger)
    let server = APIServer(coordinator: coordinator, tokens: tokens, maxBodyBytes: maxBodyBytes)
    let group = ServiceGroup(
      services: coordinator.services() + [server.application(host: host, port: port)],
      gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
    try await group.run()
    await coordinator.queue.close()
    await store.close()
  }

  private static func tokens(_ option: String?) throws -> TokenTable {
    if let path = option ?? Environment.value("KILN_TOKENS_FILE") {
      guard let bytes = FileManager.default.contents(atPath: path) else {
        throw ValidationError("the tokens file '\(path)' cannot be read")
      }
      return try TokenTable(text: String(decoding: bytes, as: UTF8.self))
    }
    guard let token = try Environment.secret("KILN_TOKEN") else {
      throw ValidationError("no token: give --tokens-file, or set KILN_TOKENS_FILE or KILN_TOKEN_FILE")
    }
    return try TokenTable(text: "operator \(token)")
  }

  private static func address(_ text: String) throws -> (String, Int) {
    guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
      (0...65535).contains(port)
    else { throw ValidationError("'\(text)' is not HOST:PORT") }
    return (String(text[..<colon]), port)
  }
}

enum Pools {
  /// Every `*.yml` of the folder, by name.
  static func load(_ path: String) throws -> [Pool] {
    let folder = URL(fileURLWithPath: path, isDirectory: true)
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder.path) else {
      throw ValidationError("the pools' folder '\(path)' cannot be read")
    }
    let pools = try names.filter { $0.hasSuffix(".yml") || $0.hasSuffix(".yaml") }.sorted().map {
      try PoolFile.load(folder.appendingPathComponent($0))
    }
    guard !pools.isEmpty else { throw ValidationError("there is no pool file (*.yml) in '\(path)'") }
    return pools
  }
}

struct ExecutorCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "executor",
    abstract: "Build on this host for a pool; refuses where the host does not meet the pool's file.")
  @OptionGroup var farm: FarmOptions
  @OptionGroup var log: LogOptions
  @Option(name: .customLong("pool"), help: "The pool's file (KILN_POOL).") var poolFile: String?
  @Option(help: "This executor's name (KILN_EXECUTOR; default: the host's name and the pool's).") var name: String?
  @Option(help: "The engine's address, instead of what the pool's file says (KILN_ENGINE).") var engine: String?
  @Option(
    help: ArgumentHelp(
      "How long jobs that run may go on when the executor is told to stop, before they are given back (KILN_DRAIN; default: 8).",
      valueName: "seconds"))
  var drain: Double?
  @OptionGroup var secrets: SecretOptions

  func run() async throws {
    let logger = try log.logger("kiln.executor", standard: .info)
    var settings = ExecutorSettings()
    if let drain = try drain ?? Environment.value("KILN_DRAIN").map(Self.seconds) { settings.drainSeconds = drain }
    guard settings.drainSeconds >= 0, settings.drainSeconds <= 86_400 else {
      throw ValidationError("the drain time is 0 to 86400 seconds, not \(settings.drainSeconds)")
    }
    let effects = try Failpointing.effects()
    let path = try Environment.require(poolFile, "KILN_POOL", "--pool")
    var pool = try PoolFile.load(URL(fileURLWithPath: path))
    if let engine = engine ?? Environment.value("KILN_ENGINE") { pool.builder = Pool.Builder(host: engine) }
    let text =
      name ?? Environment.value("KILN_EXECUTOR") ?? "\(ProcessInfo.processInfo.hostName.lowercased())-\(pool.name)"
    guard Name.isValid(text) else { throw ValidationError("'\(text)' is not an executor's name; give one by --name") }
    let host = try await ExecutorHost.join(
      pool, executor: ExecutorName(text: text), workFolder: workFolder(text),
      login: try RegistryAccess.login(try farm.registryPrefix()), kilnVersion: KilnVersion.text,
      logger: logger, time: effects.time)
    let store = try farm.store(.executor, name: "kiln \(text)", effects: effects, logger: logger)
    try await FarmOptions.checkSchema(store, effects: effects, logger: logger)
    let queue = try farm.queue(.executor, effects: effects, logger: logger)
    let executor = try host.executor(
      pool: pool, store: store, queue: queue, images: try farm.images(), syft: Syft.path,
      secretFiles: try secrets.files(), effects: effects, logger: logger, settings: settings)
    logger.notice(
      "joined", metadata: ["pool": "\(pool.name)", "executor": "\(text)", "engine": "\(host.facts.engineVersion)"])
    let group = ServiceGroup(
      services: [ExecutorService(executor)], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
    try await group.run()
    await queue.close()
    await store.close()
  }

  private static func seconds(_ text: String) throws -> Double {
    guard let seconds = Double(text) else { throw ValidationError("KILN_DRAIN: '\(text)' is no number of seconds") }
    return seconds
  }

  private func workFolder(_ name: String) -> URL {
    let home = Environment.value("KILN_HOME") ?? FileManager.default.currentDirectoryPath + "/.kiln"
    return URL(fileURLWithPath: home, isDirectory: true).appendingPathComponent("executor-\(name)", isDirectory: true)
  }
}

struct DatabaseCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "db", abstract: "The record store's schema.", subcommands: [Migrate.self])

  struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Bring the farm's store up to date. Safe to run at any time, also by several at once.")
    @OptionGroup var farm: FarmOptions
    @OptionGroup var log: LogOptions

    func run() async throws {
      let logger = try log.logger("kiln.db", standard: .warning)
      let store = try farm.store(.coordinator, name: "kiln migrate", effects: .system(), logger: logger)
      let applied = try await store.migrate(.postgres)
      await store.close()
      Output.write(
        applied.isEmpty
          ? "the schema is up to date\n" : "applied: \(applied.map(String.init).joined(separator: ", "))\n")
    }
  }
}
