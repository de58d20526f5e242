import Foundation
import KilnExecutor
import Model

/// A catalog's git revision, where everything in it is committed.
enum GitRevision {
  /// Nil where it is no git checkout, has changes, or there is no git.
  static func clean(_ folder: URL) async -> String? {
    let options = ["-C", folder.path]
    guard let status = await git(options + ["status", "--porcelain", "--", "."]), status.isEmpty else { return nil }
    return await git(options + ["rev-parse", "HEAD"])
  }

  private static func git(_ arguments: [String]) async -> String? {
    var environment = ["LC_ALL": "C"]
    for name in ["PATH", "HOME"] { environment[name] = Environment.value(name) }
    let program = Program("git", arguments, environment: environment, deadlineSeconds: 10)
    guard let result = try? await program.run(time: SystemTime()), result.succeeded else { return nil }
    return result.outputText.trimmingCharacters(in: .whitespacesAndNewlines)
  }
}
