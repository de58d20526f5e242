import Foundation
import HTTPTypes

/// How many catalogs are read and expanded at a time, which takes processors and memory, and how many bytes of
/// catalogs are held. A few more wait for their turn, in order; whoever comes then is told to come again, and
/// nothing of theirs was taken.
// Unchecked: all state is under `lock`.
package final class Intake: @unchecked Sendable {
  package static let busy = "the coordinator is busy"

  private let places: Int
  private let maxWaiting: Int
  private let lock = NSLock()
  private var taken = 0
  private var heldBytes = 0
  private var numbers = 0
  private var waiting: [(number: Int, continuation: CheckedContinuation<Void, any Error>)] = []

  package init(places: Int = 4, maxWaiting: Int = 64) {
    (self.places, self.maxWaiting) = (places, maxWaiting)
  }

  package var waitingCount: Int { lock.withLock { waiting.count } }

  /// Counts bytes of a catalog that are here, until `release`. Throws a `Problem` where they would be more than
  /// `most`, and counts none.
  package func hold(_ bytes: Int, most: Int) throws {
    let fits = lock.withLock {
      guard heldBytes + bytes <= most else { return false }
      heldBytes += bytes
      return true
    }
    if !fits { throw busy("it holds as many bytes of catalogs as it may, \(most)") }
  }

  package var held: Int { lock.withLock { heldBytes } }
  package func release(_ bytes: Int) { lock.withLock { heldBytes -= bytes } }

  private func busy(_ reason: String) -> Problem {
    Problem(
      .serviceUnavailable, "\(Self.busy): \(reason)", hint: "nothing was taken; send it again, with the same key")
  }

  /// Throws a `Problem` where too many wait.
  package func admit<Value>(_ work: () async throws -> Value) async throws -> Value {
    try await enter()
    defer { leave() }
    return try await work()
  }

  private func enter() async throws {
    let number = lock.withLock {
      numbers += 1
      return numbers
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        let answer: Result<Void, any Error>? = lock.withLock {
          if Task.isCancelled { return .failure(CancellationError()) }
          if taken < places {
            taken += 1
            return .success(())
          }
          guard waiting.count < maxWaiting else {
            return .failure(busy("\(taken) catalogs are being read, and \(waiting.count) wait"))
          }
          waiting.append((number, continuation))
          return nil
        }
        if let answer { continuation.resume(with: answer) }
      }
    } onCancel: {
      let gone = lock.withLock {
        waiting.firstIndex { $0.number == number }.map { waiting.remove(at: $0).continuation }
      }
      gone?.resume(throwing: CancellationError())
    }
  }

  /// The place goes to whoever has waited longest.
  private func leave() {
    let next = lock.withLock { () -> CheckedContinuation<Void, any Error>? in
      if waiting.isEmpty {
        taken -= 1
        return nil
      }
      return waiting.removeFirst().continuation
    }
    next?.resume()
  }
}
