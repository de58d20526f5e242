import Foundation
import Model
import Registry
import TestSupport

/// A folder of the test's own, for as long as `body` runs.
func withFolder<Value>(_ body: (URL) async throws -> Value) async throws -> Value {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-registry-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  return try await body(folder)
}

func withLayout<Value>(_ body: (OCILayoutStore, URL) async throws -> Value) async throws -> Value {
  try await withFolder { folder in
    let layout = folder.appendingPathComponent("layout")
    return try await body(try OCILayoutStore(directory: layout), layout)
  }
}

typealias SampleImage = ImageStoreConformance.SampleImage

/// The code of the `Failure` that `work` throws; nil where it throws none.
func failureCode(_ work: () async throws -> Void) async throws -> String? {
  do {
    try await work()
    return nil
  } catch let failure as Failure {
    return failure.code
  }
}
