/// An OCI platform in its normal form: `linux/amd64`, `linux/arm64`, `linux/arm/v7`.
package struct Platform: Hashable, Sendable, Comparable, CustomStringConvertible {
  package let os: String
  package let architecture: String
  /// OCI's own word is `variant`; a variant in Kiln is a choice of fragment versions.
  package let platformVariant: String?

  /// Nil unless `text` is `os/architecture` or `os/architecture/variant`. Aliases are resolved
  /// (`x86_64`, `aarch64`), and `arm64/v8` is `arm64`, as containerd normalises.
  package init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2 || parts.count == 3 else { return nil }
    self.init(os: parts[0], architecture: parts[1], platformVariant: parts.count == 3 ? parts[2] : nil)
  }

  package init?(os: String, architecture: String, platformVariant: String?) {
    let parts = [os, architecture] + (platformVariant.map { [$0] } ?? [])
    guard parts.allSatisfy(Name.isValid) else { return nil }
    let aliases = ["x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"]
    let architecture = aliases[architecture] ?? architecture
    self.os = os
    self.architecture = architecture
    self.platformVariant = architecture == "arm64" && platformVariant == "v8" ? nil : platformVariant
  }

  package var description: String {
    ([os, architecture] + (platformVariant.map { [$0] } ?? [])).joined(separator: "/")
  }

  package static func < (left: Platform, right: Platform) -> Bool { left.description < right.description }
}

extension Platform: Codable {
  package init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let platform = Platform(text) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "'\(text)' is not a platform")
    }
    self = platform
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

/// What a target or a pool says about accelerators.
package struct Accelerator: Hashable, Sendable, Codable, CustomStringConvertible {
  /// `nvidia`, for now.
  package var vendor: String
  /// The least driver version, as the vendor writes it.
  package var minimumDriver: String?
  /// The least compute capability, as the vendor writes it (`8.0`).
  package var computeCapability: String?
  package var count: Int?

  package init(vendor: String, minimumDriver: String? = nil, computeCapability: String? = nil, count: Int? = nil) {
    self.vendor = vendor
    self.minimumDriver = minimumDriver
    self.computeCapability = computeCapability
    self.count = count
  }

  /// Whether a host that meets this meets `wanted` for certain.
  package func covers(_ wanted: Accelerator) -> Bool {
    vendor == wanted.vendor && Self.isAtLeast(minimumDriver, wanted.minimumDriver)
      && Self.isAtLeast(computeCapability, wanted.computeCapability) && count ?? 1 >= wanted.count ?? 1
  }

  /// Compares dotted numbers (`535.104.05`, `8.0`). Nothing is at least what nobody asked for.
  package static func isAtLeast(_ version: String?, _ minimum: String?) -> Bool {
    guard let minimum else { return true }
    guard let version else { return false }
    let left = version.split(separator: ".").map { Int($0) ?? 0 }
    let right = minimum.split(separator: ".").map { Int($0) ?? 0 }
    for index in 0..<max(left.count, right.count) {
      let a = index < left.count ? left[index] : 0
      let b = index < right.count ? right[index] : 0
      if a != b { return a > b }
    }
    return true
  }

  /// The demands in words: `nvidia, driver 535, compute capability 8.0, 2 of them`.
  package var description: String {
    [
      vendor, minimumDriver.map { "driver \($0)" }, computeCapability.map { "compute capability \($0)" },
      count.flatMap { $0 > 1 ? "\($0) of them" : nil },
    ].compactMap(\.self).joined(separator: ", ")
  }
}

/// One accelerator of a host, as its vendor's program tells it.
package struct InstalledAccelerator: Sendable, Hashable, Codable {
  package var vendor: String
  /// `NVIDIA A100-SXM4-40GB`
  package var model: String
  package var driver: String
  package var computeCapability: String
  package var memoryBytes: Int64?
  /// The newest CUDA that the driver serves (`12.4`).
  package var cuda: String?

  package init(
    vendor: String = "nvidia", model: String, driver: String, computeCapability: String, memoryBytes: Int64? = nil,
    cuda: String? = nil
  ) {
    self.vendor = vendor
    self.model = model
    self.driver = driver
    self.computeCapability = computeCapability
    self.memoryBytes = memoryBytes
    self.cuda = cuda
  }
}

/// Where a product must run.
package struct BuildTarget: Hashable, Sendable, Codable {
  package var platform: Platform
  package var accelerator: Accelerator?

  package init(platform: Platform, accelerator: Accelerator? = nil) {
    self.platform = platform
    self.accelerator = accelerator
  }
}
