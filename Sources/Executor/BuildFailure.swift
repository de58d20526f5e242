import Foundation
package import Model

/// What a failed build means.
///
/// buildx exits with 1 for a failed step, a bad Dockerfile, a missing base, a registry's fault, a lost
/// engine and an interrupt alike, so this one place reads text. It is a pure function, and its table
/// of captured outputs is in the tests.
package enum BuildFailure {
  package struct Facts: Sendable {
    package var ending: Program.Ending
    package var title: String
    /// The parent's image manifest, config and blobs.
    package var parentDigests: Set<Digest>
    /// The kernel ended a process for want of memory while the build ran.
    package var outOfMemory = false
    /// Free space was seen below the floor while the build ran.
    package var diskFull = false
    /// Of the layer's Dockerfile.
    package var origins: [LineOrigin] = []

    package init(
      ending: Program.Ending, title: String, parentDigests: Set<Digest> = [], outOfMemory: Bool = false,
      diskFull: Bool = false, origins: [LineOrigin] = []
    ) {
      self.ending = ending
      self.title = title
      self.parentDigests = parentDigests
      self.outOfMemory = outOfMemory
      self.diskFull = diskFull
      self.origins = origins
    }
  }

  /// Of a step's output, what goes into the failure.
  package static let maxLogTailBytes = 8 << 10

  package static func classify(_ progress: BuildProgress, _ facts: Facts) -> Failure {
    var failure = cause(progress, facts)
    failure.place = place(progress.text, facts)
    return failure
  }

  /// The lines that the builder blames.
  private static func place(_ text: String, _ facts: Facts) -> Failure.Place? {
    var first: Int?
    var lines: [Substring] = []
    for line in text.split(separator: "\n") {
      guard let blamed = line.wholeMatch(of: /\s*([0-9]+) \| >>> ?(.*)/) else { continue }
      if first == nil { first = Int(blamed.1) }
      lines.append(blamed.2)
    }
    guard let first else { return nil }
    let origin = facts.origins.last { $0.line <= first }
    return Failure.Place(
      fragment: facts.title, file: origin?.file, line: origin?.file == nil ? nil : origin?.fileLine,
      text: lines.joined(separator: "\n"))
  }

  private static func cause(_ progress: BuildProgress, _ facts: Facts) -> Failure {
    if case .stopped(let reason) = facts.ending { return stopped(reason, progress, facts) }
    // What only says that something else went wrong is no cause.
    let cause = progress.failedSteps.first { step in
      step.error.map { !BuildProgress.isEcho($0) && !$0.hasPrefix("rpc error: code = Canceled") } ?? false
    }
    if let cause, let error = cause.error { return failedStep(cause, error, facts) }
    return noStep(progress, facts)
  }

  // MARK: A step says what went wrong

  private static func failedStep(_ step: BuildProgress.Step, _ error: String, _ facts: Facts) -> Failure {
    var failure = meaning(of: error, step, facts)
    failure.step = step.name
    if !step.tail.isEmpty { failure.logTail = String(decoding: step.tail.suffix(maxLogTailBytes), as: UTF8.self) }
    return failure
  }

  private static func meaning(of error: String, _ step: BuildProgress.Step, _ facts: Facts) -> Failure {
    if let end = processEnd(error) { return exited(end, step, facts) }
    if error.contains("no space left on device") {
      return Failure(
        .infrastructure, code: "disk-full", "the disk is full: \(error)",
        hint: "free space where the engine and the executor keep their data")
    }
    if let damaged = damagedCache(error, facts) { return damaged }
    // Two exports into the layout met at one blob, and the other was done with it first.
    if error.contains(/\/ingest\/[0-9a-f]{64}\/.*no such file or directory/) {
      return Failure(
        .infrastructure, code: ExportLayout.damagedCode, "the builder's export was disturbed: \(error)")
    }
    if let lost = lostParent(error, facts) { return lost }
    if let missing = error.wholeMatch(of: /failed to calculate checksum of ref [^ ]+: "(.*)": not found/) {
      return Failure(
        .input, code: "context-file-missing", "\(facts.title): '\(missing.1)' is not among the layer's files",
        hint: "COPY, ADD and bind mounts see only what the fragment's folder holds")
    }
    if let secret = error.wholeMatch(of: /secret (.+): not found/) {
      return Failure(
        .input, code: "secret-missing", "\(facts.title): secret '\(secret.1)' was not given",
        hint: "declare it under the fragment's secrets")
    }
    if error.hasSuffix(": not found"), step.name.contains("load metadata for") || error.contains("from remote") {
      return Failure(.input, code: "reference-not-found", "\(facts.title): \(error)", hint: "lock the catalog again")
    }
    return Failure(.infrastructure, code: "builder-error", "\(facts.title): \(error)")
  }

  private enum ProcessEnd {
    case exit(Int)
    case noSuchUser(String)
  }

  /// Only when the error is this to the very end of the text: `…: exit code: 137: context canceled` is
  /// a cancellation. The command in quotes may contain anything, newlines included.
  private static func processEnd(_ error: String) -> ProcessEnd? {
    let marker = "\" did not complete successfully: "
    guard error.hasPrefix("process \""), let range = error.range(of: marker, options: .backwards) else { return nil }
    let rest = error[range.upperBound...]
    if rest.hasPrefix("exit code: "), let code = Int(rest.dropFirst("exit code: ".count)) { return .exit(code) }
    if rest.hasPrefix("unable to find user ") || rest.hasPrefix("unable to find group ") {
      return .noSuchUser(String(rest))
    }
    return nil
  }

  private static func exited(_ end: ProcessEnd, _ step: BuildProgress.Step, _ facts: Facts) -> Failure {
    switch end {
    case .noSuchUser(let text):
      return Failure(
        .build, code: "no-such-user", "\(facts.title): \(text)", hint: "USER must name one that /etc/passwd has")
    case .exit(let code):
      if facts.diskFull {
        return Failure(
          .infrastructure, code: "disk-full", "\(facts.title): a step exited with \(code) while the disk was full",
          hint: "free space where the engine keeps its data", exitCode: code)
      }
      if code == 137 && facts.outOfMemory {
        return Failure(
          .build, code: "out-of-memory", "\(facts.title): a step was killed, for the host had no memory left",
          hint: "give the host more memory or the pool fewer slots", exitCode: code)
      }
      return Failure(
        .build, code: "step-failed", "\(facts.title): a step exited with \(code): \(step.name)",
        hint: KnownCause.hint(exitCode: code, tail: step.tail), exitCode: code)
    }
  }

  package static let damagedCacheCode = "cache-damaged"

  /// What the builder's own store says that it has, it has not.
  private static func damagedCache(_ error: String, _ facts: Facts) -> Failure? {
    guard error.contains(/\/snapshots\/[0-9]+.*no such file or directory/) || error.contains("parent snapshot ") else {
      return nil
    }
    return Failure(
      .infrastructure, code: damagedCacheCode, "\(facts.title): the builder's cache is damaged: \(error)",
      hint: "the cache was pruned and the layer built without it, in vain; look at the engine's disk")
  }

  /// The parent's manifest or a blob of it is not where it was said to be.
  private static func lostParent(_ error: String, _ facts: Facts) -> Failure? {
    guard error.contains("not found") || error.contains("no such file or directory") else { return nil }
    let named = error.matches(of: /sha256:[0-9a-f]{64}/).compactMap { Digest(String($0.0)) }
    guard let lost = named.first(where: facts.parentDigests.contains) else { return nil }
    return Failure(
      .infrastructure, code: "parent-lost", "\(facts.title): \(lost) of the parent image is gone: \(error)",
      hint: "the parent is built again")
  }

  // MARK: No step says it

  private static func noStep(_ progress: BuildProgress, _ facts: Facts) -> Failure {
    let lines = progress.text.split(separator: "\n")
    let said = lines.last { $0.hasPrefix("ERROR: ") }.map { $0.dropFirst("ERROR: ".count) }
    let error = said.map { $0.hasPrefix("failed to solve: ") ? String($0.dropFirst(17)) : String($0) }
    guard let error else {
      return Failure(
        .infrastructure, code: "builder-gone",
        "\(facts.title): the builder's client ended (\(facts.ending)) and said nothing",
        hint: "somebody or the kernel killed it")
    }
    if error.contains("Cannot connect to the Docker daemon") || error.contains("error during connect") {
      return Failure(.infrastructure, code: "engine-unreachable", error, hint: "is the engine running?")
    }
    if let damaged = damagedCache(error, facts) { return damaged }
    // Two exports into the layout met at one blob, and the other was done with it first.
    if error.contains(/\/ingest\/[0-9a-f]{64}\/.*no such file or directory/) {
      return Failure(
        .infrastructure, code: ExportLayout.damagedCode, "the builder's export was disturbed: \(error)")
    }
    if let lost = lostParent(error, facts) { return lost }
    // BuildKit shows the lines it blames only when the Dockerfile is what it could not understand:
    // faults of the engine and the connection carry no excerpt.
    let blamesLines = lines.contains { $0.contains(" | >>> ") }
    let isTransport = /^(Unavailable|Canceled|DeadlineExceeded|Unknown|Internal|rpc error)\b/
    if error.hasPrefix("dockerfile parse error") || (blamesLines && error.firstMatch(of: isTransport) == nil) {
      return Failure(
        .input, code: "dockerfile", "\(facts.title): \(error)", logTail: String(progress.text.suffix(maxLogTailBytes)))
    }
    return Failure(.infrastructure, code: "builder-error", "\(facts.title): \(error)")
  }

  // MARK: We ended it

  private static func stopped(_ reason: Program.StopReason, _ progress: BuildProgress, _ facts: Facts) -> Failure {
    let what = reason == .deadline ? "was not done in time" : "said nothing for too long"
    let code = reason == .deadline ? "deadline" : "no-output"
    // A fragment's own command is what hangs, or else the builder or something that it waits for. Our
    // ending the client may already have shown on the step, as an error that is only an echo.
    let hanging = progress.steps.last { step in
      let echoes = step.error.map { BuildProgress.isEcho($0) || $0.hasPrefix("rpc error: code = Canceled") } ?? false
      return (step.isRunning || echoes) && step.name.contains("] RUN ")
    }
    guard let step = hanging
    else {
      return Failure(
        .infrastructure, code: code, "\(facts.title): the builder \(what)",
        hint: progress.steps.last(where: \.isRunning).map { "it was at: \($0.name)" })
    }
    return Failure(
      .build, code: code, "\(facts.title): a step \(what): \(step.name)",
      hint: "the pool's limits say how long a step may take", step: step.name,
      logTail: String(decoding: step.tail.suffix(maxLogTailBytes), as: UTF8.self))
  }
}
