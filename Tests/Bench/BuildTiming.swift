import Model
import RecordStore

/// When things happened in a build, by the store's own clock, which counts milliseconds.
struct BuildTiming: Sendable {
  let jobs: Int
  /// From the commit of the submission to the end of the last job.
  let jobsPerSecond: Double
  /// From the end of the last job to the moment when every tag stood.
  let publishMilliseconds: Double
  /// From the end of a parent's job to the claim of its child's.
  let handoverMilliseconds: [Double]
  /// From the claim of each layer's job to its end.
  let layerMilliseconds: [Double]
  /// From the commit of the submission to the moment when every tag stood.
  let wallMilliseconds: Double
  /// Of all jobs, each from claim to end.
  let workMilliseconds: Double
  /// Of the longest way from a base to a cell: with executors without end, no build is done before.
  let criticalMilliseconds: Double

  init(_ build: BuildDetail, of plan: Plan, in store: any RecordStore) async throws {
    var attempts: [(detail: JobDetail, began: Timestamp, ended: Timestamp)] = []
    var layerEnds: [LayerKey: Timestamp] = [:]
    for job in build.jobs {
      guard let detail = try await store.job(job.id), let attempt = detail.attempts.last, let ended = attempt.endedAt,
        detail.attempts.count == 1
      else { throw BenchError("\(job.title) was not done at the first attempt") }
      attempts.append((detail, attempt.startedAt, ended))
      if let layer = detail.layer { layerEnds[layer] = ended }
    }
    guard let last = attempts.map(\.ended).max(), let finished = build.summary.finishedAt else {
      throw BenchError("the build had no jobs")
    }
    jobs = attempts.count
    jobsPerSecond = Double(attempts.count) * 1000 / Self.milliseconds(build.summary.createdAt, last)
    publishMilliseconds = Self.milliseconds(last, finished)
    let parents = Dictionary(
      uniqueKeysWithValues: plan.layers.compactMap { layer in layer.parentKey.map { (layer.key, $0) } })
    let tops = Dictionary(uniqueKeysWithValues: plan.cells.compactMap { cell in cell.path.last.map { (cell.key, $0) } })
    handoverMilliseconds = attempts.compactMap { attempt in
      let parent = attempt.detail.layer.flatMap { parents[$0] } ?? attempt.detail.cell.flatMap { tops[$0] }
      return parent.flatMap { layerEnds[$0] }.map { Self.milliseconds($0, attempt.began) }
    }
    layerMilliseconds = attempts.filter { $0.detail.layer != nil }.map { Self.milliseconds($0.began, $0.ended) }
    wallMilliseconds = Self.milliseconds(build.summary.createdAt, finished)
    workMilliseconds = attempts.reduce(0) { $0 + Self.milliseconds($1.began, $1.ended) }
    var taken: [String: Double] = [:]
    for attempt in attempts {
      let key = attempt.detail.layer?.text ?? attempt.detail.cell?.text ?? ""
      taken[key] = Self.milliseconds(attempt.began, attempt.ended)
    }
    var done: [LayerKey: Double] = [:]
    for layer in plan.layers {
      done[layer.key] = taken[layer.key.text, default: 0] + (layer.below.compactMap { done[$0] }.max() ?? 0)
    }
    criticalMilliseconds =
      plan.cells.map { cell in
        taken[cell.key.text, default: 0] + (cell.path.last.flatMap { done[$0] } ?? 0)
      }.max() ?? 0
  }

  private static func milliseconds(_ from: Timestamp, _ to: Timestamp) -> Double {
    Double(to.milliseconds - from.milliseconds)
  }
}
