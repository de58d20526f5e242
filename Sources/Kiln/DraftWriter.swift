import ArgumentParser
import Catalog
import Foundation
import Model

/// Puts a catalog that was made from something else into a folder, all of it or nothing.
struct DraftWriter {
  private let folder: URL

  /// Throws where something is in the folder already.
  init(_ path: String) throws {
    folder = URL(fileURLWithPath: path, isDirectory: true).standardizedFileURL
    let files = FileManager.default
    guard files.fileExists(atPath: folder.path) else { return }
    guard let names = try? files.contentsOfDirectory(atPath: folder.path), names.isEmpty else {
      throw ValidationError("\(folder.path) is there already, and not an empty folder")
    }
  }

  struct Report: Encodable {
    struct Item: Encodable {
      var file: String
      var line: Int?
      var field: String?
      var why: String
    }
    var products: Int
    var manifests: Int
    var templates: Int
    var fragments: Int
    var plans: Int
    var leftOut: [Item]
    var wrong: [String]
  }

  /// Writes the catalog and says what is not in it. Throws exit code 3 where it is not right yet.
  func write(_ draft: CatalogDraft, json: Bool) throws {
    let wrong = draft.wrong
    try writeFiles(draft.files)
    let left = Set(draft.leftOut).sorted()
    for item in left { Exit.complain("not taken over: \(item)") }
    for item in wrong { Exit.complain("to be mended: \(item)") }
    let counts = ["products", "manifests", "templates", "fragments", "plans"].map { draft.count($0) }
    if json {
      try Output.json(
        Report(
          products: counts[0], manifests: counts[1], templates: counts[2], fragments: counts[3], plans: counts[4],
          leftOut: left.map { Report.Item(file: $0.file, line: $0.line, field: $0.field, why: $0.message) },
          wrong: wrong.map(\.description)))
    } else {
      Output.write(
        "\(folder.path): \(counts[0]) products, \(counts[1]) manifests, \(counts[2]) templates, "
          + "\(counts[3]) fragments, \(counts[4]) test plans; \(left.count) things not taken over, "
          + "\(wrong.count) to be mended\n")
    }
    if !wrong.isEmpty { throw ExitCode(Exit.catalogWrong) }
  }

  /// Beside the folder first: what fails leaves nothing half done.
  private func writeFiles(_ contents: [String: CatalogTree.Content]) throws {
    let files = FileManager.default
    let above = folder.deletingLastPathComponent()
    let draft = above.appendingPathComponent(".\(folder.lastPathComponent).\(UUID().uuidString)", isDirectory: true)
    do {
      try files.createDirectory(at: draft, withIntermediateDirectories: true)
      for (path, content) in contents {
        let file = draft.appendingPathComponent(path)
        try files.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        switch content {
        case .file(let bytes, let executable):
          try bytes.write(to: file)
          if executable { try files.setAttributes([.posixPermissions: 0o755], ofItemAtPath: file.path) }
        case .symlink(let target): try files.createSymbolicLink(atPath: file.path, withDestinationPath: target)
        }
      }
      // Takes the place of an empty folder, never of one that has something in it by now.
      guard rename(draft.path, folder.path) == 0 else {
        throw Failure(
          .input, code: "output", "\(folder.path) cannot be written: \(String(cString: strerror(errno)))", hint: nil)
      }
    } catch {
      try? files.removeItem(at: draft)
      throw error
    }
  }
}
