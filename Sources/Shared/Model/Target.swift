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
package struct Accelerator: Hashable, Sendable, Codable {
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
