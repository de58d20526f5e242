package import Foundation
package import Model
import Yams

/// Reads `pools/<name>.yml`. Every error names file and line, unknown fields are errors, and the
/// nearest valid name is suggested.
package enum PoolFile {
  static let maxBytes = 1 << 20

  package static func load(_ file: URL) throws -> Pool {
    let bytes: Data
    do {
      bytes = try Data(contentsOf: file)
    } catch {
      throw Failure(
        .input, code: "pool-file", "cannot read pool file \(file.path)",
        hint: "give --pool a file such as pools/amd64.yml")
    }
    guard bytes.count <= maxBytes else {
      throw Failure(.input, code: "pool-file", "\(file.path) is too large for a pool file")
    }
    return try parse(String(decoding: bytes, as: UTF8.self), name: file.path)
  }

  package static func parse(_ text: String, name: String) throws -> Pool {
    let root: Node?
    do {
      root = try Yams.compose(yaml: text)
    } catch let error as YamlError {
      throw Failure(.input, code: "pool-file", "\(name): \(error)")
    }
    guard let root else { throw Failure(.input, code: "pool-file", "\(name) is empty") }
    let fields = try PoolFields(root, file: name, path: "")
    try fields.allow([
      "name", "platforms", "accelerator", "slots", "builder", "emulated", "network", "diskFloorBytes", "limits",
      "retries",
    ])
    let poolName = try fields.required("name").string()
    guard Name.isValid(poolName) else {
      throw try fields.required("name").failure(
        "'\(poolName)' is no valid name: lower-case letters, digits, '-', '.', '_'")
    }
    let platforms = try fields.required("platforms").list().map { value in
      let text = try value.string()
      guard let platform = Platform(text) else { throw value.failure("'\(text)' is no platform such as linux/amd64") }
      return platform
    }
    guard !platforms.isEmpty else { throw try fields.required("platforms").failure("names no platform") }
    var pool = Pool(name: PoolName(text: poolName), platforms: platforms)
    pool.accelerator = try fields["accelerator"].map(accelerator)
    if let slots = fields["slots"] { pool.slots = try slots.integer(in: 1...1024) }
    if let builder = fields["builder"] { pool.builder = try self.builder(builder) }
    if let emulated = fields["emulated"] { pool.emulated = try emulated.boolean() }
    if let network = fields["network"] {
      pool.network = try network.choice([("default", Pool.Network.default), ("host", .host), ("none", .none)])
    }
    if let floor = fields["diskFloorBytes"] { pool.diskFloorBytes = Int64(try floor.integer(in: 0...Int.max)) }
    if let limits = fields["limits"] { pool.limits = try self.limits(limits) }
    if let retries = fields["retries"] { pool.retries = try self.retries(retries) }
    return pool
  }

  private static func accelerator(_ value: PoolValue) throws -> Accelerator {
    let fields = try value.fields()
    try fields.allow(["vendor", "minimumDriver", "computeCapability", "count"])
    return Accelerator(
      vendor: try fields.required("vendor").choice([("nvidia", "nvidia")]),
      minimumDriver: try fields["minimumDriver"]?.string(),
      computeCapability: try fields["computeCapability"]?.string(),
      count: try fields["count"]?.integer(in: 1...1024))
  }

  private static func builder(_ value: PoolValue) throws -> Pool.Builder {
    let fields = try value.fields()
    try fields.allow(["context", "host"])
    if fields["context"] != nil, let host = fields["host"] { throw host.failure("give a context or a host, not both") }
    return Pool.Builder(context: try fields["context"]?.string(), host: try fields["host"]?.string())
  }

  private static func limits(_ value: PoolValue) throws -> Pool.Limits {
    let fields = try value.fields()
    try fields.allow(["layerSeconds", "finishSeconds", "noOutputSeconds"])
    var limits = Pool.Limits()
    let range = 1...604_800
    if let seconds = fields["layerSeconds"] { limits.layerSeconds = try seconds.integer(in: range) }
    if let seconds = fields["finishSeconds"] { limits.finishSeconds = try seconds.integer(in: range) }
    if let seconds = fields["noOutputSeconds"] { limits.noOutputSeconds = try seconds.integer(in: range) }
    return limits
  }

  private static func retries(_ value: PoolValue) throws -> RetryPolicy {
    let fields = try value.fields()
    try fields.allow(["infrastructure", "build", "test"])
    var policy = RetryPolicy()
    policy.infrastructure = try rule(fields["infrastructure"], policy.infrastructure)
    policy.build = try rule(fields["build"], policy.build)
    policy.test = try rule(fields["test"], policy.test)
    return policy
  }

  private static func rule(_ value: PoolValue?, _ standard: RetryRule) throws -> RetryRule {
    guard let value else { return standard }
    let fields = try value.fields()
    try fields.allow(["attempts", "firstDelaySeconds", "maximumDelaySeconds"])
    var rule = standard
    if let attempts = fields["attempts"] { rule.attempts = try attempts.integer(in: 1...100) }
    if let delay = fields["firstDelaySeconds"] { rule.firstDelaySeconds = try delay.seconds() }
    if let delay = fields["maximumDelaySeconds"] { rule.maximumDelaySeconds = try delay.seconds() }
    guard rule.firstDelaySeconds <= rule.maximumDelaySeconds else {
      throw value.failure("the first delay is longer than the maximum")
    }
    return rule
  }
}
