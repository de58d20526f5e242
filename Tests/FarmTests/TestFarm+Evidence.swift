import Foundation
import Model
import RecordStore
import TestSupport
import Testing

/// What a farm did, by what others saw of it.
extension TestFarm {
  /// Each RUN of each layer of `catalog` once, and once more at most for every attempt at it that a kill
  /// interrupted.
  func expectOncePerLayer(_ builds: [BuildDetail], of catalog: TestCatalog, layers expected: Int) async throws {
    let counts = counter.all
    #expect(counts.keys.filter { $0.hasPrefix("\(catalog.run)-") }.count == expected, "\(counts)")
    var layers: Set<LayerKey> = []
    for job in Set(builds.flatMap(\.jobs).map(\.id)) {
      let detail: JobDetail = try await get("jobs/\(job)")
      let others = detail.attempts.filter { $0.outcome != "succeeded" }
      // Nothing but a kill ended an attempt early.
      #expect(others.allSatisfy { $0.failure?.code == "lease-out" }, "\(detail)")
      #expect(detail.attempts.count - others.count == 1, "\(detail)")
      guard let layer = detail.layer else { continue }
      #expect(layers.insert(layer).inserted, "a second job for \(detail.summary.title)")
      // An attempt may have been killed before its step began.
      let name = catalog.counterName(detail.summary.title)
      let count = try #require(counts[name], "\(detail.summary.title): \(counts)")
      #expect((1...1 + others.count).contains(count), "\(detail.summary.title): \(count), \(others)")
    }
    #expect(layers.count == expected)
  }

  /// The keys of the layers that the farm says it would build.
  func forecast(_ catalog: TestCatalog) async throws -> Set<String> {
    struct Report: Decodable {
      struct Entry: Decodable { var key, what: String }
      var layers: [Entry]
    }
    let address = try #require(kiln.environment["KILN_COORDINATOR"])
    let report: Report = try await kiln.json(
      ["plan", "--json", "--coordinator", address, "--catalog", catalog.folder.path])
    return Set(report.layers.filter { $0.what == "build" }.map(\.key))
  }

  /// The keys of the layers that a build had built; each once.
  func builtLayers(_ build: BuildDetail) async throws -> Set<String> {
    var keys: Set<String> = []
    for job in build.jobs where job.kind == .layer {
      let detail: JobDetail = try await get("jobs/\(job.id)")
      let key = try #require(detail.layer)
      #expect(keys.insert(key.text).inserted, "built twice: \(job.title)")
    }
    return keys
  }

  /// The last blobs of the images of a build's cells, each pair once.
  func lastBlobs(_ build: BuildDetail, _ count: Int) async throws -> Set<[String]> {
    var last: Set<[String]> = []
    for image in Set(build.cells.compactMap(\.image)) {
      last.insert(Array(try await layerBlobs("layers@\(image)").suffix(count)))
    }
    return last
  }

  /// Each layer's tag, and each that a build has moved, stands for the image that the store says, by the
  /// registry's bytes. Only a layer that the registry has lost meanwhile may have none.
  func expectTags() async throws {
    let tags = try await rows(
      """
      SELECT 'layers', 'layer-' || key || '-g' || generation, image FROM layers WHERE state = 'available'
      UNION ALL SELECT repository, tag, digest FROM tags
      """)
    #expect(!tags.isEmpty)
    let parts = registry.split(separator: "/", maxSplits: 1)
    let accept = ["manifest", "index"].map { "application/vnd.oci.image.\($0).v1+json" }.joined(separator: ", ")
    for row in tags {
      let got = try await kiln.run(
        [
          "--silent", "--fail", "--header", "Accept: \(accept)",
          "http://\(parts[0])/v2/\(parts[1])/\(row[0])/manifests/\(row[1])",
        ], program: URL(fileURLWithPath: "/usr/bin/curl"))
      if got.status != 0, row[0] == "layers", try await !pulls("layers@\(row[2])") { continue }
      #expect("\(Digest(of: got.output))" == row[2], "\(row): \(got.status) \(got.output)")
    }
  }

  /// Whether all of an image can be had; skopeo checks every digest on its way.
  private func pulls(_ image: String) async throws -> Bool {
    let target = kiln.folder.appendingPathComponent("pull-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: target) }
    let pulled = try await kiln.run(
      ["copy", "--quiet", "--src-tls-verify=false", "docker://\(registry)/\(image)", "oci:\(target.path):image"],
      program: URL(fileURLWithPath: "/usr/bin/skopeo"))
    if pulled.status != 0 { print("\(image) does not pull: \(pulled.errors)") }
    return pulled.status == 0
  }

  /// Every image of every record pulls, and its base's blobs are the base's own.
  func expectRecordsPull(count: Int) async throws {
    let records = try await rows("SELECT record FROM records").map {
      try JSONDecoder().decode(CompatibilityRecord.self, from: Data($0[0].utf8))
    }
    #expect(records.count == count)
    for record in records {
      #expect(record.verdict == .passed)
      #expect(try await pulls("layers@\(record.image)"))
      let blobs = try await layerBlobs("layers@\(record.image)")
      let base = try await layerBlobs("layers@\(record.base.digest)")
      #expect(!base.isEmpty && blobs.count > base.count && Array(blobs.prefix(base.count)) == base)
    }
  }
}
