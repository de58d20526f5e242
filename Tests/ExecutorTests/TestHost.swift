import Foundation
import Model
import Registry
import TestSupport

@testable import KilnExecutor

/// A real engine and everything that a build on it needs, in a folder of its own.
struct TestHost {
  let folder: URL
  let engine: Engine
  let facts: Engine.Facts
  let builder: BuildxBuilder

  init(_ variable: String = "KILN_TEST_ENGINE_A") async throws {
    let time = SystemTime()
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-executor-\(UUID().uuidString)")
    let docker = try DockerClient(
      builder: Pool.Builder(host: try Services.require(variable)),
      configurationFolder: folder.appendingPathComponent("docker"), time: time)
    engine = Engine(docker: docker, workFolder: folder)
    facts = try await engine.facts()
    builder = BuildxBuilder(
      engine: engine, facts: facts, layout: try ExportLayout(folder: folder.appendingPathComponent("export")),
      time: time)
  }

  func remove() { try? FileManager.default.removeItem(at: folder) }

  func attemptFolder() throws -> URL {
    let attempt = folder.appendingPathComponent("attempt-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: attempt, withIntermediateDirectories: true)
    return attempt
  }

  /// Builds `dockerfile` on `parent`, or on nothing, for the platform of `parent`.
  func build(
    _ dockerfile: String, on parent: TestImage, standing: Bool = true, context: [TarArchive.Entry] = [],
    arguments: [String: String] = [:],
    at location: ImageLocation? = nil, deadlineSeconds: Double = 120, noOutputSeconds: Double = 60,
    secrets: [String: URL] = [:], report: RecordingReport = RecordingReport()
  ) async throws -> BuiltLayer {
    let attempt = try attemptFolder()
    var archive: URL?
    if !context.isEmpty {
      let file = attempt.appendingPathComponent("context.tar")
      try TarArchive.write(context).write(to: file)
      archive = file
    }
    let layer = PlannedLayer(
      key: LayerKey(text: Digest(of: dockerfile).hex), parent: .layer(LayerKey(text: "parent")), fragment: nil,
      title: "test layer", platform: parent.platform, dockerfile: dockerfile, arguments: arguments, context: nil,
      secrets: secrets.mapValues { _ in "1" }, reproducible: true)
    return try await builder.build(
      LayerBuildRequest(
        layer: layer, contextArchive: archive,
        parent: !standing
          ? nil
          : ParentImage(
            location: location ?? parent.location, manifest: parent.image.manifest, config: parent.image.config),
        attemptFolder: attempt, deadlineSeconds: deadlineSeconds, noOutputSeconds: noOutputSeconds,
        secretFiles: secrets), report: report)
  }
}

/// An image in an OCI layout folder.
struct TestImage {
  let layout: URL
  let platform: Platform
  let image: ParentImage

  var location: ImageLocation { image.location }
  var blobs: [BlobReference] { get throws { try parsed.blobs } }
  var parsed: LayerImage { get throws { try LayerImage(manifest: image.manifest, config: image.config) } }
  var configuration: NSDictionary { get throws { try Self.object(image.config) } }

  /// The sample base image for a platform.
  static func base(_ platform: String) throws -> TestImage {
    let layout = URL(fileURLWithPath: try Services.require("KILN_TEST_BASE"))
    let index = try object(try Data(contentsOf: layout.appendingPathComponent("index.json")))
    let entry = try first(index, where: { _ in true })
    let images = try object(try blob(entry, in: layout))
    let architecture = platform.split(separator: "/").last.map(String.init)
    let chosen = try first(images) { ($0["platform"] as? [String: Any])?["architecture"] as? String == architecture }
    return try TestImage(layout: layout, platform: try present(Platform(platform)), digest: chosen)
  }

  init(layout: URL, platform: Platform, digest: Digest) throws {
    let bytes = try Self.blob(digest, in: layout)
    let manifest = Manifest(mediaType: "application/vnd.oci.image.manifest.v1+json", bytes: bytes)
    let config = try Self.object(bytes)["config"] as? [String: Any]
    let configDigest = try present(Digest(config?["digest"] as? String ?? ""))
    self.init(
      layout: layout, platform: platform, manifest: manifest, config: try Self.blob(configDigest, in: layout))
  }

  init(layout: URL, platform: Platform, manifest: Manifest, config: Data) {
    (self.layout, self.platform) = (layout, platform)
    image = ParentImage(
      location: .layout(directory: layout, digest: manifest.digest), manifest: manifest, config: config)
  }

  /// What `built` made on this image, as a layout folder of its own in which it can be a parent.
  func adding(_ built: BuiltLayer, in folder: URL) throws -> TestImage {
    let target = folder.appendingPathComponent("layout-\(UUID().uuidString)")
    let blobs = target.appendingPathComponent("blobs/sha256")
    try FileManager.default.createDirectory(at: blobs, withIntermediateDirectories: true)
    for blob in try self.blobs {
      try FileManager.default.copyItem(
        at: layout.appendingPathComponent("blobs/sha256/\(blob.digest.hex)"),
        to: blobs.appendingPathComponent(blob.digest.hex))
    }
    for new in built.newBlobs
    where !FileManager.default.fileExists(atPath: blobs.appendingPathComponent(new.blob.digest.hex).path) {
      try FileManager.default.copyItem(at: new.file, to: blobs.appendingPathComponent(new.blob.digest.hex))
    }
    try built.config.write(to: blobs.appendingPathComponent(Digest(of: built.config).hex))
    try built.manifest.bytes.write(to: blobs.appendingPathComponent(built.manifest.digest.hex))
    try Data(#"{"imageLayoutVersion":"1.0.0"}"#.utf8).write(to: target.appendingPathComponent("oci-layout"))
    let index: [String: Any] = [
      "schemaVersion": 2,
      "manifests": [
        [
          "mediaType": built.manifest.mediaType, "digest": "\(built.manifest.digest)",
          "size": built.manifest.bytes.count,
        ]
          as [String: Any]
      ],
    ]
    try JSONSerialization.data(withJSONObject: index).write(to: target.appendingPathComponent("index.json"))
    return TestImage(layout: target, platform: platform, manifest: built.manifest, config: built.config)
  }

  static func object(_ bytes: Data) throws -> NSDictionary {
    try present(try JSONSerialization.jsonObject(with: bytes) as? [String: Any]) as NSDictionary
  }

  private static func blob(_ digest: Digest, in layout: URL) throws -> Data {
    try Data(contentsOf: layout.appendingPathComponent("blobs/sha256/\(digest.hex)"))
  }

  private static func first(_ index: NSDictionary, where isWanted: ([String: Any]) -> Bool) throws -> Digest {
    let entries = index["manifests"] as? [[String: Any]] ?? []
    return try present(entries.first(where: isWanted).flatMap { Digest($0["digest"] as? String ?? "") })
  }
}

struct Missing: Error {}

func present<Value>(_ value: Value?) throws -> Value {
  guard let value else { throw Missing() }
  return value
}

actor RecordingReport: BuildReport {
  private(set) var text = ""
  private(set) var steps: [StepTiming] = []
  func log(_ bytes: [UInt8]) { text += String(decoding: bytes, as: UTF8.self) }
  func step(_ timing: StepTiming) { steps.append(timing) }
}
