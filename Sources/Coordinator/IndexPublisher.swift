import Foundation
import Logging
import Model
import RecordStore
import Registry

/// Publishes what a build made: every variant's index, then its tags. A tag is never seen for half of
/// the platforms, and never goes back to an older build.
struct IndexPublisher {
  let coordinator: Coordinator

  func publish(_ build: BuildToPublish) async throws {
    var published: [PublishedIndex] = []
    do {
      try await publish(build, &published)
    } catch let failure as Failure where Self.isGone(failure) {
      // Trying again would find the same; a new submission builds it again.
      try await coordinator.store.finishPublishing(
        build.id, .imageGone, indexes: published,
        problem: "\(failure.message); submit again, and what is gone is built again")
      coordinator.logger.error("build not published", metadata: ["build": "\(build.id)", "error": "\(failure)"])
    }
  }

  private static func isGone(_ failure: Failure) -> Bool {
    ["image-gone", "not-found", "incomplete"].contains(failure.code)
  }

  private func publish(_ build: BuildToPublish, _ published: inout [PublishedIndex]) async throws {
    var superseded = false
    for image in build.images {
      // Of optional cells alone, none of which passed.
      guard let index = try await putIndex(image, build) else { continue }
      for tag in image.tags {
        let row = try await coordinator.store.claimTag(
          repository: image.repository, tag: tag, sequence: build.sequence, digest: index.digest)
        superseded = superseded || row.sequence > build.sequence
        try await settle(tag, in: image.repository, build)
      }
      published.append(PublishedIndex(repository: image.repository, tags: image.tags, digest: index.digest))
    }
    try await coordinator.store.finishPublishing(
      build.id, superseded ? .superseded : .tagsAgree, indexes: published, problem: nil)
    coordinator.logger.info(
      "build published", metadata: ["build": "\(build.id)", "superseded": "\(superseded)"])
  }

  /// Children first, each tagged by its cell, for registries collect what is untagged.
  private func putIndex(_ image: PlannedImage, _ build: BuildToPublish) async throws -> Manifest? {
    var children: [IndexChild] = []
    for cell in image.cells {
      guard let digest = build.cellImages[cell.key] else {
        // An optional cell may be missing; no tag is moved for some of the required ones alone.
        guard cell.required else { continue }
        throw Failure(
          .infrastructure, code: "cell-unfinished",
          "\(image.product) \(cell.target.platform) has not passed in \(build.id)")
      }
      let manifest = try await ImageCopy.copy(
        digest, from: coordinator.images, repository: Repositories.layers(build.scope), to: coordinator.images,
        repository: image.repository, tag: "cell-\(cell.key)")
      children.append(IndexChild(platform: cell.target.platform, manifest: manifest))
    }
    if children.isEmpty { return nil }
    try await coordinator.effects.failpoints.reach(.indexBeforePut)
    let index = try await coordinator.images.putReadable(ImageIndex.assemble(children), in: image.repository)
    try await coordinator.effects.failpoints.reach(.indexAfterPut)
    return index
  }

  /// Puts what the row says, until the registry says the same and the row has not moved meanwhile.
  private func settle(_ tag: String, in repository: String, _ build: BuildToPublish) async throws {
    while let row = try await coordinator.store.tag(repository: repository, tag: tag) {
      let current = try await coordinator.images.manifest(.tag(tag), in: repository)
      if current?.digest != row.digest {
        guard let index = try await coordinator.images.manifest(.digest(row.digest), in: repository) else {
          // The newer build's own publisher sees to its index.
          if row.sequence > build.sequence { return }
          throw Failure(
            .infrastructure, code: "index-gone", "\(repository)@\(row.digest) is gone before \(tag) could point to it")
        }
        try await coordinator.effects.failpoints.reach(.tagBeforePut)
        try await coordinator.images.put(index, in: repository, tag: tag)
        try await coordinator.effects.failpoints.reach(.tagAfterPut)
        continue
      }
      if try await coordinator.store.tag(repository: repository, tag: tag) == row { return }
    }
  }
}
