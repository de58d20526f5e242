package import Model

/// What a job's state comes from, for who asks why.
package struct JobContext: Sendable, Hashable {
  /// A layer that is not there, and the job that is to make it.
  package struct Below: Sendable, Hashable {
    package var layer: LayerKey
    package var title: String
    package var state: LayerState
    package var job: JobSummary?
  }

  package struct PoolLoad: Sendable, Hashable {
    /// Seen within the last minute.
    package var executors: Int
    package var slots: Int
    package var running: Int
    package var queued: Int
    /// Ready jobs that are taken before this one.
    package var ahead: Int
    /// Why the broker did not take the pool's last messages.
    package var problem: String?
  }

  package struct Built: Sendable, Hashable {
    package var executor: ExecutorName
    package var steps: [StepTiming]
  }

  package var job: JobDetail
  /// What it waits for, and what that waits for, down to where the work is.
  package var below: [Below]
  package var pool: PoolLoad
  /// Of a layer's job: what it builds, and what was built in its place before under another key.
  package var layer: PlannedLayer?
  package var previous: PlannedLayer?
  /// Of the layers that these two stand on.
  package var parentTitles: [LayerKey: String]
  /// The last attempt whose builder has told what it did.
  package var built: Built? = nil
  /// What it stands on was built in more than one way.
  package var parentVaries = false
  /// Who built the same layer for jobs before this one, each once.
  package var earlierBuilders: [ExecutorName] = []
}
