package import Foundation
package import HTTPClient
package import Model

/// A registry by the OCI distribution specification.
///
/// Reads verify digests; writes leave out what is there. What may work again is tried again a few
/// times, with growing, jittered delays; every request has a deadline and a stall limit, for a registry
/// that hangs is as bad as one that is gone.
///
/// Errors: `Failure`s that name the registry and the repository, or `CancellationError`.
package struct RegistryClient: ImageStore {
  let endpoint: RegistryEndpoint
  let http: HTTPClient
  let effects: Effects
  /// Whether nothing will be put right that it holds damaged.
  let isReadOnly: Bool
  let tokens = TokenCache()

  static let maxManifestBytes = 8 << 20
  /// For what must not be left half done. Less than whoever does it has a lease for.
  static let patientSeconds: Double = 30

  package init(endpoint: RegistryEndpoint, http: HTTPClient, effects: Effects, isReadOnly: Bool = false) {
    self.endpoint = endpoint
    self.http = http
    self.effects = effects
    self.isReadOnly = isReadOnly
  }

  // MARK: Blobs

  package func blobSize(_ digest: Digest, in repository: String) async throws -> Int64? {
    let response = try await send(HTTPRequest("HEAD", url(repository, "blobs/\(digest)")), repository)
    if try await isAbsent(response, "blobs", in: repository) { return nil }
    try expect([200], response, "looking for blob \(digest)", repository)
    guard let length = response.headers["content-length"].flatMap({ Int64($0) }) else {
      throw failure("told no size for blob \(digest)", repository)
    }
    return length
  }

  package func blob(_ digest: Digest, in repository: String, maxBytes: Int) async throws -> Data {
    // There must be room for what a registry says where it has no such blob.
    let room = max(maxBytes, 64 << 10)
    let response = try await send(
      HTTPRequest("GET", url(repository, "blobs/\(digest)")), repository, maxBodyBytes: room)
    if response.status == 404 { throw notFound("blob \(digest)", repository) }
    try expect([200], response, "reading blob \(digest)", repository)
    guard response.body.count <= maxBytes else {
      throw Failure(.input, code: "too-large", "blob \(digest) has \(response.body.count) bytes, more than \(maxBytes)")
    }
    guard Digest(of: response.body) == digest else { throw corrupt("blob \(digest)", repository) }
    return response.body
  }

  package func download(_ blob: BlobReference, in repository: String, to file: URL) async throws {
    guard !FileManager.default.fileExists(atPath: file.path) else {
      throw file.fileFailure("writing", CocoaError(.fileWriteFileExists))
    }
    let response = try await repeating(repository) {
      try await authorized(HTTPRequest("GET", url(repository, "blobs/\(blob.digest)")), repository) {
        try await http.download(
          $0, to: file, maxBodyBytes: blob.sizeBytes, deadlineSeconds: transferSeconds(blob.sizeBytes))
      }
    }
    if response.status == 404 { throw notFound("blob \(blob.digest)", repository) }
    try expect([200], response, "reading blob \(blob.digest)", repository)
    guard try await FileWork.shared.digest(of: file) == blob.digest else {
      try? FileManager.default.removeItem(at: file)
      throw corrupt("blob \(blob.digest)", repository)
    }
  }

  package func upload(_ bytes: Data, digest: Digest, to repository: String) async throws {
    guard Digest(of: bytes) == digest else {
      throw Failure(.input, code: "wrong-digest", "these \(bytes.count) bytes are not \(digest)")
    }
    let blob = BlobReference(digest: digest, sizeBytes: Int64(bytes.count))
    try await upload(.bytes(bytes), blob, to: repository)
  }

  package func upload(file: URL, blob: BlobReference, to repository: String, mountFrom: String?) async throws {
    if let mountFrom, try await mount(blob, from: mountFrom, to: repository) { return }
    try await upload(.file(file, size: blob.sizeBytes), blob, to: repository)
  }

  private func upload(_ body: HTTPBody, _ blob: BlobReference, to repository: String) async throws {
    if try await has(blob, in: repository) { return }
    // A PUT that failed half way needs a new session: both are repeated together.
    let response = try await repeating(repository) {
      let session = try await authorized(HTTPRequest("POST", url(repository, "blobs/uploads/")), repository) {
        try await http.send($0, stallSeconds: Self.stallSeconds)
      }
      guard session.status == 202, let location = session.headers["location"] else { return session }
      let target = absolute(location) + (location.contains("?") ? "&" : "?") + "digest=\(blob.digest)"
      let put = HTTPRequest("PUT", target, headers: ["Content-Type": "application/octet-stream"], body: body)
      return try await authorized(put, repository) {
        // Before it answers, a registry may read back all that it got.
        try await http.send($0, deadlineSeconds: transferSeconds(blob.sizeBytes), stallSeconds: 120)
      }
    }
    let doing = "uploading blob \(blob.digest)"
    if response.status == 400 {
      throw failure("refused \(doing): \(Self.reason(response))", repository, code: "wrong-digest")
    }
    try expect([201, 204], response, doing, repository)
  }

  package func mount(_ blob: BlobReference, from source: String, to repository: String) async throws -> Bool {
    guard source != repository else { return try await has(blob, in: repository) }
    let query = "?mount=\(blob.digest)&from=\(endpoint.path(source).replacing("/", with: "%2F"))"
    let response = try await send(HTTPRequest("POST", url(repository, "blobs/uploads/") + query), repository)
    if response.status == 201 { return true }
    // 202: the registry began an upload instead; it forgets it by itself.
    if response.status == 202 || response.status == 404 { return false }
    try expect([201], response, "mounting blob \(blob.digest)", repository)
    return false
  }

  // MARK: Manifests

  package func manifest(_ reference: ManifestReference, in repository: String) async throws -> Manifest? {
    let accept = MediaType.accepted.joined(separator: ", ")
    let request = HTTPRequest("GET", url(repository, "manifests/\(reference)"), headers: ["Accept": accept])
    let response = try await send(request, repository, maxBodyBytes: Self.maxManifestBytes)
    if try await isAbsent(response, "manifests", in: repository) { return nil }
    try expect([200], response, "reading manifest \(reference)", repository)
    if case .digest(let digest) = reference, Digest(of: response.body) != digest {
      throw corrupt("manifest \(digest)", repository)
    }
    let type = response.headers["content-type"].map { String($0.prefix { $0 != ";" }) }
    return Manifest(mediaType: try type ?? MediaType.ofManifest(response.body), bytes: response.body)
  }

  package func put(_ manifest: Manifest, in repository: String, tag: String?) async throws {
    let reference = tag.map(ManifestReference.tag) ?? .digest(manifest.digest)
    let request = HTTPRequest(
      "PUT", url(repository, "manifests/\(reference)"), headers: ["Content-Type": manifest.mediaType],
      body: .bytes(manifest.bytes))
    for attempt in 1... {
      let response = try await sendUntilWhole(request, repository)
      guard [400, 404].contains(response.status), Self.reason(response).contains("UNKNOWN") else {
        return try expect([201], response, "putting manifest \(reference)", repository)
      }
      // While somebody else mounts the same blob, a registry may read its half-written link.
      guard attempt < Self.maxTries else {
        throw failure(
          "does not hold everything that manifest \(manifest.digest) refers to: \(Self.reason(response))", repository,
          code: "incomplete")
      }
      try await effects.time.sleep(
        seconds: Self.delaySeconds(attempt: attempt, retryAfter: nil, fraction: effects.random.fraction()))
    }
  }

  /// Where its disk is full, a registry empties even what it had noted of a manifest before: it is not left like
  /// that after a few tries.
  private func sendUntilWhole(_ request: HTTPRequest, _ repository: String) async throws -> HTTPResponse {
    let start = effects.time.monotonicSeconds()
    while true {
      let response = try await send(request, repository)
      guard response.status == 500, effects.time.monotonicSeconds() - start < Self.patientSeconds else {
        return response
      }
      try await effects.time.sleep(
        seconds: Self.delaySeconds(attempt: Self.maxTries, retryAfter: nil, fraction: effects.random.fraction()))
    }
  }

  /// Whether what was asked for is not there, or damaged. A registry whose disk was full answers 500 for ever
  /// where it has only begun to write; one that tells well of another digest that it has not is in order but for that.
  private func isAbsent(_ response: HTTPResponse, _ kind: String, in repository: String) async throws -> Bool {
    guard response.status == 500, !isReadOnly else { return response.status == 404 }
    let nothing = Digest(of: Data(effects.identifier().utf8))
    return try await send(HTTPRequest("HEAD", url(repository, "\(kind)/\(nothing)")), repository).status == 404
  }

  /// For tests and cleaning up: the manifest by its digest, and so every tag that leads to it.
  package func delete(_ digest: Digest, in repository: String) async throws {
    let response = try await send(HTTPRequest("DELETE", url(repository, "manifests/\(digest)")), repository)
    try expect([202, 404], response, "deleting manifest \(digest)", repository)
  }

  /// All tags of a repository, sorted; none where it does not exist.
  package func tags(in repository: String) async throws -> [String] {
    let response = try await send(HTTPRequest("GET", url(repository, "tags/list")), repository)
    if response.status == 404 { return [] }
    try expect([200], response, "listing tags", repository)
    let json = try JSONValue.parse(response.body, what: "the list of tags")
    return (json["tags"]?.array ?? []).compactMap(\.string).sorted()
  }

  package func location(of digest: Digest, in repository: String) -> ImageLocation {
    .registry("\(endpoint.host)/\(endpoint.path(repository))@\(digest)")
  }
}

extension ManifestReference: CustomStringConvertible {
  package var description: String {
    switch self {
    case .digest(let digest): digest.description
    case .tag(let tag): tag
    }
  }
}
