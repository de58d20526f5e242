import Model
import RecordStore

/// Why a job failed, for people: what, where in the catalog, the last words, what to do.
enum FailureReport {
  static func lines(_ failure: Failure, title: String, job: JobID) -> [String] {
    let exit = failure.exitCode.map { ", exit code \($0)" } ?? ""
    var lines = ["failed       \(title) [\(failure.failureClass.rawValue): \(failure.code)\(exit)]"]
    func add(_ label: String, _ text: String) {
      for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
        lines.append((index == 0 ? label : "").padding(to: 13) + line)
      }
    }
    add("what", failure.message)
    if let place = failure.place {
      add("where", "\(place)\(place.file == nil ? "" : " (\(place.fragment))")")
      add("", place.text)
    } else if let step = failure.step {
      add("step", step)
    }
    if let tail = failure.logTail?.trimmingSuffix(while: \.isNewline), !tail.isEmpty {
      add("last words", tail.split(separator: "\n").suffix(maxLogLines).joined(separator: "\n"))
    }
    if let hint = failure.hint { add("hint", hint) }
    add("fingerprint", failure.fingerprint)
    add("log", "kiln logs \(job)")
    return lines
  }

  private static let maxLogLines = 20

  /// Of everything in a build that is dead.
  static func text(_ build: BuildDetail) -> String {
    build.jobs.filter { $0.state == .dead }.flatMap { job in
      job.failure.map { lines($0, title: job.title, job: job.id) } ?? []
    }.map { $0 + "\n" }.joined()
  }

  /// The same on standard error; nothing where nothing is dead.
  static func complain(_ build: BuildDetail) {
    let text = text(build)
    if !text.isEmpty { Exit.complain(text) }
  }
}

extension String {
  fileprivate func padding(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
extension StringProtocol {
  fileprivate func trimmingSuffix(while isTrimmed: (Character) -> Bool) -> String {
    var text = Substring(self)
    while let last = text.last, isTrimmed(last) { text.removeLast() }
    return String(text)
  }
}
