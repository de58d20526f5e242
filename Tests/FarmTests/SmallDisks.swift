import Foundation
import TestSupport

/// File systems of a few MiB, for what must run out of space.
struct SmallDisks {
  static let tablespace = "kiln_soak"
  let store = URL(fileURLWithPath: "/var/tmp/kiln-soak-store")
  let executor = URL(fileURLWithPath: "/var/tmp/kiln-soak-executor")
  /// `scripts/soak` has made this one small, before the registry began.
  let registry = FaultyFarm.root.appendingPathComponent(".farm/registry/data")

  init() async throws {
    // What an interrupted run left.
    for disk in [store, executor] { _ = try? await OutsideTool("umount").run([disk.path]) }
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
  }

  private func mount(_ folder: URL, _ size: String) async throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try await OutsideTool("mount").run(["-t", "tmpfs", "-o", "size=\(size)", "tmpfs", folder.path])
  }

  private func psql(_ statement: String) async throws {
    try await OutsideTool("psql").run([try Services.require("KILN_TEST_POSTGRES_URL"), "-c", statement])
  }

  /// No byte is left there while `seconds` pass.
  func fill(_ folder: URL, seconds: Double) async throws {
    let file = folder.appendingPathComponent("filler")
    defer { try? FileManager.default.removeItem(at: file) }
    // Ends with "no space left", which is what it is for.
    _ = try? await OutsideTool("dd").run(["if=/dev/zero", "of=\(file.path)", "bs=64k"])
    let end = ContinuousClock.now.advanced(by: .seconds(seconds))
    while ContinuousClock.now < end {
      // What others gave back is taken, too.
      _ = try? await OutsideTool("dd").run(["if=/dev/zero", "of=\(file.path)", "bs=4k", "oflag=append", "conv=notrunc"])
      try? await Task.sleep(for: .milliseconds(200))
    }
  }
}
