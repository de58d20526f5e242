import Foundation
import Model

/// Follows one build while it runs: reads its progress, passes it on, and says when it must end.
actor BuildMonitor {
  /// How often the clock and the disk are looked at.
  static let sampleSeconds = 1.0

  private let report: any BuildReport
  private let time: any TimeSource
  private let deadline: Double
  private let noOutputSeconds: Double
  private let engineFolder: URL?
  private let diskFloorBytes: Int64
  private let outOfMemoryKillsBefore: Int?

  private var raw = RawProgress()
  private var progress = BuildProgress()
  private var lastOutput: Double
  private var sawDiskFull = false

  init(
    report: any BuildReport, time: any TimeSource, deadline: Double, noOutputSeconds: Double, engineFolder: URL?,
    diskFloorBytes: Int64
  ) {
    self.report = report
    self.time = time
    self.deadline = deadline
    self.noOutputSeconds = noOutputSeconds
    self.engineFolder = engineFolder
    self.diskFloorBytes = diskFloorBytes
    lastOutput = time.monotonicSeconds()
    outOfMemoryKillsBefore = engineFolder == nil ? nil : Self.outOfMemoryKills()
  }

  /// Called with pieces in order, each after the one before has returned.
  func feed(_ bytes: [UInt8]) async {
    lastOutput = time.monotonicSeconds()
    for event in raw.feed(bytes) { await pass(progress.apply(event)) }
  }

  /// Returns when the build must be ended by force; throws when cancelled.
  func waitUntilItMustEnd() async throws -> Program.StopReason {
    while true {
      let now = time.monotonicSeconds()
      if now >= deadline { return .deadline }
      // Where the builder drops output, silence proves nothing.
      if now - lastOutput >= noOutputSeconds && !progress.isClipped { return .silence }
      sampleDisk()
      try await time.sleep(seconds: min(Self.sampleSeconds, deadline - now))
    }
  }

  func finish() async -> (BuildProgress, diskFull: Bool, outOfMemory: Bool) {
    for event in raw.finish() { await pass(progress.apply(event)) }
    await pass(progress.finish())
    sampleDisk()
    var outOfMemory = false
    if let before = outOfMemoryKillsBefore, let after = Self.outOfMemoryKills() { outOfMemory = after > before }
    return (progress, sawDiskFull, outOfMemory)
  }

  private func pass(_ outputs: [BuildProgress.Output]) async {
    for output in outputs {
      switch output {
      case .log(let bytes): await report.log(bytes)
      case .step(let timing): await report.step(timing)
      }
    }
  }

  private func sampleDisk() {
    guard let free = Engine.freeBytes(at: engineFolder), free < diskFloorBytes else { return }
    sawDiskFull = true
  }

  /// Processes that this machine's kernel has killed for want of memory since it started.
  private static func outOfMemoryKills() -> Int? {
    guard let text = try? String(contentsOfFile: "/proc/vmstat", encoding: .utf8) else { return nil }
    let line = text.split(separator: "\n").first { $0.hasPrefix("oom_kill ") }
    return line.flatMap { Int($0.dropFirst("oom_kill ".count)) }
  }
}
