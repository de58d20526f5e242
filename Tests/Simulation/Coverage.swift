import Model

/// What runs must have gone through, taken together: every failpoint, and every step of the state tables
/// that something in Kiln can make.
enum Coverage {
  /// `job: ready → queued`: what the triggers see of the tables in Model.
  static let transitions: Set<String> = [
    "job: waiting → ready", "job: ready → queued", "job: ready → running", "job: queued → running",
    "job: queued → ready", "job: running → succeeded", "job: running → delayed", "job: running → dead",
    "job: running → ready", "job: running → waiting", "job: delayed → ready",
    "layer: absent → building", "layer: building → available", "layer: building → failed",
    "layer: available → building", "layer: failed → building",
    "cell: planned → waiting", "cell: planned → finishing", "cell: planned → blocked", "cell: waiting → finishing",
    "cell: waiting → blocked", "cell: blocked → waiting", "cell: finishing → passed",
    "cell: finishing → failed", "cell: finishing → waiting", "cell: failed → finishing", "cell: passed → waiting",
    "job: waiting → cancelled", "job: ready → cancelled", "job: queued → cancelled", "job: delayed → cancelled",
    "job: running → cancelled", "layer: building → idle", "layer: idle → building", "cell: waiting → cancelled",
    "cell: blocked → cancelled", "cell: finishing → cancelled", "cell: cancelled → waiting", "cell: failed → waiting",
    "build: running → cancelling", "build: cancelling → cancelled",
    "build: failed → running", "build: running → publishing", "build: running → failed", "build: publishing → passed",
    "build: publishing → superseded", "build: publishing → failed",
  ]

  /// Several steps that one statement makes at once, each of which is one of `transitions`: legal, told of, and not
  /// in every thousand runs.
  static let combined: Set<String> = [
    "cell: waiting → passed", "cell: passed → finishing", "cell: passed → blocked", "cell: failed → blocked",
    "cell: cancelled → finishing", "cell: cancelled → blocked", "layer: available → failed",
  ]

  static func missing(_ reached: Set<Failpoint>, _ seen: Set<String>) -> [String] {
    Failpoint.allCases.filter { !reached.contains($0) }.map(\.rawValue) + transitions.subtracting(seen).sorted()
  }

  static func unexpected(_ seen: Set<String>) -> [String] {
    seen.subtracting(transitions).subtracting(combined).sorted()
  }
}
