package import Model

/// What became of a dead letter. Open ones are what a person has to look at.
package enum LetterState: String, Sendable, Hashable, Codable {
  case open
  /// Its job has a successor, or goes on itself.
  case replayed
  /// Nobody wants it any more, and somebody said why.
  case dropped
}

package struct StoredDeadLetter: Sendable, Hashable, Codable {
  package var identifier: String
  package var pool: PoolName
  /// Nil for a message that could not be understood.
  package var job: JobID?
  package var title: String?
  package var failure: Failure?
  package var fingerprint: String
  package var createdAt: Timestamp
  package var state: LetterState
  package var settledAt: Timestamp?
  package var settledBy: String?
  /// Why it was dropped, or what replaced it.
  package var reason: String?
  /// The message as it came from the broker, in base64; nil while it has not come back from there.
  package var bytes: String?
}

/// Open letters with one fingerprint.
package struct DeadLetterGroup: Sendable, Hashable, Codable {
  /// Of messages that could not be understood.
  package static let undecodable = "undecodable"
  /// Of letters that a Kiln wrote which knew no fingerprints.
  package static let unknown = "unknown"

  package var fingerprint: String
  package var count: Int
  package var pools: [PoolName]
  package var oldest: Timestamp
  package var newest: Timestamp
  /// Of the newest.
  package var failure: Failure?
  package var title: String?
}

/// Which letters: all that meet everything that is said.
package struct DeadLetterSelection: Sendable, Hashable, Codable {
  /// A letter's identifier, or its job's.
  package var letter: String?
  package var fingerprint: String?
  package var pool: PoolName?
  /// What failed or blocked this build's cells.
  package var build: BuildID?
  /// Also what was replayed or dropped.
  package var isEvery: Bool

  package init(
    letter: String? = nil, fingerprint: String? = nil, pool: PoolName? = nil, build: BuildID? = nil,
    isEvery: Bool = false
  ) {
    self.letter = letter
    self.fingerprint = fingerprint
    self.pool = pool
    self.build = build
    self.isEvery = isEvery
  }
}

package struct ReplayOutcome: Sendable, Hashable, Codable {
  package struct Replayed: Sendable, Hashable, Codable {
    package var letter: String
    package var job: JobID
    package var newJob: JobID
  }

  package struct Skipped: Sendable, Hashable, Codable {
    package var letter: String
    package var reason: String
  }

  package var replayed: [Replayed] = []
  package var skipped: [Skipped] = []
  /// Failed builds that run again.
  package var builds: [BuildID] = []
  /// Jobs that wait no longer for their next attempt.
  package var hastened: [JobID] = []
  /// There are more letters than one call replays: ask again.
  package var hasMore = false

  package static let maxLetters = 500

  package init() {}
}
