import ArgumentParser
import Catalog
import Foundation
import KilnCoordinator
import Model
import RecordStore
import RecordStoreSQLite

struct SubmitCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "submit", abstract: "Hand products to a coordinator; durable when it answers.")
  @OptionGroup var catalog: CatalogOptions
  @ArgumentParser.Argument(help: "Products by name (default: all).") var products: [String] = []
  @Option(name: .customLong("plan"), help: "Instead of products: what a test plan explores (plans/NAME.yml).")
  var testPlan: String?
  @OptionGroup var client: ClientOptions
  @OptionGroup var output: OutputOptions
  @Flag(help: "Show progress and end when the build does, with exit code 1 if it failed.") var wait = false
  @Option(help: "Higher goes first.") var priority = 0
  @Flag(help: "Try failed layers again at once.") var retryFailed = false
  @Option(help: "The same key is the same build, however often it is sent (default: a new one).") var key: String?

  func run() async throws {
    try ProductArguments.check(products, testPlan)
    let loaded = try await catalog.load()
    let coordinator = try client.client()
    let state = await CatalogState.look(loaded)
    if let warning = state.warning { Exit.complain("kiln: \(warning)") }
    let reply = try await coordinator.submit(
      loaded.tree.tar(), products: products, testPlan: testPlan, priority: priority, retryFailed: retryFailed,
      state: state, key: key ?? Effects.system().identifier())
    if !output.json || !wait {
      if output.json {
        try Output.json(reply)
      } else {
        Output.write(
          "build \(reply.build.id)\(reply.build.isNew ? "" : " (submitted before)"): \(reply.layersToBuild) layers to build, "
            + "\(reply.cells) cells, \(reply.cellsReused) reused\n")
      }
    }
    guard wait else { return }
    var progress = Progress()
    var tag: String?
    while true {
      let (detail, next) = try await Self.patiently { try await coordinator.build(reply.build.id, unless: tag) }
      tag = next
      if !output.json { progress.show(detail) }
      guard detail.summary.state.isSettled else { continue }
      if output.json { try Output.json(detail) }
      // Superseded: all of it was built and passed, and a newer build holds the tags.
      if ![.passed, .superseded].contains(detail.summary.state) {
        FailureReport.complain(detail)
        throw ExitCode(Exit.workFailed)
      }
      return
    }
  }
}

extension SubmitCommand {
  /// The build goes on while its coordinator restarts, so waiting for it does too, for some minutes.
  private static func patiently<Value>(_ ask: () async throws -> Value) async throws -> Value {
    let time = SystemTime()
    let end = time.monotonicSeconds() + 300
    var isTold = false
    while true {
      do {
        return try await ask()
      } catch let failure as Failure
        where failure.failureClass == .infrastructure && failure.code != "http-401" && time.monotonicSeconds() < end
      {
        if !isTold { Exit.complain("kiln: \(failure.message); waiting for it to come back") }
        isTold = true
        try await time.sleep(seconds: 2)
      }
    }
  }
}

/// The commands that read: from a coordinator where one is named, else from this machine's own store.
struct ReaderOptions: ParsableArguments {
  @OptionGroup var catalog: CatalogOptions
  @OptionGroup var client: ClientOptions

  var isRemote: Bool { client.address != nil || Environment.value("KILN_COORDINATOR") != nil }

  func local() async throws -> SQLRecordStore<SQLiteEngine> {
    let file = Embedded.storeFile(in: Embedded.folder(for: try catalog.folder()))
    guard FileManager.default.fileExists(atPath: file.path) else {
      throw ValidationError("nothing was built here yet, and no coordinator is named (--coordinator, KILN_COORDINATOR)")
    }
    return try await Embedded.reader(file.path, effects: .system())
  }

  /// Whether a build is at work on this machine's store.
  func isBusy() throws -> Bool {
    SQLiteEngine.isOwned(Embedded.storeFile(in: Embedded.folder(for: try catalog.folder())).path)
  }
}

struct StatusCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "status", abstract: "Builds, or one build in full.")
  @ArgumentParser.Argument(help: "A build.") var build: String?
  @OptionGroup var reader: ReaderOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    guard let build else { return try await list() }
    let id = BuildID(text: build)
    let detail: BuildDetail
    if reader.isRemote {
      detail = try await reader.client.client().build(id, unless: nil).0
    } else {
      guard let found = try await reader.local().build(id) else { throw ValidationError("there is no build \(id)") }
      detail = found
    }
    if output.json { return try Output.json(detail) }
    var progress = Progress(isTerminal: false)
    progress.show(detail)
    for index in detail.published {
      let tags = index.tags.isEmpty ? "" : ":" + index.tags.joined(separator: ",")
      Output.write("image  \(index.repository)\(tags) \(index.digest)\n")
    }
    Output.write(FailureReport.text(detail))
  }

  private func list() async throws {
    let builds: [BuildSummary] =
      reader.isRemote
      ? try await reader.client.client().get("/builds", as: Page<BuildSummary>.self).items
      : try await reader.local().builds(limit: 50, before: nil)
    if output.json { return try Output.json(builds) }
    var table = Table("BUILD", "STATE", "PRODUCTS", "BY", "SUBMITTED", "PROBLEM")
    for build in builds {
      table.add(
        build.id.text, build.state.rawValue, build.products.joined(separator: ","), build.principal.text,
        Output.time(build.createdAt.milliseconds), build.problem ?? "")
    }
    Output.write(table.text)
  }
}

