import Catalog
import Foundation
import KilnExecutor
import Model

/// Files at a commit of a git repository: read from its objects, so that no attribute, filter or hook
/// has a part in it.
struct GitRepository {
  /// Where git runs: a checkout or a bare repository.
  let folder: URL
  /// For messages.
  let name: String
  private var protocols = "none"

  init(folder: URL, name: String) {
    self.folder = folder
    self.name = name
  }

  /// The repository of `source`, with its commit, in a bare copy below `cache`: fetched once.
  static func fetched(_ source: GitSource, relativeTo catalog: URL, cache: URL) async throws -> GitRepository {
    let place =
      source.isPath
      ? URL(fileURLWithPath: source.repository, relativeTo: catalog).standardizedFileURL.path : source.repository
    let copy = cache.appendingPathComponent("\(Digest(of: Data(place.utf8)).hex.prefix(32)).git", isDirectory: true)
    var repository = GitRepository(folder: copy, name: source.repository)
    repository.protocols = source.isPath ? "file" : "https:ssh"
    try await repository.fetch(source.revision, from: place)
    return repository
  }

  private func fetch(_ revision: String, from place: String) async throws {
    let commit = "\(revision)^{commit}"
    if FileManager.default.fileExists(atPath: folder.path) {
      if try await git(["cat-file", "-e", commit]).succeeded { return }
    } else {
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      _ = try await checked(["init", "--quiet", "--bare", "--template="])
    }
    let options = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"]
    if try await git(options + ["--depth=1", "--", place, revision]).succeeded { return }
    // Not every server gives a commit by its id; one that no branch or tag has is not there then.
    _ = try await checked(options + ["--", place, "+refs/heads/*:refs/kiln/heads/*", "+refs/tags/*:refs/kiln/tags/*"])
    guard try await git(["cat-file", "-e", commit]).succeeded else {
      throw Failure(
        .input, code: "no-revision", "'\(name)' has no commit \(revision) on a branch or a tag",
        hint: "push it, or name one that is there")
    }
  }

  /// The commit that `revision` names; nil where there is none.
  func commit(_ revision: String) async throws -> String? {
    let result = try await git(["rev-parse", "--verify", "--quiet", "--end-of-options", "\(revision)^{commit}"])
    return result.succeeded ? result.outputText.trimmingCharacters(in: .whitespacesAndNewlines) : nil
  }

  /// The files of `commit` below `path` that `isWanted` wants, with paths relative to it.
  func entries(at commit: String, below path: String, where isWanted: (String) -> Bool) async throws
    -> [CatalogTree.Entry]
  {
    let tree = path.isEmpty ? commit : "\(commit):\(path)"
    let list = try await checked(["ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", tree])
    var files: [(path: String, mode: String, object: String)] = []
    var bytes = 0
    for line in list.split(separator: 0) {
      guard let tab = line.firstIndex(of: 9),
        let file = String(validating: line[line.index(after: tab)...], as: UTF8.self)
      else { throw wrong("a file's name in \(commit) is not UTF-8") }
      let words = String(decoding: line[..<tab], as: UTF8.self).split(separator: " ").map(String.init)
      guard isWanted(file), words.count == 4 else { continue }
      guard words[1] == "blob", let size = Int(words[3]) else {
        throw wrong("'\(file)' at \(commit) is a submodule, which is not followed")
      }
      bytes += size
      guard size <= CatalogTree.maxFileBytes, bytes <= CatalogTree.maxTotalBytes, files.count < CatalogTree.maxFiles
      else { throw wrong("'\(file)' at \(commit) is too large, or one too many") }
      files.append((file, words[0], words[2]))
    }
    let contents = try await contents(of: files.map(\.object), bytes: bytes)
    return try zip(files, contents).map { file, content in
      guard file.mode == "120000" else {
        return CatalogTree.Entry(path: file.path, content: .file(content, executable: file.mode == "100755"))
      }
      guard let target = String(validating: content, as: UTF8.self) else {
        throw wrong("the symlink '\(file.path)' is not UTF-8")
      }
      return CatalogTree.Entry(path: file.path, content: .symlink(target: target))
    }
  }

  /// `git cat-file --batch`: for each object `ID TYPE SIZE\n`, its bytes, `\n`.
  private func contents(of objects: [String], bytes: Int) async throws -> [Data] {
    if objects.isEmpty { return [] }
    let input = Data(objects.map { $0 + "\n" }.joined().utf8)
    let output = try await checked(["cat-file", "--batch"], input: input, maxOutputBytes: bytes + 128 * objects.count)
    var contents: [Data] = []
    var position = 0
    for object in objects {
      guard let end = output[position...].firstIndex(of: 10) else { break }
      let words = String(decoding: output[position..<end], as: UTF8.self).split(separator: " ")
      guard words.count == 3, words[0] == object, words[1] == "blob", let size = Int(words[2]),
        end + 1 + size < output.count
      else { break }
      contents.append(Data(output[(end + 1)..<(end + 1 + size)]))
      position = end + 2 + size
    }
    guard contents.count == objects.count else { throw wrong("git does not give all of its objects") }
    return contents
  }

  // MARK: git

  private func checked(
    _ arguments: [String], input: Data? = nil, maxOutputBytes: Int = 64 << 20
  ) async throws -> [UInt8] {
    let result = try await git(arguments, input: input, maxOutputBytes: maxOutputBytes)
    guard result.succeeded else {
      throw Failure(
        arguments.first == "fetch" ? .infrastructure : .input, code: "git",
        "git \(arguments[0]) of '\(name)': \(result.errorText)")
    }
    return result.output
  }

  private func wrong(_ message: String) -> Failure { Failure(.input, code: "git", "'\(name)': \(message)") }

  /// The system's configuration is not read; hooks, other protocols, submodules, replaced objects and
  /// questions on the terminal are off.
  private func git(_ arguments: [String], input: Data? = nil, maxOutputBytes: Int = 4 << 20) async throws
    -> Program.Result
  {
    var environment = [
      "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1", "GIT_ALLOW_PROTOCOL": protocols, "GIT_TERMINAL_PROMPT": "0",
      "GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1",
    ]
    for name in ["PATH", "HOME", "SSH_AUTH_SOCK"] { environment[name] = Environment.value(name) }
    let options = [
      "-C", folder.path, "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "fetch.fsckObjects=true",
      "-c", "gc.auto=0", "-c", "maintenance.auto=false",
    ]
    var program = Program("git", options + arguments, environment: environment, deadlineSeconds: 600)
    program.maxOutputBytes = maxOutputBytes
    if let input { program.input = .bytes(input, then: nil) }
    return try await program.run(time: SystemTime())
  }
}
