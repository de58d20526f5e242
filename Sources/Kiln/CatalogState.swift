import Catalog
import Foundation
import KilnExecutor
import Model
import Planner

/// How a catalog stands to its version control. Tags are moved for what is committed; a catalog that is
/// in no repository has nothing that it could differ from, and is known by its content's digest.
enum CatalogState: Sendable, Hashable {
  case committed(revision: String)
  /// With what is not committed, for people.
  case changed(String)
  case unversioned

  var revision: String? { if case .committed(let revision) = self { revision } else { nil } }
  var movesTags: Bool { if case .changed = self { false } else { true } }

  /// What people are told before work begins; nil where there is nothing to say.
  var warning: String? {
    guard case .changed(let what) = self else { return nil }
    return "the catalog has changes that are not committed (\(what)): no tag is moved"
  }

  /// Also of the applications' sources that the catalog names by their folders. Whatever keeps git from
  /// saying that all is committed counts as a change.
  static func look(_ loaded: LoadedCatalog) async -> CatalogState {
    do {
      let paths = CatalogTree.files + CatalogTree.folders + CatalogTree.contextPaths(in: loaded.tree.entries)
      let state = try await look(loaded.folder, paths)
      guard state.movesTags else { return state }
      for source in loaded.tree.outsideSources() {
        guard case .folder(let path) = source.place, case .application(let paths) = source.kind else { continue }
        let folder = URL(fileURLWithPath: path, relativeTo: loaded.folder).standardizedFileURL
        guard
          case .changed(let what) = try await look(
            folder, paths.map { $0.isEmpty ? "." : $0 }, ignored: Self.sent(source, loaded.tree))
        else { continue }
        return .changed("\(path): \(what)")
      }
      return state
    } catch let failure as Failure {
      return .changed(failure.message)
    } catch {
      return .changed("git was interrupted")
    }
  }

  /// The files of an application's source that its `.dockerignore` lets through.
  private static func sent(_ source: OutsideSource, _ tree: CatalogTree) -> Set<String> {
    let rules = tree.file("\(source.folder)/\(IgnoreRules.fileName)").map {
      IgnoreRules(String(decoding: $0, as: UTF8.self))
    }
    let files = tree.entries(below: source.folder).map { String($0.path.dropFirst(source.folder.count + 1)) }
    return Set(files.filter { !(rules?.ignores($0) ?? false) })
  }

  /// - Parameter ignored: which of the files count that git is told to ignore; nil: all.
  private static func look(_ folder: URL, _ paths: [String], ignored: Set<String>? = nil) async throws -> CatalogState {
    guard Git.isInRepository(folder) else { return .unversioned }
    let git = Git(folder: folder)
    // What Kiln reads, ignored files too: git may not know them, a build does.
    let status = try await git.output(
      ["status", "--porcelain", "-z", "--ignored", "--untracked-files=all", "--"] + paths)
    var lines = status.split(separator: "\0").map(String.init)
    if let ignored, lines.contains(where: { $0.hasPrefix("!!") }) {
      let prefix = try await git.output(["rev-parse", "--show-prefix"])
      lines.removeAll { line in
        guard line.hasPrefix("!! ") else { return false }
        let path = String(line.dropFirst(3 + prefix.count))
        return !ignored.contains { $0 == path || path.hasSuffix("/") && $0.hasPrefix(path) }
      }
    }
    if lines.allSatisfy({ $0.hasPrefix("!!") }), try await git.output(["ls-files", "--", "."]).isEmpty {
      return .unversioned
    }
    guard let first = lines.first else {
      return .committed(revision: try await git.output(["rev-parse", "--verify", "HEAD"]))
    }
    return .changed("\(first.dropFirst(3))\(lines.count > 1 ? " and \(lines.count - 1) more" : "")")
  }
}

/// git in a catalog's folder: argument arrays, and nothing that asks anybody.
struct Git: Sendable {
  let folder: URL

  static func isInRepository(_ folder: URL) -> Bool {
    var place = folder.standardizedFileURL.resolvingSymlinksInPath()
    while true {
      if FileManager.default.fileExists(atPath: place.appendingPathComponent(".git").path) { return true }
      let above = place.deletingLastPathComponent()
      if above.path == place.path { return false }
      place = above
    }
  }

  func run(_ arguments: [String], maxOutputBytes: Int = 4 << 20) async throws -> Program.Result {
    var environment = [
      "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "1",
    ]
    for name in ["PATH", "HOME"] { environment[name] = Environment.value(name) }
    var program = Program("git", ["-C", folder.path] + arguments, environment: environment, deadlineSeconds: 60)
    program.maxOutputBytes = maxOutputBytes
    return try await program.run(time: SystemTime())
  }

  /// Standard output, without the blanks around it, of a command that must succeed.
  func output(_ arguments: [String]) async throws -> String {
    let result = try await run(arguments)
    guard result.succeeded else {
      throw Failure(.input, code: "git-failed", "git \(arguments.first ?? ""): \(result.errorText)")
    }
    return result.outputText.trimmingCharacters(in: .newlines)
  }

  /// The catalog in `folder` as a revision has it. `revision` is never taken for an option: what follows
  /// is done with the tree's own name.
  func catalog(at revision: String) async throws -> CatalogTree {
    guard !revision.hasPrefix("-"), !revision.contains(where: \.isWhitespace), Self.isInRepository(folder) else {
      throw unknown(revision)
    }
    let found = try await run(["rev-parse", "--verify", "--quiet", "\(revision):./"])
    let tree = found.outputText.trimmingCharacters(in: .whitespacesAndNewlines)
    guard found.succeeded, tree.utf8.count >= 40, tree.allSatisfy(\.isHexDigit) else { throw unknown(revision) }
    let repository = GitRepository(folder: folder, name: "the catalog's repository")
    let settings = try await repository.entries(at: tree, below: "", where: CatalogTree.files.contains)
    let wanted = CatalogTree.folders + CatalogTree.contextPaths(in: settings)
    return try CatalogTree(
      settings
        + (try await repository.entries(at: tree, below: "") { file in
          wanted.contains { file == $0 || file.hasPrefix($0 + "/") }
        }))
  }

  private func unknown(_ revision: String) -> Failure {
    Failure(
      .input, code: "no-revision", "'\(revision)' is neither a lock file nor a revision in which git has this catalog",
      hint: "name a commit, a branch or a tag, such as HEAD~1")
  }
}
