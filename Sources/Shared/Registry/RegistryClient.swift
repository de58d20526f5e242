package import Foundation
package import HTTPClient
package import Model

/// A registry by the OCI distribution specification.
///
/// Reads verify digests; writes leave out what is there. What may work again is tried again a few
/// times, with growing, jittered delays; every request has a deadline and a stall limit, for a registry
/// that hangs is as bad as one that is gone.
package struct RegistryClient: ImageStore {
  let endpoint: RegistryEndpoint
  let http: HTTPClient
  let effects: Effects
  let tokens = TokenCache()

  static let maxTries = 4
  static let maxManifestBytes = 8 << 20

  package init(endpoint: RegistryEndpoint, http: HTTPClient, effects: Effects) {
    self.endpoint = endpoint
    self.http = http
    self.effects = effects
  }

  // MARK: Blobs

  package func blobSize(_ digest: Digest, in repository: String) async throws -> Int64? {
    let response = try await send(.init("HEAD", url(repository, "blobs/\(digest)")), repository)
    if response.status == 404 { return nil }
    try expect([200], response, "looking for blob \(digest)", repository)
    guard let length = response.headers["content-length"].flatMap({ Int64($0) }) else {
      throw failure("told no size for blob \(digest)", repository)
    }
    return length
  }

  package func blob(_ digest: Digest, in repository: String, maxBytes: Int) async throws -> Data {
    let response = try await send(
      .init("GET", url(repository, "blobs/\(digest)")), repository, maxBodyBytes: maxBytes)
    if response.status == 404 { throw notFound("blob \(digest)", repository) }
    try expect([200], response, "reading blob \(digest)", repository)
    guard Digest(of: response.body) == digest else {
      throw failure("gave other bytes than those of blob \(digest)", repository, code: "corrupt")
    }
    return response.body
  }

  package func download(_ blob: BlobReference, in repository: String, to file: URL) async throws {
    let deadline = 60 + Double(blob.sizeBytes) / 100_000
    let response = try await repeating(repository) {
      try? FileManager.default.removeItem(at: file)
      return try await authorized(.init("GET", url(repository, "blobs/\(blob.digest)")), repository) { request in
        try await http.download(request, to: file, maxBodyBytes: blob.sizeBytes, deadlineSeconds: deadline)
      }
    }
    if response.status == 404 { throw notFound("blob \(blob.digest)", repository) }
    try expect([200], response, "reading blob \(blob.digest)", repository)
    var stream = DigestStream()
    let handle = try FileHandle(forReadingFrom: file)
    defer { try? handle.close() }
    while let piece = try handle.read(upToCount: 1 << 20), !piece.isEmpty { stream.update(piece) }
    guard stream.digest() == blob.digest else {
      try? FileManager.default.removeItem(at: file)
      throw failure("gave other bytes than those of blob \(blob.digest)", repository, code: "corrupt")
    }
  }

  package func upload(_ bytes: Data, digest: Digest, to repository: String) async throws {
    try await upload(.bytes(bytes), size: Int64(bytes.count), digest: digest, to: repository)
  }

  package func upload(file: URL, blob: BlobReference, to repository: String, mountFrom: String?) async throws {
    if let mountFrom, try await mount(blob, from: mountFrom, to: repository) { return }
    try await upload(.file(file, size: blob.sizeBytes), size: blob.sizeBytes, digest: blob.digest, to: repository)
  }

  private func upload(_ body: HTTPBody, size: Int64, digest: Digest, to repository: String) async throws {
    if try await blobSize(digest, in: repository) == size { return }
    // A PUT that failed half way needs a new session: both are repeated together.
    let response = try await repeating(repository) {
      let session = try await authorized(.init("POST", url(repository, "blobs/uploads/")), repository) {
        try await http.send($0)
      }
      guard session.status == 202, let location = session.headers["location"] else { return session }
      let target = absolute(location) + (location.contains("?") ? "&" : "?") + "digest=\(digest)"
      var put = HTTPRequest("PUT", target, headers: ["Content-Type": "application/octet-stream"], body: body)
      put.headers["Authorization"] = nil
      return try await authorized(put, repository) {
        try await http.send($0, deadlineSeconds: 60 + Double(size) / 100_000)
      }
    }
    try expect([201, 204], response, "uploading blob \(digest)", repository)
  }

  package func mount(_ blob: BlobReference, from source: String, to repository: String) async throws -> Bool {
    guard source != repository else { return try await blobSize(blob.digest, in: repository) == blob.sizeBytes }
    let query = "?mount=\(blob.digest)&from=\(endpoint.path(source).replacing("/", with: "%2F"))"
    let response = try await send(.init("POST", url(repository, "blobs/uploads/") + query), repository)
    if response.status == 201 { return true }
    // 202: the registry began an upload instead; it forgets it by itself.
    if response.status == 202 || response.status == 404 { return false }
    try expect([201], response, "mounting blob \(blob.digest)", repository)
    return false
  }

  // MARK: Manifests

  package func manifest(_ reference: ManifestReference, in repository: String) async throws -> Manifest? {
    let name: String
    switch reference {
    case .digest(let digest): name = digest.description
    case .tag(let tag): name = tag
    }
    let accept = MediaType.accepted.joined(separator: ", ")
    let response = try await send(
      .init("GET", url(repository, "manifests/\(name)"), headers: ["Accept": accept]), repository,
      maxBodyBytes: Self.maxManifestBytes)
    if response.status == 404 { return nil }
    try expect([200], response, "reading manifest \(name)", repository)
    let type = response.headers["content-type"].map { String($0.prefix { $0 != ";" }) } ?? MediaType.imageManifest
    let manifest = Manifest(mediaType: type, bytes: response.body)
    if case .digest(let digest) = reference, manifest.digest != digest {
      throw failure("gave other bytes than those of manifest \(digest)", repository, code: "corrupt")
    }
    return manifest
  }

  package func put(_ manifest: Manifest, in repository: String, tag: String?) async throws {
    let name = tag ?? manifest.digest.description
    let response = try await send(
      .init(
        "PUT", url(repository, "manifests/\(name)"), headers: ["Content-Type": manifest.mediaType],
        body: .bytes(manifest.bytes)), repository)
    if response.status == 400 || response.status == 404,
      String(decoding: response.body, as: UTF8.self).contains("UNKNOWN")
    {
      throw failure("holds not everything that manifest \(manifest.digest) refers to", repository, code: "incomplete")
    }
    try expect([201], response, "putting manifest \(name)", repository)
  }

  package func location(of digest: Digest, in repository: String) -> ImageLocation {
    .registry("\(endpoint.host)/\(endpoint.path(repository))@\(digest)")
  }

  // MARK: Requests

  private func url(_ repository: String, _ rest: String) -> String {
    "\(origin)/v2/\(endpoint.path(repository))/\(rest)"
  }

  private var origin: String { "\(endpoint.plainHTTP ? "http" : "https")://\(endpoint.host)" }

  private func absolute(_ location: String) -> String { location.hasPrefix("/") ? origin + location : location }

  private func send(_ request: HTTPRequest, _ repository: String, maxBodyBytes: Int = 4 << 20) async throws
    -> HTTPResponse
  {
    try await repeating(repository) {
      try await authorized(request, repository) {
        try await http.send($0, maxBodyBytes: maxBodyBytes, deadlineSeconds: 60, stallSeconds: 20)
      }
    }
  }

  /// Answers a challenge once; what was granted is used from then on.
  private func authorized(
    _ request: HTTPRequest, _ repository: String, _ send: (HTTPRequest) async throws -> HTTPResponse
  ) async throws -> HTTPResponse {
    var request = request
    request.headers["Authorization"] = await tokens.header(repository)
    let response = try await send(request)
    guard response.status == 401, let challenge = response.headers["www-authenticate"] else { return response }
    guard let header = try await tokens.answer(challenge, repository, endpoint.credentials, http) else {
      return response
    }
    request.headers["Authorization"] = header
    return try await send(request)
  }

  private func repeating(_ repository: String, _ body: () async throws -> HTTPResponse) async throws -> HTTPResponse {
    var attempt = 1
    while true {
      do {
        let response = try await body()
        guard response.status >= 500 || response.status == 429, attempt < Self.maxTries else { return response }
      } catch let error as HTTPClientError {
        if error.code == .cancelled { throw CancellationError() }
        guard error.isTransient, attempt < Self.maxTries else {
          throw failure("is out of reach: \(error)", repository, code: "registry-unavailable")
        }
      }
      try await effects.time.sleep(seconds: 0.2 * Double(1 << attempt) * effects.random.fraction())
      attempt += 1
    }
  }

  private func expect(_ statuses: [Int], _ response: HTTPResponse, _ doing: String, _ repository: String) throws {
    guard !statuses.contains(response.status) else { return }
    if response.status == 401 || response.status == 403 {
      throw Failure(
        .infrastructure, code: "registry-denied",
        "registry \(endpoint.host) denies \(doing) in \(endpoint.path(repository))",
        hint: "check KILN_REGISTRY_USER and KILN_REGISTRY_PASSWORD_FILE")
    }
    throw failure("answered \(response.status) to \(doing)", repository, code: "registry-\(response.status)")
  }

  private func failure(_ what: String, _ repository: String, code: String = "registry-answer") -> Failure {
    Failure(.infrastructure, code: code, "registry \(endpoint.host) (\(endpoint.path(repository))) \(what)")
  }

  private func notFound(_ what: String, _ repository: String) -> Failure {
    Failure(.input, code: "not-found", "\(what) is not in \(endpoint.host)/\(endpoint.path(repository))")
  }
}
