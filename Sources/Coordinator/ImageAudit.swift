import Foundation
import Model
import RecordStore
import Registry

/// The registry is asked, not believed: which layers that the store calls available can no longer be
/// had. A blob that is gone counts against the layer that brought it, not against those above it.
struct ImageAudit {
  let images: any ImageStore
  let repository: String

  func missing(_ plan: Plan, known: KnownResults) async throws -> [LayerKey: MissingImage] {
    var blobs: [LayerKey: Set<Digest>] = [:]
    var present: [Digest: Bool] = [:]
    var missing: [LayerKey: MissingImage] = [:]
    // Parents come before children.
    for layer in plan.layers {
      guard let row = known.layers[layer.key], row.state == .available, let image = row.image else { continue }
      guard let manifest = try await images.manifest(.digest(image), in: repository) else {
        missing[layer.key] = MissingImage(
          generation: row.generation, reason: "image \(image) is gone from the registry")
        continue
      }
      let all = try ImageManifest(manifest).allBlobs.map(\.digest)
      blobs[layer.key] = Set(all)
      let inherited = layer.parentKey.flatMap { blobs[$0] } ?? []
      for blob in all where !inherited.contains(blob) {
        if present[blob] == nil { present[blob] = try await images.blobSize(blob, in: repository) != nil }
        guard present[blob] == false else { continue }
        missing[layer.key] = MissingImage(
          generation: row.generation, reason: "blob \(blob) of its image is gone from the registry")
        break
      }
    }
    return missing
  }
}
