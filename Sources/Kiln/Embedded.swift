import Foundation
import JobQueue
import KilnCoordinator
import KilnExecutor
import Logging
import Model
import RecordStore
import RecordStoreSQLite
import Registry

/// A whole farm in this process: the in-process queue, SQLite, and an OCI layout folder in place of a
/// registry. Everything is in one folder, and what was accepted survives a kill.
struct Embedded {
  let folder: URL
  /// Without a pool until somebody knows the engine.
  var coordinator: Coordinator
  let store: SQLRecordStore<SQLiteEngine>
  let images: OCILayoutStore

  /// `.kiln` beside the catalog, unless KILN_HOME says otherwise.
  static func folder(for catalog: URL) -> URL {
    if let path = Environment.value("KILN_HOME") { return URL(fileURLWithPath: path, isDirectory: true) }
    return catalog.deletingLastPathComponent().appendingPathComponent(".kiln", isDirectory: true)
  }

  static func storeFile(in folder: URL) -> URL { folder.appendingPathComponent("store.sqlite") }

  /// - Parameter reading: only to look, also while another process builds; the store must be there.
  init(catalog: URL, reading: Bool = false, effects: Effects, logger: Logger) async throws {
    folder = Self.folder(for: catalog)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let file = Self.storeFile(in: folder).path
    if reading {
      store = try await Self.reader(file, effects: effects)
    } else {
      store = SQLRecordStore(engine: try SQLiteEngine(path: file, time: effects.time), effects: effects)
      _ = try await store.migrate(.sqlite)
    }
    images = try OCILayoutStore(directory: folder.appendingPathComponent("images", isDirectory: true))
    let sources = Sources(catalogFolder: catalog)
    coordinator = Coordinator(
      name: "embedded", store: store, queue: InProcessJobQueue(), images: images, pools: [],
      openSource: { try await sources.open($0) }, effects: effects, logger: logger)
  }

  /// To look at a store that is there, also while another process builds. One that an older Kiln made is
  /// brought up to date first.
  static func reader(_ file: String, effects: Effects) async throws -> SQLRecordStore<SQLiteEngine> {
    let store = SQLRecordStore(engine: try SQLiteEngine(reading: file, time: effects.time), effects: effects)
    do {
      try await store.checkSchema(.sqlite)
    } catch let error as StoreError where error.code == .schema {
      let owner = SQLRecordStore(engine: try SQLiteEngine(path: file, time: effects.time), effects: effects)
      _ = try await owner.migrate(.sqlite)
      await owner.close()
      try await store.checkSchema(.sqlite)
    }
    return store
  }

  /// The one pool of an embedded farm: whatever the engine can build.
  static func pool(_ host: HostFacts, slots: Int, network: Pool.Network) -> Pool {
    Pool(
      name: PoolName(text: "local"), platforms: host.platforms, slots: slots, emulated: true, network: network)
  }
}
