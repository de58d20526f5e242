import ArgumentParser
import Foundation
import KilnCoordinator
import Model
import RecordStore

struct CancelCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cancel", abstract: "End a build or a job that nobody wants any more.",
    discussion: """
      What another build wants goes on. Of a job, all cells that need it are cancelled; a cell is cancelled by its
      own job. A build on this machine alone ('kiln build') ends by Ctrl-C.
      """)
  @ArgumentParser.Argument(help: "A build or a job.") var id: String
  @OptionGroup var client: ClientOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let reply: CancelReply = try await client.client().intervene("cancel", WorkName(id).text)
    if output.json { return try Output.json(reply) }
    let what = reply.cells.map { "job \(reply.id) is \(reply.state), and \($0) cells with it" }
    Output.write((what ?? "build \(reply.id) is \(reply.state)") + "\n")
  }
}

struct RetryCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "retry", abstract: "Try again what failed of a build, or one job.",
    discussion: """
      What is dead gets a new generation, and the builds that failed for it run again. A job that waits for its next
      attempt waits no longer. What passed is never done again.
      """)
  @ArgumentParser.Argument(help: "A build or a job.") var id: String
  @Flag(help: "Only what failed: which is what is done anyway.") var failed = false
  @OptionGroup var client: ClientOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let outcome: ReplayOutcome = try await client.client().intervene("retry", WorkName(id).text)
    try ReplayReport.write(outcome, output)
  }
}

struct DeadLettersCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dead-letters", abstract: "What failed for good: look, try again, or let go.",
    subcommands: [List.self, Groups.self, Show.self, Replay.self, Drop.self], defaultSubcommand: List.self)

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "The letters, newest first.")
    @OptionGroup var chosen: LetterOptions
    @Flag(help: "Also what was replayed or dropped.") var all = false
    @Option(help: "At most so many.") var limit = 50
    @OptionGroup var reader: ReaderOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      guard (1...500).contains(limit) else { throw ValidationError("--limit must be from 1 to 500") }
      let letters = try await LetterReader(reader: reader).letters(chosen.selection(isEvery: all), limit: limit)
      if output.json { return try Output.json(letters) }
      var table = Table("LETTER", "POOL", "JOB", "CLASS", "CODE", "FINGERPRINT", "SINCE", "STATE")
      for letter in letters {
        table.add(
          letter.identifier, letter.pool.text, letter.title ?? "-", letter.failure?.failureClass.rawValue ?? "-",
          letter.failure?.code ?? "-", letter.fingerprint, Output.time(letter.createdAt.milliseconds),
          letter.state.rawValue)
      }
      Output.write(table.text)
    }
  }

  struct Groups: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "The open letters by cause.",
      discussion: "Letters with one fingerprint died of the same: look at one, then replay or drop them all.")
    @OptionGroup var reader: ReaderOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      let groups: [DeadLetterGroup] =
        reader.isRemote
        ? try await reader.client.client().get("/dead-letters/groups")
        : try await reader.local().deadLetterGroups()
      if output.json { return try Output.json(groups) }
      var table = Table("FINGERPRINT", "LETTERS", "POOLS", "SINCE", "NEWEST", "CAUSE")
      for group in groups {
        table.add(
          group.fingerprint, "\(group.count)", group.pools.map(\.text).joined(separator: ","),
          Output.time(group.oldest.milliseconds), Output.time(group.newest.milliseconds),
          group.failure.map { "\($0.code): \($0.step ?? $0.message)" } ?? "messages that nobody understands")
      }
      Output.write(table.text)
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "One letter in full.")
    @ArgumentParser.Argument(help: "A letter, or its job.") var letter: String
    @OptionGroup var reader: ReaderOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      let selection = DeadLetterSelection(letter: letter, isEvery: true)
      guard let found = try await LetterReader(reader: reader).letters(selection, limit: 1).first else {
        throw ValidationError("there is no dead letter '\(letter)'; 'kiln dead-letters' lists them")
      }
      if output.json { return try Output.json(found) }
      var lines = [
        "letter       \(found.identifier)", "pool         \(found.pool)", "state        \(found.state.rawValue)",
      ]
      if let by = found.settledBy { lines.append("             by \(by): \(found.reason ?? "")") }
      lines.append("since        \(Output.time(found.createdAt.milliseconds))")
      if let failure = found.failure, let job = found.job {
        lines += FailureReport.lines(failure, title: found.title ?? "?", job: job)
      } else {
        let bytes = found.bytes.flatMap { Data(base64Encoded: $0) } ?? Data()
        lines.append(
          "message      \(bytes.count) bytes: \(String(decoding: bytes.prefix(200), as: UTF8.self).debugDescription)")
      }
      Output.write(lines.joined(separator: "\n") + "\n")
    }
  }

  struct Replay: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Try letters again; whoever asks how often, each once.")
    @OptionGroup var chosen: LetterOptions
    @Flag(help: "Every open one.") var all = false
    @OptionGroup var client: ClientOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      let query = try chosen.query(all: all)
      var outcome = ReplayOutcome()
      repeat {
        let part: ReplayOutcome = try await client.client().post("/dead-letters/replay", query)
        outcome.replayed += part.replayed
        outcome.skipped += part.skipped
        outcome.builds = Set(outcome.builds + part.builds).sorted()
        outcome.hasMore = part.hasMore
      } while outcome.hasMore
      guard outcome != ReplayOutcome() else { throw ValidationError("no open dead letter is meant by this") }
      try ReplayReport.write(outcome, output)
    }
  }

  struct Drop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Let letters go, with a reason; they are kept, as dropped by you.")
    @OptionGroup var chosen: LetterOptions
    @Flag(help: "Every open one.") var all = false
    @Option(help: "Why.") var reason: String
    @OptionGroup var client: ClientOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      let query = try chosen.query(all: all) + [("reason", reason)]
      let reply: DropReply = try await client.client().post("/dead-letters/drop", query)
      if output.json { return try Output.json(reply) }
      Output.write("\(reply.dropped) dropped\n")
    }
  }
}

