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
    "job: waiting → cancelled", "job: ready → cancelled", "job: running → cancelled",
    "layer: building → idle", "layer: idle → building", "cell: waiting → cancelled", "cell: finishing → cancelled",
    "cell: cancelled → waiting", "build: running → cancelling", "build: cancelling → cancelled",
    "build: failed → running", "build: running → publishing", "build: running → failed", "build: publishing → passed",
    "build: publishing → superseded", "build: publishing → failed",
  ]

  /// What needs several faults at the right places: legal, and not in every thousand runs.
  static let rare: Set<String> = [
    "cell: waiting → passed", "cell: failed → waiting", "cell: passed → finishing", "cell: passed → blocked",
    "cell: failed → blocked", "job: queued → cancelled", "job: delayed → cancelled", "cell: blocked → cancelled",
    "cell: cancelled → finishing", "cell: cancelled → blocked", "layer: available → failed",
  ]

  static func missing(_ reached: Set<Failpoint>, _ seen: Set<String>) -> [String] {
    Failpoint.allCases.filter { !reached.contains($0) }.map(\.rawValue) + transitions.subtracting(seen).sorted()
  }

  static func unexpected(_ seen: Set<String>) -> [String] { seen.subtracting(transitions).subtracting(rare).sorted() }
}
