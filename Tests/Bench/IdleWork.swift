import Foundation
import KilnExecutor
import Model
import Registry

/// Builds nothing: the image is the parent's with another comment, so that everything around a build
/// remains: it is pushed, tagged and recorded like any other.
struct IdleBuilder: LayerBuilder {
  func build(_ request: LayerBuildRequest, report: any BuildReport) async throws -> BuiltLayer {
    guard let parent = request.parent else {
      throw Failure(.input, code: "no-parent", "\(request.layer.title) stands on nothing")
    }
    var config = try JSONValue.parse(parent.config, what: "the parent's config")
    config["comment"] = .string(request.layer.key.text)
    let bytes = config.canonicalBytes
    var manifest = try JSONValue.parse(parent.manifest.bytes, what: "the parent's manifest")
    manifest["config"]?["digest"] = .string("\(Digest(of: bytes))")
    manifest["config"]?["size"] = .integer(Int64(bytes.count))
    return BuiltLayer(
      manifest: Manifest(mediaType: parent.manifest.mediaType, bytes: manifest.canonicalBytes),
      config: bytes, newBlobs: [], steps: [], engineVersion: "none")
  }
}

/// Tests nothing and describes nothing.
struct IdleTester: CellTester {
  func test(_ request: CellTestRequest, report: any BuildReport) async throws -> [TestResult] { [] }
  func describe(_ request: CellTestRequest, report: any BuildReport) async throws -> URL? { nil }
}
