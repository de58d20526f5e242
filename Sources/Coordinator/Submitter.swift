import Catalog
import Foundation
package import Model
package import Planner
package import RecordStore
import Registry

/// Takes a planned request: looks at what the store knows and the registry still holds, puts the
/// contexts where executors find them, and writes the build in one transaction.
extension Coordinator {
  package struct Request: Sendable {
    package var scope: Scope
    package var principal: Principal
    package var idempotencyKey: String
    package var priority: Int
    package var retryFailed: Bool

    package init(
      scope: Scope = .release, principal: Principal, idempotencyKey: String, priority: Int = 0,
      retryFailed: Bool = false
    ) {
      self.scope = scope
      self.principal = principal
      self.idempotencyKey = idempotencyKey
      self.priority = priority
      self.retryFailed = retryFailed
    }
  }

  /// What a plan would do now: for people before they run it, and for `submit`.
  package func forecast(_ plan: Plan, scope: Scope) async throws -> Forecast {
    let known = try await store.known(layers: plan.layers.map(\.key), cells: plan.cells.map(\.key), scope: scope)
    let missing = try await ImageAudit(images: images, repository: Repositories.layers(scope))
      .missing(plan, known: known)
    return Forecast(plan: plan, known: known, missing: missing)
  }

  package func submit(_ work: PlannedWork, _ request: Request) async throws -> (AcceptedBuild, Forecast) {
    let plan = work.plan
    var layerPools: [LayerKey: PoolName] = [:]
    var cellPools: [CellKey: PoolName] = [:]
    for layer in plan.layers { layerPools[layer.key] = try pool(for: layer.platform, accelerator: nil) }
    for cell in plan.cells {
      cellPools[cell.key] = try pool(for: cell.target.platform, accelerator: cell.target.accelerator)
    }
    let repository = Repositories.layers(request.scope)
    // First, for what a base lost would count against the layer on it.
    try await bringBases(plan, to: repository)
    let forecast = try await forecast(plan, scope: request.scope)
    try await effects.failpoints.reach(.submitBeforeContexts)
    let unbuilt = forecast.unbuiltLayers
    for layer in plan.layers where unbuilt.contains(layer.key) && layer.graft == nil {
      guard let context = layer.context, let bytes = work.contexts[context.digest]
      else { continue }
      try await images.upload(bytes, digest: context.digest, to: repository)
    }
    try await effects.failpoints.reach(.submitBeforeTransaction)
    let accepted = try await store.submit(
      Submission(
        id: BuildID(text: effects.identifier()), scope: request.scope, principal: request.principal,
        idempotencyKey: request.idempotencyKey, priority: request.priority, plan: plan, layerPools: layerPools,
        cellPools: cellPools, missing: forecast.missing, reusable: Set(forecast.reusedCells + forecast.attachedCells),
        retryFailed: request.retryFailed))
    try await effects.failpoints.reach(.submitAfterTransaction)
    return (accepted, forecast)
  }

  /// Bases are brought into the store once, so that executors need no other registry and a build goes
  /// on when the base's own is gone.
  private func bringBases(_ plan: Plan, to repository: String) async throws {
    var bases: Set<BaseImage> = []
    for layer in plan.layers { if case .base(let base) = layer.parent { bases.insert(base) } }
    for base in bases.sorted(by: { $0.digest < $1.digest }) {
      if try await isWhole(base.digest, in: repository) { continue }
      let (source, from) = try await openSource(base.source)
      _ = try await ImageCopy.copy(
        base.digest, from: source, repository: from, to: images, repository: repository,
        tag: "base-\(base.digest.hex)")
      guard try await images.manifest(.digest(base.digest), in: repository) != nil else {
        throw Failure(
          .infrastructure, code: "unreadable", "base \(base.name) was put in \(repository), and cannot be read",
          hint:
            "the registry's storage is damaged for manifest \(base.digest): take the file out of it, and submit again")
      }
    }
  }

  /// Whether an image is there with all that it names.
  private func isWhole(_ image: Digest, in repository: String) async throws -> Bool {
    guard let manifest = try await images.manifest(.digest(image), in: repository) else { return false }
    for blob in try ImageManifest(manifest).allBlobs {
      guard try await images.blobSize(blob.digest, in: repository) != nil else { return false }
    }
    return true
  }
}
