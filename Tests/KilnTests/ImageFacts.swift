import Foundation
import TestSupport

/// An image's config, of which only what was built counts: blobs' contents and how it runs.
struct ImageFacts: Decodable, Equatable {
  struct RootFS: Decodable, Equatable {
    var diffIDs: [String]
    enum CodingKeys: String, CodingKey { case diffIDs = "diff_ids" }
  }
  struct Run: Decodable, Equatable {
    var environment: [String]?
    var command: [String]?
    var entrypoint: [String]?
    var folder: String?
    var user: String?
    var labels: [String: String]?
    enum CodingKeys: String, CodingKey {
      case environment = "Env"
      case command = "Cmd"
      case entrypoint = "Entrypoint"
      case folder = "WorkingDir"
      case user = "User"
      case labels = "Labels"
    }
  }
  var rootfs: RootFS
  var config: Run

  /// - Parameter image: as skopeo names it: `oci:FOLDER:TAG`, `oci-archive:FILE`.
  static func read(_ image: String) async throws -> ImageFacts {
    let config = try await OutsideTool("skopeo").output(["inspect", "--config", "--override-arch", "amd64", image])
    return try JSONDecoder().decode(ImageFacts.self, from: Data(config.utf8))
  }

  /// Bake's and buildx's exporters may write the base's blob anew; Kiln's images keep the base's own.
  var aboveBase: ImageFacts {
    var facts = self
    facts.rootfs.diffIDs.removeFirst()
    return facts
  }
}
