package import Catalog
package import Foundation
package import Model

// How to use this module:
//
//   let work = try Planner.plan(
//     catalog: catalog, lock: lock, request: PlanRequest(products: ["hello"]), catalogRevision: nil)
//   work.plan                    // Model.Plan; work.plan.canonicalBytes()
//   work.contexts[digest]        // the bytes of each layer's context
//   work.impossible              // variants that were left out, and why
//
// Throws CatalogErrors: what is not locked, what is not known, tags that are not distinct.

/// What is asked for.
package struct PlanRequest: Sendable, Hashable {
  /// By name; empty: all.
  package var products: [String]
  /// Of the products' targets, only those of these platforms; empty: all.
  package var platforms: [Platform]
  /// In place of products: what this test plan explores, without tags.
  package var testPlan: String?
  /// False: images are there by digest alone, as for a catalog with changes that nobody has committed.
  package var movesTags: Bool

  package init(
    products: [String] = [], platforms: [Platform] = [], testPlan: String? = nil, movesTags: Bool = true
  ) {
    self.products = products
    self.platforms = platforms
    self.testPlan = testPlan
    self.movesTags = movesTags
  }
}

/// A plan, and what goes with it.
package struct PlannedWork: Sendable, Hashable {
  /// A combination that its fragments rule out. It is no error: it is never queued.
  package struct Impossible: Sendable, Hashable {
    package var product: String
    package var variant: String
    package var target: BuildTarget
    package var reason: String
  }

  package var plan: Plan
  /// The bytes of each context archive that a layer names.
  package var contexts: [Digest: Data]
  /// Sorted by product, variant and platform.
  package var impossible: [Impossible]
}

package enum Planner {
  /// Expands what is asked for into cells and layers, and joins equal ones. Pure: the same catalog,
  /// lock and request give the same plan, byte for byte.
  ///
  /// `catalogRevision` is the catalog's git revision where it is clean; it may be in tags, and never
  /// in a key.
  package static func plan(
    catalog: Catalog, lock: Lock, request: PlanRequest, catalogRevision: String?
  ) throws(CatalogErrors) -> PlannedWork {
    var expansion = Expansion(catalog: catalog, lock: lock, request: request, revision: catalogRevision)
    return try expansion.run()
  }
}
