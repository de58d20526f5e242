import Foundation
import TestSupport
import Testing

/// File systems of a few MiB, for what must run out of space.
struct SmallDisks {
  static let tablespace = "kiln_soak"
  let store = URL(fileURLWithPath: "/var/tmp/kiln-soak-store")
  let executor = URL(fileURLWithPath: "/var/tmp/kiln-soak-executor")
  /// On top of what the registry has otherwise, which is there again afterwards.
  let registry = FaultyFarm.root.appendingPathComponent(".farm/registry/data")

  /// The registry must have nothing that is needed, and gets no farm before.
  init() async throws {
    try await FaultyFarm.services("down", "registry")
    // What an interrupted run left; of the registry, `down` has taken it away.
    for disk in [store, executor] { _ = try? await OutsideTool("umount").run([disk.path]) }
    try await mount(registry, "1g")
    try await FaultyFarm.services("up", "registry")
    try await psql("DROP TABLESPACE IF EXISTS \(Self.tablespace)")
    try await mount(store, "256m")
    try await mount(executor, "64m")
    try await OutsideTool("chown").run(["postgres", store.path])
    try await psql("CREATE TABLESPACE \(Self.tablespace) LOCATION '\(store.path)'")
  }

  func remove() async throws {
    try await psql("DROP TABLESPACE \(Self.tablespace)")
    for disk in [store, executor] {
      try await OutsideTool("umount").run([disk.path])
      try FileManager.default.removeItem(at: disk)
    }
    try await FaultyFarm.services("down", "registry")
    try await FaultyFarm.services("up", "registry")
  }

  private func mount(_ folder: URL, _ size: String) async throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try await OutsideTool("mount").run(["-t", "tmpfs", "-o", "size=\(size)", "tmpfs", folder.path])
  }

  private func psql(_ statement: String) async throws {
    try await OutsideTool("psql").run([try Services.require("KILN_TEST_POSTGRES_URL"), "-c", statement])
  }

  /// No byte is left in `folder` while `body` runs.
  func whileFull(_ folder: URL, _ body: () async throws -> Void) async throws {
    let file = folder.appendingPathComponent("filler")
    defer { try? FileManager.default.removeItem(at: file) }
    // Ends with "no space left", which is what it is for.
    _ = try? await OutsideTool("dd").run(["if=/dev/zero", "of=\(file.path)", "bs=4k"])
    let left = try FileManager.default.attributesOfFileSystem(forPath: folder.path)[.systemFreeSize] as? Int64
    #expect((left ?? .max) < 64 << 10, "\(folder.path) is not full")
    // What others give back is taken, too; nobody tells of it.
    let more = Task {
      while !Task.isCancelled {
        _ = try? await OutsideTool("dd").run([
          "if=/dev/zero", "of=\(file.path)", "bs=4k", "oflag=append", "conv=notrunc",
        ])
        try? await Task.sleep(for: .milliseconds(200))
      }
    }
    do { try await body() } catch {
      more.cancel()
      await more.value
      throw error
    }
    more.cancel()
    await more.value
  }
}
