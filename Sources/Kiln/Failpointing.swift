import Foundation
import Model

/// Failpoints for tests of the real program: KILN_FAILPOINT=NAME stops the process there, at once, as
/// SIGKILL would; KILN_FAILPOINT=NAME:N at the Nth time.
struct Failpointing: Failpoints {
  let point: Failpoint
  let remaining: Countdown

  // Unchecked: `left` is only touched under `lock`.
  final class Countdown: @unchecked Sendable {
    private let lock = NSLock()
    private var left: Int
    init(_ count: Int) { left = count }
    func isOver() -> Bool {
      lock.withLock {
        left -= 1
        return left == 0
      }
    }
  }

  func reach(_ point: Failpoint) async throws {
    if point == self.point, remaining.isOver() { kill(getpid(), SIGKILL) }
  }

  static func effects() throws -> Effects {
    guard let text = Environment.value("KILN_FAILPOINT") else { return .system() }
    let parts = text.split(separator: ":").map(String.init)
    guard let name = parts.first, let point = Failpoint(rawValue: name), parts.count == 1 || Int(parts[1]) != nil else {
      throw Failure(
        .input, code: "bad-failpoint", "KILN_FAILPOINT: '\(text)' is no failpoint",
        hint: "there are: \(Failpoint.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return .system(
      failpoints: Failpointing(point: point, remaining: Countdown(parts.count > 1 ? Int(parts[1]) ?? 1 : 1)))
  }
}
