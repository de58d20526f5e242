import Foundation

/// Programs of others.
enum Tool {
  /// Runs to the end and returns what it printed; throws with that where it failed.
  @discardableResult
  static func run(
    _ name: String, _ arguments: [String], environment: [String: String] = ProcessInfo.processInfo.environment,
    input: URL? = nil
  ) async throws -> String {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-bench-\(UUID().uuidString)")
    guard FileManager.default.createFile(atPath: file.path, contents: nil) else {
      throw BenchError("cannot write \(file.path)")
    }
    defer { try? FileManager.default.removeItem(at: file) }
    let output = try FileHandle(forWritingTo: file)
    let process = Process()
    process.executableURL = try path(of: name)
    process.arguments = arguments
    process.environment = environment
    process.standardInput = try input.map { try FileHandle(forReadingFrom: $0) } ?? FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = output
    let status = try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Int32, any Error>) in
      process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
      do { try process.run() } catch { continuation.resume(throwing: error) }
    }
    try output.close()
    let text = try String(contentsOf: file, encoding: .utf8)
    guard status == 0 else { throw BenchError("\(name) \(arguments.first ?? "") ended with \(status): \(text)") }
    return text
  }

  /// As the shell finds it.
  private static func path(of name: String) throws -> URL {
    if name.contains("/") { return URL(fileURLWithPath: name) }
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin").split(separator: ":")
    for folder in folders {
      let file = "\(folder)/\(name)"
      if FileManager.default.isExecutableFile(atPath: file) { return URL(fileURLWithPath: file) }
    }
    throw BenchError("there is no \(name) on PATH")
  }
}

/// A database of a measurement's own.
struct BenchDatabase: Sendable {
  let name: String
  let url: String

  static func create(_ identifier: String) async throws -> BenchDatabase {
    let server = try Address.require("KILN_TEST_POSTGRES_URL")
    guard var parts = URLComponents(string: server) else { throw BenchError("KILN_TEST_POSTGRES_URL means nothing") }
    let name = "kiln_bench_\(identifier)"
    try await Tool.run("psql", [server, "-qc", "CREATE DATABASE \(name)"])
    parts.path = "/\(name)"
    return BenchDatabase(name: name, url: parts.string ?? server)
  }

  func drop() async throws {
    let server = try Address.require("KILN_TEST_POSTGRES_URL")
    try await Tool.run("psql", [server, "-qc", "DROP DATABASE \(name) WITH (FORCE)"])
  }
}
