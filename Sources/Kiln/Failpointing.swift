import Foundation
import Model
import Synchronization

/// Failpoints for tests of the real program: KILN_FAILPOINT=NAME[:N],… stops the process, at once, as SIGKILL
/// would, where it reaches one of them, for the Nth time; its last words say which.
struct Failpointing: Failpoints {
  private let left: Left

  private final class Left: Sendable {
    let counts: Mutex<[Failpoint: Int]>
    init(_ counts: [Failpoint: Int]) { self.counts = Mutex(counts) }
  }

  func reach(_ point: Failpoint) async throws {
    let isHere = left.counts.withLock { counts in
      counts[point]? -= 1
      return counts[point] == 0
    }
    guard isHere else { return }
    FileHandle.standardError.write(Data("\(Self.lastWords)\(point.rawValue)\n".utf8))
    kill(getpid(), SIGKILL)
  }

  static let lastWords = "kiln: killed at failpoint "

  static func effects() throws -> Effects {
    guard let text = Environment.value("KILN_FAILPOINT") else { return .system() }
    var counts: [Failpoint: Int] = [:]
    for word in text.split(separator: ",", omittingEmptySubsequences: false) {
      let parts = word.split(separator: ":", omittingEmptySubsequences: false)
      guard let point = Failpoint(rawValue: String(parts[0])), parts.count <= 2,
        let count = parts.count == 2 ? Int(parts[1]) : 1, count > 0
      else {
        throw Failure(
          .input, code: "bad-failpoint", "KILN_FAILPOINT: '\(word)' is no failpoint",
          hint: "there are: \(Failpoint.allCases.map(\.rawValue).joined(separator: ", "))")
      }
      counts[point] = count
    }
    return .system(failpoints: Failpointing(left: Left(counts)))
  }
}
