import ArgumentParser
import Catalog
import Foundation
import Model

struct LockCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lock",
    abstract: "Pin what a catalog takes from outside, in catalog.lock: bases by digest, fragments by epoch.",
    discussion: """
      What is pinned already stays as it is; --refresh looks again on purpose, and 'kiln plan' then says what \
      that rebuilds.

      Examples:
        kiln lock                      pins what is new
        kiln lock --refresh            looks again at everything
        kiln lock --refresh security   one fragment's epoch (all versions; or security@1.0.0)
        kiln lock --refresh debian     one base
      """)
  @OptionGroup var catalog: CatalogOptions
  @Flag(help: "Look again, also at what is pinned: at everything, or at what is named.") var refresh = false
  @ArgumentParser.Argument(help: "With --refresh: fragments, FRAGMENT@VERSION, or bases.") var names: [String] = []

  func run() async throws {
    guard refresh || names.isEmpty else { throw ValidationError("names belong to --refresh: kiln lock --refresh NAME") }
    let loaded = try await catalog.load()
    let chosen: LockRefresh =
      if !refresh { .nothing } else if names.isEmpty { loaded.catalog.wholeRefresh } else {
        try loaded.catalog.refresh(named: names)
      }
    let lock = try await Locker(loaded: loaded, refresh: chosen).lock()
    let text = lock.text()
    if text == loaded.tree.file(Lock.fileName).map({ String(decoding: $0, as: UTF8.self) }) {
      Output.write("\(Lock.fileName): nothing to change\n")
      return
    }
    try Data(text.utf8).write(to: loaded.folder.appendingPathComponent(Lock.fileName), options: .atomic)
    for change in lock.changes(since: loaded.lock) { Output.write(change.words + "\n") }
  }
}

extension LockChange {
  var words: String {
    switch moved {
    case .base(let name, let platform, let from, let to):
      "\(name) \(platform) \(Self.words(from.map { "\($0)" }, to.map { "\($0)" }))"
    case .source(let name, let from, let to): "\(name) source \(Self.words(from, to))"
    case .epoch(let fragment, let from, let to):
      "\(fragment) epoch \(Self.words(from.map(Self.time), to.map(Self.time)))"
    }
  }

  private static func words(_ from: String?, _ to: String?) -> String {
    guard let to else { return "gone (was \(from ?? "nothing"))" }
    return to + (from.map { " (was \($0))" } ?? " (new)")
  }

  private static func time(_ seconds: Int) -> String { Output.time(Int64(seconds) * 1000) }
}
