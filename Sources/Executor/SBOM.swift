import Foundation
import Model
import Registry

/// Says with syft what is in an image: SPDX 2.3 as JSON, the same for the same image whenever it is made.
struct SBOM {
  let syft: String
  let environment: [String: String]
  let time: any TimeSource

  func describe(_ request: CellTestRequest) async throws -> URL {
    let folder = request.attemptFolder
    var environment = environment
    environment["SYFT_CHECK_FOR_APP_UPDATE"] = "false"
    environment["XDG_CACHE_HOME"] = folder.path
    environment["TMPDIR"] = folder.path
    let source: String
    switch request.image {
    case .registry(let reference):
      source = "registry:\(reference)"
      // As container engines do: plain HTTP on loopback only.
      if Self.isLoopback(reference) { environment["SYFT_REGISTRY_INSECURE_USE_HTTP"] = "true" }
    case .layout(let directory, let digest):
      source = "oci-dir:\(try view(of: digest, in: directory, beside: folder).path)"
    }
    var program = Program(
      syft,
      [
        "scan", "--quiet", "--output", "spdx-json", "--platform", "\(request.platform)", "--source-name", "image",
        "--source-version", "\(request.imageDigest)", source,
      ], environment: environment, deadlineSeconds: try request.secondsLeft(time))
    program.maxOutputBytes = 256 << 20
    let result = try await program.run(time: time)
    if result.ending == .stopped(.deadline) { throw request.late }
    guard result.succeeded else {
      throw Failure(
        .infrastructure, code: "sbom", "syft could not describe \(request.imageDigest): \(result.errorText)")
    }
    let file = folder.appendingPathComponent("sbom.spdx.json")
    try Self.normalised(Data(result.output), image: request.imageDigest).write(to: file)
    return file
  }

  /// syft writes the time and a random identifier: an SBOM is a function of its image.
  static func normalised(_ bytes: Data, image: Digest) throws -> Data {
    var document = try JSONValue.parse(bytes, what: "syft's output")
    document["documentNamespace"] = .string("urn:kiln:sbom:\(image)")
    let created = Date(timeIntervalSince1970: TimeInterval(Recipe.sourceDateEpochSeconds))
    document["creationInfo"]?["created"] = .string(created.formatted(.iso8601))
    return document.canonicalBytes
  }

  static func isLoopback(_ reference: String) -> Bool {
    let host = reference.prefix { $0 != "/" }.split(separator: ":").first ?? ""
    return host == "localhost" || host.hasPrefix("127.")
  }

  /// A layout folder with this one image: syft takes only those.
  private func view(of digest: Digest, in directory: URL, beside folder: URL) throws -> URL {
    let view = folder.appendingPathComponent("sbom-view")
    try? FileManager.default.removeItem(at: view)
    try FileManager.default.createDirectory(at: view, withIntermediateDirectories: true)
    try FileManager.default.createSymbolicLink(
      at: view.appendingPathComponent("blobs"), withDestinationURL: directory.appendingPathComponent("blobs"))
    let size = try Data(contentsOf: directory.appendingPathComponent("blobs/sha256/\(digest.hex)")).count
    let descriptor = Descriptor(
      mediaType: MediaType.imageManifest, blob: BlobReference(digest: digest, sizeBytes: Int64(size)))
    let index = JSONValue.object([
      "schemaVersion": .integer(2), "mediaType": .string(MediaType.imageIndex), "manifests": .array([descriptor.json]),
    ])
    try index.canonicalBytes.write(to: view.appendingPathComponent("index.json"))
    try Data(#"{"imageLayoutVersion":"1.0.0"}"#.utf8).write(to: view.appendingPathComponent("oci-layout"))
    return view
  }
}
