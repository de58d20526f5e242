import ArgumentParser
import Catalog
import Foundation
import Logging
import Model
import Planner

/// Where the catalog is.
struct CatalogOptions: ParsableArguments {
  @Option(
    name: .customLong("catalog"),
    help: "The catalog's folder (KILN_CATALOG; default: the nearest 'catalog' above here).")
  var catalogPath: String?

  func folder() throws -> URL {
    if let path = catalogPath ?? Environment.value("KILN_CATALOG") {
      return URL(fileURLWithPath: path, isDirectory: true).standardizedFileURL
    }
    var folder = URL(fileURLWithPath: FileManager.default.currentDirectoryPath, isDirectory: true)
    while true {
      for candidate in [folder.appendingPathComponent("catalog"), folder] {
        for name in ["catalog.yml", "catalog.yaml", "catalog.json"]
        where FileManager.default.fileExists(atPath: candidate.appendingPathComponent(name).path) {
          return candidate.standardizedFileURL
        }
      }
      let above = folder.deletingLastPathComponent()
      guard above.path != folder.path else { break }
      folder = above
    }
    throw ValidationError("no catalog here or above: name one by --catalog DIR")
  }

  /// Reads and checks the catalog, and says on standard error what in it is deprecated.
  func load(time: any TimeSource = SystemTime()) async throws -> LoadedCatalog {
    let loaded = try await LoadedCatalog(folder: folder())
    let found = loaded.catalog.deprecations(on: Day(time.now()))
    for warning in found.warnings { Exit.complain("warning: \(warning)") }
    if !found.denied.isEmpty { throw CatalogErrors(found.denied) }
    return loaded
  }
}

/// A catalog with its lock, where it lies, and its git revision if it is clean.
struct LoadedCatalog {
  let folder: URL
  let tree: CatalogTree
  let catalog: Catalog
  let lock: Lock

  init(folder: URL) async throws {
    self.folder = folder
    tree = try await OutsideFiles(catalog: folder).adding(to: CatalogTree(directory: folder))
    catalog = try Catalog.load(tree)
    lock = try Lock.load(tree)
  }
}

/// What `build`, `plan` and `submit` are asked for.
struct ProductArguments: ParsableArguments {
  @ArgumentParser.Argument(help: "Products by name (default: all).") var products: [String] = []

  @Option(name: .customLong("plan"), help: "Instead of products: what a test plan explores (plans/NAME.yml).")
  var testPlan: String?

  @Option(name: .customLong("platform"), help: "Only targets of this platform; may be repeated.")
  var platformNames: [String] = []

  func request(_ state: CatalogState) throws -> PlanRequest {
    try Self.check(products, testPlan)
    return PlanRequest(
      products: products, platforms: try platforms(), testPlan: testPlan, movesTags: state.movesTags)
  }

  static func check(_ products: [String], _ testPlan: String?) throws {
    guard testPlan == nil || products.isEmpty else {
      throw ValidationError("a test plan names its product itself: give products or --plan, not both")
    }
  }

  func platforms() throws -> [Platform] {
    try platformNames.map { name in
      guard let platform = Platform(name) else {
        throw ValidationError("'\(name)' is not a platform; write it like linux/arm64")
      }
      return platform
    }
  }
}

struct OutputOptions: ParsableArguments {
  @Flag(help: "Print JSON.") var json = false
}

/// Which coordinator to talk to.
struct ClientOptions: ParsableArguments {
  @Option(name: .customLong("coordinator"), help: "The coordinator's address (KILN_COORDINATOR).")
  var address: String?

  func client() throws -> CoordinatorClient {
    guard let text = address ?? Environment.value("KILN_COORDINATOR") else {
      throw ValidationError("which coordinator? Give --coordinator http://HOST:PORT or set KILN_COORDINATOR")
    }
    return try Self.client(text)
  }

  static func client(_ text: String) throws -> CoordinatorClient {
    guard let url = URL(string: text), ["http", "https"].contains(url.scheme), url.host != nil else {
      throw ValidationError("'\(text)' is not an address like http://127.0.0.1:7070")
    }
    guard let token = try Environment.secret("KILN_TOKEN") else {
      throw ValidationError("no token: set KILN_TOKEN_FILE (or KILN_TOKEN)")
    }
    return CoordinatorClient(base: url, token: token)
  }
}

enum Environment {
  /// Nil where it is not set, or empty.
  static func value(_ name: String) -> String? {
    ProcessInfo.processInfo.environment[name].flatMap { $0.isEmpty ? nil : $0 }
  }

  /// `NAME`, or the first line of the file that `NAME_FILE` names.
  static func secret(_ name: String) throws -> String? {
    if let value = value(name) { return value }
    guard let path = value("\(name)_FILE") else { return nil }
    guard let bytes = FileManager.default.contents(atPath: path) else {
      throw ValidationError("\(name)_FILE: '\(path)' cannot be read")
    }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").first.map(String.init)
  }

  /// The option, else the environment, else an error that names both.
  static func require(_ option: String?, _ name: String, _ flag: String) throws -> String {
    guard let value = option ?? value(name) else { throw ValidationError("give \(flag) or set \(name)") }
    return value
  }
}

struct LogOptions: ParsableArguments {
  @Option(name: .customLong("log-level"), help: "trace, debug, info, notice, warning or error (KILN_LOG_LEVEL).")
  var level: String?

  func logger(_ label: String, standard: Logger.Level) throws -> Logger {
    let name = level ?? Environment.value("KILN_LOG_LEVEL") ?? standard.rawValue
    guard let level = Logger.Level(rawValue: name) else { throw ValidationError("'\(name)' is not a log level") }
    var logger = Logger(label: label) { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = level
    return logger
  }
}

/// What fragments may mount and nobody else sees.
struct SecretOptions: ParsableArguments {
  @Option(help: "A secret for fragments: ID=FILE; may be repeated.") var secret: [String] = []

  func files() throws -> [String: URL] {
    var files: [String: URL] = [:]
    for pair in secret {
      let parts = pair.split(separator: "=", maxSplits: 1).map(String.init)
      guard parts.count == 2, FileManager.default.isReadableFile(atPath: parts[1]) else {
        throw ValidationError("--secret: '\(pair)' is not ID=FILE with a file that can be read")
      }
      files[parts[0]] = URL(fileURLWithPath: parts[1])
    }
    return files
  }
}
