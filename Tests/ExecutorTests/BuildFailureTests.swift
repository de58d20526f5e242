import Foundation
import KilnExecutor
import Model
import Testing

/// What buildx really wrote, and what it means. The outputs are captured; `Fixtures` has them.
@Suite struct BuildFailureTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var fixture: String
    var failureClass: FailureClass
    var code: String
    var exitCode: Int?
    var tail: String?
    var ending: Program.Ending = .exited(1)
    var diskFull = false
    var outOfMemory = false

    init(
      _ fixture: String, _ failureClass: FailureClass, _ code: String, exit exitCode: Int? = nil, tail: String? = nil,
      ending: Program.Ending = .exited(1), diskFull: Bool = false, outOfMemory: Bool = false
    ) {
      self.fixture = fixture
      self.failureClass = failureClass
      self.code = code
      self.exitCode = exitCode
      self.tail = tail
      self.ending = ending
      self.diskFull = diskFull
      self.outOfMemory = outOfMemory
    }

    var testDescription: String {
      "\(fixture) \(ending)\(diskFull ? " disk full" : "")\(outOfMemory ? " out of memory" : "")"
    }
  }

  static let rows = [
    Row("run-failed", .build, "step-failed", exit: 7, tail: "before\nproblem\n"),
    Row("run-failed", .infrastructure, "disk-full", exit: 7, diskFull: true),
    Row("run-killed", .build, "step-failed", exit: 137, tail: "Killed\n"),
    Row("run-killed", .build, "out-of-memory", exit: 137, outOfMemory: true),
    Row("run-terminated", .build, "step-failed", exit: 143, outOfMemory: true),
    Row("run-no-program", .build, "step-failed", exit: 1),
    Row("run-heredoc", .build, "step-failed", exit: 1, tail: "first line\n"),
    Row("sibling", .build, "step-failed", exit: 3),
    Row("no-user", .build, "no-such-user"),
    Row("parse-error", .input, "dockerfile"),
    Row("flag-error", .input, "dockerfile"),
    Row("missing-file", .input, "context-file-missing"),
    Row("missing-bind", .input, "context-file-missing"),
    Row("secret-missing", .input, "secret-missing"),
    Row("parent-missing-layout", .infrastructure, "parent-lost"),
    Row("parent-missing-registry", .infrastructure, "parent-lost"),
    Row("parent-missing-repository", .infrastructure, "parent-lost"),
    Row("registry-blob404", .infrastructure, "parent-lost"),
    Row("registry-blob500", .infrastructure, "builder-error"),
    Row("registry-blobcorrupt", .infrastructure, "builder-error"),
    Row("registry-blobcut", .infrastructure, "builder-error"),
    Row("registry-manifest503", .infrastructure, "builder-error"),
    Row("registry-refused", .infrastructure, "builder-error"),
    Row("engine-absent", .infrastructure, "engine-unreachable"),
    Row("engine-lost", .infrastructure, "builder-error"),
    Row("engine-killed", .infrastructure, "builder-error"),
    Row("disk-full-client", .infrastructure, "disk-full"),
    Row("interrupted", .infrastructure, "builder-error"),
    Row("killed", .infrastructure, "builder-gone", ending: .signalled(9)),
    Row("killed", .build, "deadline", ending: .stopped(.deadline)),
    Row("killed", .build, "no-output", ending: .stopped(.silence)),
    Row("registry-blob500", .infrastructure, "deadline", ending: .stopped(.deadline)),
  ]

  @Test(arguments: rows) func classifies(_ row: Row) throws {
    let progress = try Fixture.progress(row.fixture)
    let failure = BuildFailure.classify(
      progress,
      BuildFailure.Facts(
        ending: row.ending, title: "core@1", parentDigests: Fixture.parents, outOfMemory: row.outOfMemory,
        diskFull: row.diskFull))
    #expect(failure.failureClass == row.failureClass, "\(failure)")
    #expect(failure.code == row.code, "\(failure)")
    #expect(failure.exitCode == row.exitCode)
    if let tail = row.tail { #expect(failure.logTail == tail) }
  }

  @Test func aLostImageThatIsNotTheParentIsNoLostParent() throws {
    let facts = BuildFailure.Facts(ending: .exited(1), title: "core@1")
    #expect(BuildFailure.classify(try Fixture.progress("parent-missing-registry"), facts).code == "reference-not-found")
    #expect(BuildFailure.classify(try Fixture.progress("registry-blob404"), facts).code == "reference-not-found")
  }

  @Test func namesTheLinesAtFault() throws {
    let origins = [
      LineOrigin(line: 2, file: "fragments/core/1/Dockerfile.fragment", fileLine: 4),
      LineOrigin(line: 3, file: "fragments/core/1/Dockerfile.fragment", fileLine: 9),
    ]
    let facts = BuildFailure.Facts(ending: .exited(1), title: "core@1", origins: origins)
    let one = BuildFailure.classify(try Fixture.progress("run-failed"), facts).place
    let line = "RUN echo before; echo problem >&2; exit 7"
    #expect(one == Failure.Place(fragment: "core@1", file: origins[1].file, line: 9, text: line))
    let many = BuildFailure.classify(try Fixture.progress("run-heredoc"), facts).place
    #expect(many?.line == 4 && many?.text == "RUN <<E\nset -e\necho first line\nfalse\nE")
    // A catalog that says nothing of its lines, and a failure that is no line's.
    let bare = BuildFailure.Facts(ending: .exited(1), title: "core@1")
    let unknown = BuildFailure.classify(try Fixture.progress("run-failed"), bare).place
    #expect(unknown == Failure.Place(fragment: "core@1", file: nil, line: nil, text: line))
    #expect(BuildFailure.classify(try Fixture.progress("engine-absent"), facts).place == nil)
  }

  @Test(arguments: [
    (1, "E: Unable to locate package nonesuch", "apt-get update"), (127, "", "in no layer below"),
    (1, "exec /bin/x: exec format error", "another platform"), (139, "", "crashed"),
    (100, "Could not resolve host: example", "network"),
  ]) func knowsWhatLastWordsMean(_ exitCode: Int, _ tail: String, _ hint: String) {
    let known = KnownCause.hint(exitCode: exitCode, tail: Array(tail.utf8))
    #expect(known?.contains(hint) == true, "\(known ?? "nothing")")
    #expect(KnownCause.hint(exitCode: 1, tail: Array("no idea".utf8)) == nil)
  }

  @Test func twoExportsThatMeetAreNoFaultOfTheBuilder() throws {
    let ingest = "layout/ingest/386bb94f4c3c87ad00b48cc6e284f7c4ededd1f80ba5744e798babfd826913b8/data"
    let error = "failed to open data file: open /home/x/\(ingest): no such file or directory: unknown"
    let line =
      #"{"vertexes":[{"digest":"sha256:"# + String(repeating: "a", count: 64)
      + #"","name":"exporting to oci image format","started":"2026-11-22T02:00:00Z","error":"\#(error)"}]}"# + "\n"
    var raw = RawProgress()
    var progress = BuildProgress()
    for event in raw.feed(ArraySlice(Array(line.utf8))) + raw.finish() { _ = progress.apply(event) }
    _ = progress.finish()
    let failure = BuildFailure.classify(progress, BuildFailure.Facts(ending: .exited(1), title: "core@1"))
    #expect(failure.code == "export-damaged", "\(failure)")
  }

  @Test func namesTheStepAndTheFile() throws {
    let facts = BuildFailure.Facts(ending: .exited(1), title: "core@1")
    let step = BuildFailure.classify(try Fixture.progress("run-failed"), facts)
    #expect(step.step == "[2/3] RUN echo before; echo problem >&2; exit 7")
    let file = BuildFailure.classify(try Fixture.progress("missing-file"), facts)
    #expect(file.message == "core@1: '/missing.txt' is not among the layer's files")
  }
}

