import Foundation
package import Model

/// Whether a host meets a pool's demands. An executor whose host does not refuses to join, and says
/// which demands are not met.
package enum HostCheck {
  /// What a host has, as far as a pool can ask for it.
  package struct Found: Sendable {
    package var engine: Engine.Facts
    package var freeBytes: Int64?
    /// Of each accelerator; empty where there is none, or no program that tells.
    package var accelerators: [InstalledAccelerator]

    package init(engine: Engine.Facts, freeBytes: Int64?, accelerators: [InstalledAccelerator] = []) {
      self.engine = engine
      self.freeBytes = freeBytes
      self.accelerators = accelerators
    }
  }

  /// Asks the engine, tries a tiny build, and throws one `Failure` (code `host-refused`) that lists
  /// every demand that is not met.
  package static func check(
    _ pool: Pool, engine: Engine, executor: ExecutorName, kilnVersion: String
  ) async throws -> (host: HostFacts, engine: Engine.Facts) {
    let facts = try await engine.facts()
    let found = Found(
      engine: facts, freeBytes: Engine.freeBytes(at: facts.localRoot),
      accelerators: pool.accelerator == nil ? [] : await NvidiaSMI.accelerators(engine))
    var reasons = unmet(pool, found)
    if reasons.isEmpty, let dead = try await engine.liveness() {
      reasons.append("\(dead.message)\(dead.hint.map { "; \($0)" } ?? "")")
    }
    guard reasons.isEmpty else {
      throw Failure(
        .infrastructure, code: "host-refused",
        "this host cannot join pool \(pool.name): \(reasons.joined(separator: "; "))",
        hint: "mend the host, or the pool's file")
    }
    let host = HostFacts(
      executor: executor, kilnVersion: kilnVersion, engineVersion: facts.version, builderVersion: facts.builderVersion,
      platforms: facts.platforms, cpuCount: facts.cpuCount, freeBytes: found.freeBytes,
      accelerators: found.accelerators)
    return (host, facts)
  }

  /// The demands that are not met, in the order of the pool's file. Pure.
  package static func unmet(_ pool: Pool, _ found: Found) -> [String] {
    var reasons: [String] = []
    let engine = found.engine
    for platform in pool.platforms {
      if !engine.platforms.contains(platform) {
        let known = engine.platforms.map { "\($0)" }.joined(separator: ", ")
        reasons.append("platforms: its builder does not build \(platform), only \(known)")
      } else if !pool.emulated && !isNative(platform, on: engine.architecture) {
        reasons.append(
          "emulated: \(platform) would be emulated on \(engine.architecture), and the pool says 'emulated: false'")
      }
    }
    if let wanted = pool.accelerator, let reason = unmet(wanted, found.accelerators) {
      reasons.append("accelerator: \(reason)")
    }
    if pool.slots < 1 { reasons.append("slots: must be at least 1") }
    if !engine.usesContainerdStore {
      reasons.append("builder: \(Engine.noContainerdStore.message); \(Engine.noContainerdStore.hint ?? "")")
    }
    if let free = found.freeBytes, free < pool.diskFloorBytes {
      reasons.append(
        "diskFloorBytes: \(free) bytes are free where the engine keeps its data, the pool wants \(pool.diskFloorBytes)")
    }
    return reasons
  }

  private static func isNative(_ platform: Platform, on architecture: String) -> Bool {
    platform.architecture == architecture || (platform.architecture == "386" && architecture == "amd64")
  }

  private static func unmet(_ wanted: Accelerator, _ installed: [InstalledAccelerator]) -> String? {
    guard !installed.isEmpty else { return "nvidia-smi finds no \(wanted.vendor) accelerator" }
    let fit = installed.filter { device in
      Accelerator.isAtLeast(device.driver, wanted.minimumDriver)
        && Accelerator.isAtLeast(device.computeCapability, wanted.computeCapability)
    }
    guard fit.count < wanted.count ?? 1 else { return nil }
    let demands = [
      wanted.minimumDriver.map { "driver \($0)" }, wanted.computeCapability.map { "compute capability \($0)" },
    ].compactMap { $0 }
    let has = installed.map { "\($0.model), driver \($0.driver), compute capability \($0.computeCapability)" }
    return
      "the pool wants \(wanted.count ?? 1)\(demands.isEmpty ? "" : " with \(demands.joined(separator: " and "))"), here are: \(has.joined(separator: "; "))"
  }
}