/// Which letters; all that is said must be met.
struct LetterOptions: ParsableArguments {
  @ArgumentParser.Argument(help: "A letter, or its job.") var letter: String?
  @Option(help: "Only with this fingerprint (see 'groups').") var fingerprint: String?
  @Option(help: "Only this pool's.") var pool: String?
  @Option(help: "Only what failed or blocked this build's cells.") var build: String?

  func selection(isEvery: Bool) -> DeadLetterSelection {
    DeadLetterSelection(
      letter: letter, fingerprint: fingerprint, pool: pool.map { PoolName(text: $0) },
      build: build.map { BuildID(text: $0) }, isEvery: isEvery)
  }

  func query(all: Bool) throws -> [(String, String)] {
    let named = [("letter", letter), ("fingerprint", fingerprint), ("pool", pool), ("build", build)]
    let query = named.compactMap { name, value in value.map { (name, $0) } }
    guard query.isEmpty == all else {
      throw ValidationError(
        all
          ? "--all and a choice of letters exclude each other"
          : "which letters? Name one, or --fingerprint, --pool or --build, or say --all")
    }
    return all ? [("all", "true")] : query
  }
}

private struct LetterReader {
  let reader: ReaderOptions

  func letters(_ selection: DeadLetterSelection, limit: Int) async throws -> [StoredDeadLetter] {
    guard reader.isRemote else { return try await reader.local().deadLetters(selection, limit: limit, after: nil) }
    var query = ["limit": "\(limit)", "all": "\(selection.isEvery)"]
    query["letter"] = selection.letter
    query["fingerprint"] = selection.fingerprint
    query["pool"] = selection.pool?.text
    query["build"] = selection.build?.text
    return try await reader.client.client().get("/dead-letters", query, as: Page<StoredDeadLetter>.self).items
  }
}

private enum ReplayReport {
  static func write(_ outcome: ReplayOutcome, _ output: OutputOptions) throws {
    if output.json { return try Output.json(outcome) }
    for item in outcome.replayed { Output.write("job \(item.job) is tried again as job \(item.newJob)\n") }
    for item in outcome.skipped { Output.write("\(item.letter): \(item.reason)\n") }
    for build in outcome.builds { Output.write("build \(build) runs again\n") }
    for job in outcome.hastened { Output.write("job \(job) waits no longer\n") }
    if outcome.hasMore { Output.write("there is more of it: ask again\n") }
  }
}

/// A build's or a job's name, as part of an address: what could lead elsewhere is none of ours.
struct WorkName {
  let text: String

  init(_ text: String) throws {
    guard !text.isEmpty, text.utf8.allSatisfy({ Self.allowed.contains($0) }) else {
      throw ValidationError("'\(text)' is neither a build nor a job")
    }
    self.text = text
  }

  private static let allowed = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_".utf8)
}