enum Fixture {
  /// What the captured builds stood on.
  static let parents: Set<Digest> = {
    let hex = [
      "c8caf93626ed709d4bfa07662428929ebedef4627069e5fa0f1f949d04ec0000",
      "c8caf93626ed709d4bfa07662428929ebedef4627069e5fa0f1f949d04ec1897",
      "fc06701d82db1b5fbc4b0b8326fd3c47acad503f369f61ab41c8ff6978a490a1",
    ]
    return Set(hex.compactMap { Digest(hex: $0) })
  }()

  static func bytes(_ name: String) throws -> [UInt8] {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
      "Fixtures/\(name).txt")
    return Array(try Data(contentsOf: file))
  }

  static func progress(_ name: String) throws -> BuildProgress { try read(name).progress }

  static func read(_ name: String, pieceBytes: Int = 1000) throws -> (
    progress: BuildProgress, outputs: [BuildProgress.Output]
  ) {
    let bytes = try bytes(name)
    var raw = RawProgress()
    var progress = BuildProgress()
    var outputs: [BuildProgress.Output] = []
    for start in stride(from: 0, to: bytes.count, by: pieceBytes) {
      for event in raw.feed(bytes[start..<min(start + pieceBytes, bytes.count)]) { outputs += progress.apply(event) }
    }
    for event in raw.finish() { outputs += progress.apply(event) }
    outputs += progress.finish()
    return (progress, outputs)
  }
}