struct ExplainCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Why a job waits, failed, was needed at all, or was not in a cache.",
    discussion: "Of a build, the jobs that others wait for, or that ended badly.")
  @ArgumentParser.Argument(help: "A job or a build.") var id: String
  @OptionGroup var reader: ReaderOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let name = try WorkName(id)
    var jobs = [JobID(text: name.text)]
    var more = 0
    if let build = try await build(name.text) {
      let open = build.jobs.filter { $0.state != .succeeded }
      let moving = open.filter { $0.state != .waiting }
      jobs = (moving.isEmpty ? open : moving).prefix(Self.maxJobs).map(\.id)
      more = open.count - jobs.count
      if jobs.isEmpty, !output.json {
        Output.write("build \(name.text) is \(build.summary.state): all its jobs succeeded\n")
      }
    }
    var explanations: [Explanation] = []
    for job in jobs { explanations.append(try await explanation(job)) }
    if output.json { return try Output.json(explanations) }
    for item in explanations {
      Output.write("job \(item.job) \(item.title): \(item.state)\n")
      for line in item.because { Output.write("  \(line)\n") }
      for line in item.cause { Output.write("  why: \(line)\n") }
      for line in item.cache { Output.write("  cache: \(line)\n") }
    }
    if more > 0 { Output.write("\(more) more jobs, which wait for these or stand in the same line\n") }
  }

  private static let maxJobs = 20

  private func build(_ id: String) async throws -> BuildDetail? {
    guard reader.isRemote else { return try await reader.local().build(BuildID(text: id)) }
    do {
      return try await reader.client.client().get("/builds/\(id)")
    } catch let failure as Failure where failure.code == "http-404" {
      return nil
    }
  }

  private func explanation(_ job: JobID) async throws -> Explanation {
    if reader.isRemote { return try await reader.client.client().get("/jobs/\(job)/explanation") }
    guard let context = try await reader.local().context(of: job) else {
      throw ValidationError("there is neither a build nor a job '\(job)'")
    }
    return Explanation(context)
  }
}

struct LogsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "logs", abstract: "A job's log, while it runs or after.")
  @ArgumentParser.Argument(help: "A job.") var job: String
  @Flag(name: .shortAndLong, help: "Go on until the job has ended.") var follow = false
  @Option(help: "An earlier attempt.") var attempt: Int?
  @OptionGroup var reader: ReaderOptions

  func run() async throws {
    let id = JobID(text: job)
    if reader.isRemote {
      let coordinator = try reader.client.client()
      try await coordinator.log(id, attempt: attempt, follow: follow) { FileHandle.standardOutput.write($0) }
      guard follow, attempt == nil else { return }
      let job: JobDetail = try await coordinator.get("/jobs/\(id)")
      guard !job.summary.state.isFinal else { return }
      throw Failure(
        .infrastructure, code: "log-interrupted", "the coordinator stopped while job \(id) goes on",
        hint: "'kiln logs -f \(id)' shows the log from its beginning")
    }
    let store = try await reader.local()
    guard try await store.job(id) != nil else { throw ValidationError("there is no job \(id)") }
    // Another process's SQLite tells nobody of its news, so this one looks. Without a build at work
    // there is nothing to wait for.
    let print = { FileHandle.standardOutput.write(Data($0 as [UInt8])) }
    let isFollowed = try follow && reader.isBusy()
    try await LogReader(store: store, job: id, attempt: attempt, follow: isFollowed).read(write: print) {
      try await SystemTime().sleep(seconds: 0.2)
      return try reader.isBusy()
    }
  }
}

struct RecordsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "records", abstract: "What was combined, on what, tested how, and whether it passed.")
  @Option(help: "Only this product's.") var product: String?
  @Option(help: "Only this platform's.") var platform: String?
  @Option(help: "At most so many.") var limit = 50
  @OptionGroup var reader: ReaderOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    guard (1...500).contains(limit) else { throw ValidationError("--limit must be from 1 to 500") }
    let wanted = try platform.map { text in
      guard let platform = Platform(text) else { throw ValidationError("'\(text)' is not a platform") }
      return platform
    }
    let records: [StoredRecord]
    if reader.isRemote {
      var query = ["limit": "\(limit)"]
      query["product"] = product
      query["platform"] = wanted?.description
      records = try await reader.client.client().get("/records", query, as: Page<StoredRecord>.self).items
    } else {
      records = try await reader.local().records(
        RecordFilter(product: product, platform: wanted), limit: limit, after: nil)
    }
    if output.json { return try Output.json(records) }
    var table = Table("PRODUCT", "VERSION", "VARIANT", "PLATFORM", "VERDICT", "TESTS", "FRAGMENTS", "IMAGE", "FINISHED")
    for stored in records {
      let record = stored.record
      table.add(
        record.product, record.productVersion, record.variant, record.target.platform.description,
        record.verdict.rawValue, "\(record.tests.filter(\.passed).count)/\(record.tests.count)",
        record.fragments.map(\.description).joined(separator: " "), record.image.short,
        Output.time(record.finishedAt.milliseconds))
    }
    Output.write(table.text)
  }
}
