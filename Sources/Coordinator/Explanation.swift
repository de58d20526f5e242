import Foundation
package import Model
package import RecordStore

/// Why a job is as it is: what `kiln explain` prints and `GET /api/v1/jobs/ID/explanation` answers.
package struct Explanation: Sendable, Hashable, Codable {
  package var job: JobID
  package var title: String
  package var state: JobState
  /// Why it waits, runs or has ended.
  package var because: [String]
  /// Why there is such a job at all.
  package var cause: [String]
  /// What the builder's own cache had of a layer, and why not the rest; nothing before a builder has told of it.
  package var cache: [String]

  package init(_ context: JobContext) {
    let summary = context.job.summary
    (job, title, state) = (summary.id, summary.title, summary.state)
    because = Self.reasons(context)
    cause = Self.causes(context)
    cache = Self.cache(context)
  }

  // MARK: Its state

  private static func reasons(_ context: JobContext) -> [String] {
    let job = context.job.summary
    switch job.state {
    case .waiting: return waiting(context)
    case .ready, .queued: return inLine(context)
    case .running: return ["at \(job.executor?.text ?? "?"), attempt \(job.attempt)"]
    case .delayed:
      let due = job.dueAt.map { " until \(time($0))" } ?? ""
      return ["it failed and waits\(due) for attempt \(job.attempt + 1); 'kiln retry \(job.id)' ends the wait"]
        + failure(job)
    case .dead: return failure(job) + ["'kiln retry \(job.id)' tries it again"]
    case .cancelled: return ["nobody wanted it any more"]
    case .succeeded: return ["done in attempt \(job.attempt)"]
    }
  }

  private static func waiting(_ context: JobContext) -> [String] {
    var reasons = context.below.map { below -> String in
      let job = below.job.map { "job \($0.id) is \($0.state)" } ?? "no job"
      return "waits for layer \(below.title), which is \(below.state): \(job)"
    }
    if let last = context.below.last, last.state == .failed, let dead = last.job {
      reasons += failure(dead) + ["'kiln retry \(dead.id)' tries it again"]
    }
    return reasons.isEmpty ? ["what it waits for is there: it goes on in a moment"] : reasons
  }

  private static func inLine(_ context: JobContext) -> [String] {
    let (job, pool) = (context.job.summary, context.pool)
    if pool.executors == 0 { return ["no executor of pool \(job.pool) has been seen for a minute"] }
    var reasons: [String] = []
    if let problem = pool.problem { reasons.append("the broker did not take the pool's messages: \(problem)") }
    let load = "\(pool.running) of \(pool.slots) slots of pool \(job.pool) are busy"
    if job.state == .queued { return reasons + ["it is with the broker; \(load), and \(pool.queued) jobs are queued"] }
    return reasons + ["\(load); \(pool.ahead) jobs go before it"]
  }

  private static func failure(_ job: JobSummary) -> [String] {
    guard let failure = job.failure else { return [] }
    let place = failure.place.map { " (\($0))" } ?? ""
    return ["\(failure.failureClass.rawValue): \(failure.message)\(place)"] + (failure.hint.map { [$0] } ?? [])
  }

  private static func time(_ time: Timestamp) -> String {
    Date(timeIntervalSince1970: Double(time.milliseconds) / 1000).ISO8601Format()
  }

  // MARK: Its existence

  private static func causes(_ context: JobContext) -> [String] {
    let cause = context.job.summary.cause
    guard cause == "new" else { return [cause] }
    guard let layer = context.layer else { return ["no such cell was finished before"] }
    guard let previous = context.previous else {
      return ["no layer of \(layer.title) was built for \(layer.platform) before"]
    }
    return differences(layer, previous, context.parentTitles).map { "before, it was built otherwise: \($0)" }
  }

  /// Why two layers have two keys, as far as the plan says.
  static func differences(_ layer: PlannedLayer, _ old: PlannedLayer, _ titles: [LayerKey: String]) -> [String] {
    var found: [String] = []
    if layer.title != old.title { found.append("as \(old.title)") }
    for name in changed(layer.arguments, old.arguments) {
      let (now, before) = (layer.arguments[name], old.arguments[name])
      found.append("argument \(name) was \(before ?? "not there"), and is \(now ?? "not there")")
    }
    for name in changed(layer.secrets, old.secrets) { found.append("another version of secret \(name)") }
    if let line = firstChange(layer.dockerfile, old.dockerfile) {
      let origins = layer.origins?.filter { $0.file != nil } ?? []
      let place = origins.last { $0.line <= line } ?? origins.first
      found.append("its text changed" + (place.map { " at \($0.file ?? ""):\($0.fileLine)" } ?? ""))
    }
    if layer.context?.digest != old.context?.digest { found.append("its files changed") }
    switch (layer.parent, old.parent) {
    case (.layer(let key), .layer(let other)) where key != other:
      found.append("on another layer of \(titles[key] ?? key.short)")
    case (.base(let base), .base(let other)) where base.digest != other.digest:
      found.append("on another image of base \(base.name)")
    case (.layer, .layer), (.base, .base), (.scratch, .scratch): break
    default: found.append("on something else")
    }
    return found.isEmpty ? ["with another refresh epoch, or by another version of Kiln"] : found
  }

  // MARK: The builder's cache

  private static func cache(_ context: JobContext) -> [String] {
    guard let built = context.built else { return [] }
    // A build that was done again in one attempt tells of each step again.
    var names: Set<String> = []
    let steps = built.steps.filter { isInstruction($0.name) && names.insert($0.name).inserted }
    let executor = built.executor
    if steps.isEmpty { return [] }
    let cached = steps.filter(\.cached).count
    let found = "\(cached) of its \(steps.count) steps were in the cache of \(executor)'s builder"
    guard let first = steps.first(where: { !$0.cached }) else { return [found] }
    let earlier = context.earlierBuilders
    let reason =
      if earlier.isEmpty {
        "no builder had finished this layer before"
      } else if context.parentVaries {
        "what it stands on was built again, and came out otherwise"
      } else if earlier.contains(executor) {
        "it built this layer before, and has forgotten it since: pruned, or made anew"
      } else {
        "it was built before by \(earlier.map(\.text).joined(separator: ", ")); builders do not share their caches"
      }
    return ["\(found); not \(first.name.prefix(100)): \(reason)"]
  }

  /// Of the steps that a builder tells of, those of the Dockerfile that make something: "[2/3] RUN …".
  private static func isInstruction(_ name: String) -> Bool {
    name.prefixMatch(of: #/\[[^\]]*\d+/\d+\] (?!FROM )/#) != nil
  }

  private static func changed(_ new: [String: String], _ old: [String: String]) -> [String] {
    Set(new.keys).union(old.keys).filter { new[$0] != old[$0] }.sorted()
  }

  /// A line from 1 on. Values of arguments are told by themselves.
  private static func firstChange(_ new: String, _ old: String) -> Int? {
    func lines(_ text: String) -> [Substring] {
      text.split(separator: "\n", omittingEmptySubsequences: false).map { $0.hasPrefix("ARG ") ? "ARG" : $0 }
    }
    let (new, old) = (lines(new), lines(old))
    if let index = zip(new, old).enumerated().first(where: { $1.0 != $1.1 })?.offset { return index + 1 }
    return new.count == old.count ? nil : min(new.count, old.count)
  }
}
