package import Foundation

/// The built `kiln`, run as a user runs it.
package struct KilnProgram: Sendable {
  package var environment: [String: String]
  package var folder: URL

  package init(environment: [String: String], folder: URL) {
    self.environment = environment
    self.folder = folder
  }

  package static var executable: URL {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let scratch = ProcessInfo.processInfo.environment["DEBUG_BUILD"] ?? ".build"
    return root.appendingPathComponent("\(scratch)/debug/kiln")
  }

  package struct Result: Sendable {
    package var status: Int32
    package var output: String
    package var errors: String
  }

  package struct Unexpected: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
  }

  private func process(
    _ program: URL, _ arguments: [String], adding: [String: String] = [:], output: Any?, errors: Any?
  ) -> Process {
    let process = Process()
    process.executableURL = program
    process.arguments = arguments
    // Where the tests run under a sanitizer, so does what they start.
    let sanitizer = ProcessInfo.processInfo.environment.filter { ["LD_PRELOAD", "TSAN_OPTIONS"].contains($0.key) }
    process.environment = environment.merging(adding) { _, new in new }.merging(sanitizer) { _, new in new }
    process.currentDirectoryURL = folder
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = errors
    return process
  }

  /// Runs to the end. Output goes through files: a pipe that nobody reads would stop the program.
  package func run(_ arguments: [String], program: URL? = nil) async throws -> Result {
    let out = folder.appendingPathComponent("out-\(UUID().uuidString)")
    let err = folder.appendingPathComponent("err-\(UUID().uuidString)")
    try Data().write(to: out)
    try Data().write(to: err)
    let handles = (try FileHandle(forWritingTo: out), try FileHandle(forWritingTo: err))
    // Foundation keeps a process that has ended, and what it holds.
    defer { for handle in [handles.0, handles.1] { try? handle.close() } }
    let process = process(program ?? Self.executable, arguments, output: handles.0, errors: handles.1)
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

  /// Runs and decodes what it printed as JSON; throws where it ended with another status.
  package func json<Value: Decodable>(_ arguments: [String], status: Int32 = 0, as type: Value.Type = Value.self)
    async throws
    -> Value
  {
    let result = try await run(arguments)
    guard result.status == status else {
      throw Unexpected(
        "kiln \(arguments.joined(separator: " ")): \(result.status)\n\(result.errors)")
    }
    return try JSONDecoder().decode(Value.self, from: Data(result.output.utf8))
  }

  /// Starts a daemon with its log in `NAME.log`.
  package func start(_ name: String, _ arguments: [String], adding: [String: String] = [:]) throws -> Process {
    let log = folder.appendingPathComponent("\(name).log")
    if !FileManager.default.fileExists(atPath: log.path) { try Data().write(to: log) }
    let handle = try FileHandle(forWritingTo: log)
    try handle.seekToEnd()
    let process = process(Self.executable, arguments, adding: adding, output: handle, errors: handle)
    try process.run()
    return process
  }
}

/// Waits for what a poll tells, for there is no other way to look into another process; never longer
/// than `seconds`: then it throws.
package func eventually(_ what: String, seconds: Double = 60, _ holds: () async throws -> Bool) async throws {
  let clock = ContinuousClock()
  let end = clock.now.advanced(by: .seconds(seconds))
  while clock.now < end {
    if try await holds() { return }
    try await Task.sleep(for: .milliseconds(50))
  }
  throw KilnProgram.Unexpected("not within \(seconds) s: \(what)")
}
