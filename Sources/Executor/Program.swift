package import Foundation
package import Model
import Subprocess

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// One run of an outside program: an argument array, an environment that names every variable, a
/// deadline. No shell, nothing inherited.
package struct Program: Sendable {
  /// A name to be found on `PATH`, or an absolute path.
  package var executable: String
  package var arguments: [String]
  package var environment: [String: String]
  package var input: Input = .none
  package var deadlineSeconds: Double
  /// Of each output stream, the first bytes are kept.
  package var maxOutputBytes = 4 << 20

  package enum Input: Sendable {
    case none
    /// Bytes, then a file's bytes, streamed.
    case bytes(Data, then: URL?)
  }

  package enum Ending: Sendable, Hashable {
    case exited(Int32)
    case signalled(Int32)
    /// Ended by us, for this reason.
    case stopped(StopReason)
  }

  package enum StopReason: Sendable, Hashable {
    case deadline
    case silence
  }

  package struct Result: Sendable {
    package var ending: Ending
    package var output: [UInt8]
    package var errors: [UInt8]

    package var succeeded: Bool { ending == .exited(0) }
    package var outputText: String { String(decoding: output, as: UTF8.self) }
    /// What it said went wrong, for people.
    package var errorText: String {
      String(decoding: errors.suffix(2048), as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }
  }

  /// How long it may take to end by itself after the first signal; with 0 it is killed at once.
  package var graceSeconds = Self.defaultGraceSeconds
  static let defaultGraceSeconds = 5

  package init(
    _ executable: String, _ arguments: [String], environment: [String: String], input: Input = .none,
    deadlineSeconds: Double
  ) {
    self.executable = executable
    self.arguments = arguments
    self.environment = environment
    self.input = input
    self.deadlineSeconds = deadlineSeconds
  }

  /// Runs it to its end. When the deadline passes or the calling task is cancelled, its process group
  /// gets INT, then KILL; with a grace of 0, which is for programs without children, it alone gets KILL.
  /// Nothing of it is left when this returns.
  ///
  /// Throws `CancellationError`, or a `Failure` where it could not be started.
  package func run(time: any TimeSource) async throws -> Result {
    let seconds = deadlineSeconds
    return try await run(onErrors: nil) {
      try await time.sleep(seconds: seconds)
      return .deadline
    }
  }

  /// As above, but `stop` decides when it must end (by returning), and `onErrors`, where given, gets
  /// standard error as it comes, in order, instead of its being kept.
  package func run(
    onErrors: (@Sendable ([UInt8]) async -> Void)?, stop: @escaping @Sendable () async throws -> StopReason
  ) async throws -> Result {
    _ = Self.brokenPipesAreErrors
    enum Event {
      case ended(Result)
      case stop(StopReason)
    }
    let result = try await withThrowingTaskGroup(of: Event.self) { group in
      group.addTask { .ended(try await spawn(onErrors: onErrors)) }
      group.addTask { .stop(try await stop()) }
      defer { group.cancelAll() }
      var reason: StopReason?
      while let event = try await group.next() {
        switch event {
        case .ended(var result):
          if let reason { result.ending = .stopped(reason) }
          return result
        case .stop(let why):
          // The child task's cancellation ends the program; wait until it has.
          reason = why
          group.cancelAll()
        }
      }
      throw CancellationError()
    }
    // A program that our own cancellation ended did not fail.
    try Task.checkCancellation()
    return result
  }

  /// Runs it with this process's own standard streams, and so with its terminal, to its end; there is no
  /// deadline. Returns its exit status, or 128 and the signal that ended it, as a shell would.
  package func runInForeground() async throws -> Int32 {
    do {
      let outcome = try await Subprocess.run(
        .name(executableName), arguments: Arguments(arguments), environment: .custom(variables),
        input: .currentStandardInput, output: .currentStandardOutput, error: .currentStandardError)
      switch outcome.terminationStatus {
      case .exited(let code): return code
      case .signaled(let signal): return 128 + signal
      }
    } catch let error as SubprocessError {
      throw notStarted(error)
    }
  }

  private func notStarted(_ error: SubprocessError) -> Failure {
    Failure(
      .infrastructure, code: "program-not-started", "\(executable) could not be run: \(error)",
      hint: "install it, or say where it is")
  }

  private func spawn(onErrors: (@Sendable ([UInt8]) async -> Void)?) async throws -> Result {
    var options = PlatformOptions()
    options.createSession = true
    if graceSeconds > 0 {
      options.teardownSequence = [
        .send(signal: .interrupt, toProcessGroup: true, allowedDurationToNextStep: .seconds(graceSeconds))
      ]
    }
    let limit = maxOutputBytes
    do {
      let outcome = try await Subprocess.run(
        .name(executableName), arguments: Arguments(arguments), environment: .custom(variables),
        platformOptions: options, input: ProgramInput(source: input), output: .sequence, error: .sequence
      ) { execution in
        async let output = Self.collect(execution.standardOutput, limit: limit, sink: nil)
        let errors = try await Self.collect(execution.standardError, limit: limit, sink: onErrors)
        return (try await output, errors)
      }
      let ending: Ending =
        switch outcome.terminationStatus {
        case .exited(let code): .exited(code)
        case .signaled(let signal): .signalled(signal)
        }
      return Result(ending: ending, output: outcome.closureResult.0, errors: outcome.closureResult.1)
    } catch let error as SubprocessError {
      try Task.checkCancellation()
      throw notStarted(error)
    }
  }

  private static func collect(
    _ stream: SubprocessOutputSequence, limit: Int, sink: (@Sendable ([UInt8]) async -> Void)?
  ) async throws -> [UInt8] {
    var kept: [UInt8] = []
    for try await buffer in stream {
      let bytes = buffer.withUnsafeBytes { Array($0) }
      if let sink {
        await sink(bytes)
      } else {
        kept.append(contentsOf: bytes.prefix(max(0, limit - kept.count)))
      }
    }
    return kept
  }

  private var executableName: String {
    executable.hasPrefix("/") ? URL(fileURLWithPath: executable).lastPathComponent : executable
  }

  /// A program given by path is found because its folder is searched first.
  private var variables: [Environment.Key: String] {
    var all = environment
    let path = environment["PATH"] ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    all["PATH"] =
      executable.hasPrefix("/")
      ? "\(URL(fileURLWithPath: executable).deletingLastPathComponent().path):\(path)" : path
    var variables: [Environment.Key: String] = [:]
    for (name, value) in all {
      if let key = Environment.Key(rawValue: name) { variables[key] = value }
    }
    return variables
  }

  /// Writing to a program that has already ended must be an error, not our end.
  private static let brokenPipesAreErrors: Void = { _ = signal(SIGPIPE, SIG_IGN) }()
}

/// Streams a program's input. A program that ends without reading all of it says why by its exit
/// status, so a broken pipe is no error here.
private struct ProgramInput: InputProtocol {
  static let pieceBytes = 1 << 18
  var source: Program.Input

  func write(with writer: StandardInputWriter) async throws {
    guard case .bytes(let first, let file) = source else { return }
    do {
      _ = try await writer.write([UInt8](first))
      guard let file else { return }
      let handle = try FileHandle(forReadingFrom: file)
      defer { try? handle.close() }
      while let piece = try handle.read(upToCount: Self.pieceBytes), !piece.isEmpty {
        _ = try await writer.write([UInt8](piece))
      }
    } catch is SubprocessError {}
  }
}
