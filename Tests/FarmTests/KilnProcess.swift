import Foundation
import Testing

/// The built `kiln`, run as a user runs it.
struct KilnProgram {
  var environment: [String: String]
  var folder: URL

  static var executable: URL {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let scratch = ProcessInfo.processInfo.environment["DEBUG_BUILD"] ?? ".build"
    return root.appendingPathComponent("\(scratch)/debug/kiln")
  }

  struct Result: Sendable {
    var status: Int32
    var output: String
    var errors: String
  }

  func process(_ program: URL, _ arguments: [String], output: Any?, errors: Any?) -> Process {
    let process = Process()
    process.executableURL = program
    process.arguments = arguments
    process.environment = environment
    process.currentDirectoryURL = folder
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = errors
    return process
  }

  /// Runs to the end. Output goes through files: a pipe that nobody reads would stop the program.
  func run(_ arguments: [String], program: URL? = nil) async throws -> Result {
    let out = folder.appendingPathComponent("out-\(UUID().uuidString)")
    let err = folder.appendingPathComponent("err-\(UUID().uuidString)")
    try Data().write(to: out)
    try Data().write(to: err)
    let process = process(
      program ?? Self.executable, arguments, output: try FileHandle(forWritingTo: out),
      errors: try FileHandle(forWritingTo: err))
    let status = try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Int32, any Error>) in
      process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
      do { try process.run() } catch { continuation.resume(throwing: error) }
    }
    let result = Result(
      status: status, output: try String(contentsOf: out, encoding: .utf8),
      errors: try String(contentsOf: err, encoding: .utf8))
    try FileManager.default.removeItem(at: out)
    try FileManager.default.removeItem(at: err)
    return result
  }

  /// Runs and decodes what it printed as JSON; a status other than `status` fails the test.
  func json<Value: Decodable>(_ arguments: [String], status: Int32 = 0, as type: Value.Type = Value.self) async throws
    -> Value
  {
    let result = try await run(arguments)
    #expect(result.status == status, "kiln \(arguments.joined(separator: " ")): \(result.errors)")
    return try JSONDecoder().decode(Value.self, from: Data(result.output.utf8))
  }

  /// Starts a daemon with its log in `NAME.log`.
  func start(_ name: String, _ arguments: [String], adding: [String: String] = [:]) throws -> Process {
    let log = folder.appendingPathComponent("\(name).log")
    if !FileManager.default.fileExists(atPath: log.path) { try Data().write(to: log) }
    let handle = try FileHandle(forWritingTo: log)
    try handle.seekToEnd()
    let process = process(Self.executable, arguments, output: handle, errors: handle)
    process.environment = environment.merging(adding) { _, new in new }
    try process.run()
    return process
  }
}

/// Waits for what a poll tells, for there is no other way to look into another process; never longer
/// than `seconds`.
func eventually(_ what: String, seconds: Double = 60, _ holds: () async throws -> Bool) async throws {
  let clock = ContinuousClock()
  let end = clock.now.advanced(by: .seconds(seconds))
  while clock.now < end {
    if try await holds() { return }
    try await Task.sleep(for: .milliseconds(50))
  }
  Issue.record("not within \(seconds) s: \(what)")
}
