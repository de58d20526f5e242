/// Executors that can do the same work, as one file in `pools/` describes them.
package struct Pool: Sendable, Hashable, Codable {
  package struct Builder: Sendable, Hashable, Codable {
    /// A docker context, or nil for the client's current one.
    package var context: String?
    /// An engine's address (`unix:///…`, `tcp://…`), instead of a context.
    package var host: String?

    package init(context: String? = nil, host: String? = nil) {
      self.context = context
      self.host = host
    }
  }

  package struct Limits: Sendable, Hashable, Codable {
    package var layerSeconds: Int = 3600
    /// For the tests of a finished image and its SBOM together.
    package var finishSeconds: Int = 1800
    package var noOutputSeconds: Int = 900
    package init() {}
  }

  package enum Network: String, Sendable, Codable, CaseIterable {
    case `default`, host, none
  }

  package var name: PoolName
  package var platforms: [Platform]
  package var accelerator: Accelerator?
  package var slots: Int
  package var builder: Builder
  /// Whether its platforms may be emulated; if not, an executor whose host is another machine refuses.
  package var emulated: Bool
  package var network: Network
  /// Below this much free space nothing is claimed.
  package var diskFloorBytes: Int64
  package var limits: Limits
  package var retries: RetryPolicy

  package init(
    name: PoolName, platforms: [Platform], accelerator: Accelerator? = nil, slots: Int = 2,
    builder: Builder = Builder(), emulated: Bool = false, network: Network = .default, diskFloorBytes: Int64 = 0,
    limits: Limits = Limits(), retries: RetryPolicy = RetryPolicy()
  ) {
    self.name = name
    self.platforms = platforms
    self.accelerator = accelerator
    self.slots = slots
    self.builder = builder
    self.emulated = emulated
    self.network = network
    self.diskFloorBytes = diskFloorBytes
    self.limits = limits
    self.retries = retries
  }

  /// Whether work for `target` that needs its accelerator only if `needsAccelerator` can go here.
  package func accepts(_ platform: Platform, accelerator wanted: Accelerator?) -> Bool {
    guard platforms.contains(platform) else { return false }
    guard let wanted else { return accelerator == nil }
    return accelerator?.covers(wanted) ?? false
  }
}
