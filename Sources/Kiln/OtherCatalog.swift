import Catalog
import Foundation
import Model
import Planner

/// What a plan is compared with: this catalog at another revision, or with another lock.
enum OtherCatalog {
  /// - Parameter name: a file that is there is a lock, anything else a revision.
  static func side(_ name: String, _ request: PlanRequest, _ loaded: LoadedCatalog) async throws
    -> PlanComparison.Side
  {
    var isFolder: ObjCBool = false
    if FileManager.default.fileExists(atPath: name, isDirectory: &isFolder), !isFolder.boolValue {
      guard let bytes = FileManager.default.contents(atPath: name) else {
        throw Failure(.input, code: "no-lock", "the lock file '\(name)' cannot be read")
      }
      return try side(loaded.catalog, try Lock.parse(bytes, file: name), request)
    }
    var tree = try await Git(folder: loaded.folder).catalog(at: name)
    do {
      // An application's folder is as it is now: nothing says how it was then.
      tree = try await OutsideFiles(catalog: loaded.folder).adding(to: tree)
      return try side(try Catalog.load(tree), try Lock.load(tree), request)
    } catch let errors as CatalogErrors {
      throw CatalogErrors(
        errors.diagnostics.map { diagnostic in
          var diagnostic = diagnostic
          diagnostic.file = "\(name):\(diagnostic.file)"
          return diagnostic
        })
    }
  }

  /// Of what is asked for, what this catalog has: what it has not is new.
  private static func side(_ catalog: Catalog, _ lock: Lock, _ request: PlanRequest) throws -> PlanComparison.Side {
    var request = request
    if let plan = request.testPlan {
      if catalog.testPlans[plan] == nil { return .nothing }
    } else {
      let names = request.products.isEmpty ? Array(catalog.products.keys) : request.products
      request.products = names.filter { name in
        catalog.products[name]?.targets.contains {
          request.platforms.isEmpty || request.platforms.contains($0.target.platform)
        } ?? false
      }
      if request.products.isEmpty { return .nothing }
    }
    let work = try Planner.plan(catalog: catalog, lock: lock, request: request, catalogRevision: nil)
    return PlanComparison.Side(work, lock)
  }
}
