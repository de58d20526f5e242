import BlockingThread
internal import CCurl
package import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// HTTP/1.1 on libcurl: many transfers at once on one thread, connections kept between them.
///
/// Only http and https; TLS is verified; redirects are followed for GET and HEAD, credentials
/// dropped where they lead to another host; the proxy variables of the environment are honoured but
/// for this machine itself. Nothing is ever repeated: retries are the caller's.
///
/// Errors: every call throws `HTTPClientError`, with the code `cancelled` when its task is cancelled,
/// which ends the transfer. No call blocks a thread of the cooperative pool.
package actor HTTPClient {
  package struct Settings: Sendable {
    package var userAgent = "kiln"
    package var connectSeconds: Double = 10
    /// PEM certificates to trust instead of the system's.
    package var certificateAuthorityFile: URL?

    package init() {}
  }

  /// At once, streams included. Each may hold a connection and a file.
  package static let maxTransfers = 256

  private let thread: BlockingThread
  private let settings: Settings
  private let cancellations: Cancellations
  private let multi: MultiHandle
  private var running: [Int: (transfer: Transfer, handle: EasyHandle)] = [:]
  private var streams: [Int: StreamBuffer] = [:]
  private var lastID = 0
  /// For tests: how often the thread had something to do.
  private(set) var turns = 0
  var openTransfers: Int { running.count }

  package nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  package init(settings: Settings = Settings()) {
    Library.start()
    self.settings = settings
    thread = BlockingThread(name: "kiln-http")
    cancellations = Cancellations()
    multi = MultiHandle(cancellations: cancellations)
  }

  isolated deinit {
    thread.stopWatching()
    for (_, entry) in running { multi.remove(entry.handle) }
  }

  /// Sends and collects the response's body, of at most `maxBodyBytes`.
  package func send(
    _ request: HTTPRequest, maxBodyBytes: Int = 4 << 20, deadlineSeconds: Double = 60, stallSeconds: Double = 30
  ) async throws -> HTTPResponse {
    let limits = HTTPLimits(
      deadlineSeconds: deadlineSeconds, stallSeconds: stallSeconds, maxBodyBytes: Int64(maxBodyBytes))
    return try await perform(request, limits: limits, sink: .memory)
  }

  /// Writes a success's body to a new file, which must not exist and does not exist after a failure
  /// or any other status; then the start of the body is in the response.
  package func download(
    _ request: HTTPRequest, to file: URL, maxBodyBytes: Int64, deadlineSeconds: Double, stallSeconds: Double = 30
  ) async throws -> HTTPResponse {
    guard let open = OpenFile(creating: file.path) else {
      throw HTTPClientError(.localFile, "creating \(file.path): \(String(cString: strerror(errno)))")
    }
    let limits = HTTPLimits(deadlineSeconds: deadlineSeconds, stallSeconds: stallSeconds, maxBodyBytes: maxBodyBytes)
    do {
      let response = try await perform(request, limits: limits, sink: .file(open))
      if !response.isSuccess { unlink(file.path) }
      return response
    } catch {
      unlink(file.path)
      throw error
    }
  }

  /// Returns with the response's head; the body follows. At most about `maxBufferedBytes` are read
  /// ahead. Without limits it lasts until either side ends it.
  package func stream(
    _ request: HTTPRequest, deadlineSeconds: Double? = nil, stallSeconds: Double? = nil,
    maxBufferedBytes: Int = 256 << 10
  ) async throws -> HTTPStream {
    let limits = HTTPLimits(deadlineSeconds: deadlineSeconds, stallSeconds: stallSeconds, maxBodyBytes: .max)
    let buffer = StreamBuffer(maxBytes: maxBufferedBytes)
    let id = nextID()
    try start(id, request, limits: limits, sink: .stream(buffer)) { buffer.end($0) }
    streams[id] = buffer
    let subscription = Subscription(id: id, cancellations: cancellations)
    let head = try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        // Without a word of `self` in it, the handler's closure would run off the actor.
        self.preconditionIsolated()
        buffer.waitForHead(continuation)
      }
    } onCancel: {
      cancellations.request(id)
    }
    let body = AsyncThrowingStream<Data, any Error> { [self] in try await nextPiece(of: subscription) }
    return HTTPStream(status: head.status, headers: head.headers, body: body)
  }

  private func nextPiece(of subscription: Subscription) async throws -> Data? {
    let id = subscription.id
    guard let buffer = streams[id] else { return nil }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        buffer.read(continuation)
        if let handle = running[id]?.handle {
          curl_easy_pause(handle.raw, CURLPAUSE_CONT)
          arm()
        }
      }
    } onCancel: {
      cancellations.request(id)
    }
  }

  // MARK: Transfers

  private func nextID() -> Int {
    lastID += 1
    return lastID
  }

  private func perform(_ request: HTTPRequest, limits: HTTPLimits, sink: sending Transfer.Sink) async throws
    -> HTTPResponse
  {
    let id = nextID()
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        do {
          try start(id, request, limits: limits, sink: sink) { continuation.resume(with: $0) }
        } catch {
          continuation.resume(throwing: error)
        }
      }
    } onCancel: {
      cancellations.request(id)
    }
  }

  private func start(
    _ id: Int, _ request: HTTPRequest, limits: HTTPLimits, sink: Transfer.Sink,
    onEnd: @escaping (Result<HTTPResponse, HTTPClientError>) -> Void
  ) throws {
    try request.validate()
    guard running.count < Self.maxTransfers else {
      throw HTTPClientError(
        .busy, "\(request.method) \(request.displayURL): \(Self.maxTransfers) transfers are under way already")
    }
    let transfer = try Transfer(id: id, request: request, limits: limits, sink: sink)
    let handle = try EasyHandle()
    try handle.configure(for: transfer, settings: settings)
    guard multi.add(handle) else { throw transfer.failure(.internalFault, "libcurl does not take the transfer") }
    transfer.onEnd = onEnd
    running[id] = (transfer, handle)
    arm()
  }

  /// Everything that became ready; called on the thread by its watch.
  private func turn() {
    turns += 1
    for id in cancellations.take() {
      streams[id]?.end(.failure(HTTPClientError(.cancelled, "the stream was dropped")))
      streams[id] = nil
      if let entry = running[id] {
        finish(entry.transfer, entry.handle, .failure(entry.transfer.failure(.cancelled, "cancelled")))
      }
    }
    multi.turn()
    while let (raw, code) = multi.nextEnded() {
      guard let (transfer, handle) = running.values.first(where: { $0.handle.raw == raw }) else { continue }
      finish(transfer, handle, result(of: transfer, handle, code))
    }
    arm()
  }

  private func result(of transfer: Transfer, _ handle: EasyHandle, _ code: CURLcode) -> Result<
    HTTPResponse, HTTPClientError
  > {
    if let fault = transfer.fault { return .failure(fault) }
    guard code != CURLE_OK else { return .success(transfer.response) }
    let reason = handle.reasonText.isEmpty ? String(cString: curl_easy_strerror(code)) : handle.reasonText
    return .failure(transfer.failure(HTTPClientError.Code(curl: code.rawValue), reason))
  }

  private func finish(_ transfer: Transfer, _ handle: EasyHandle, _ result: Result<HTTPResponse, HTTPClientError>) {
    multi.remove(handle)
    running[transfer.id] = nil
    transfer.end(result)
  }

  /// Sleeps until a socket is ready or libcurl's timer is due.
  private func arm() {
    thread.watch(multi.descriptor, timeoutMilliseconds: multi.timeoutMilliseconds) { [weak self] in
      self?.assumeIsolated { $0.turn() }
    }
  }
}

/// Ends a stream's transfer when its last reader is gone.
private final class Subscription: Sendable {
  let id: Int
  private let cancellations: Cancellations

  init(id: Int, cancellations: Cancellations) {
    self.id = id
    self.cancellations = cancellations
  }

  deinit { cancellations.request(id) }
}

private enum Library {
  private static let started: Void = {
    curl_global_init(Int(CURL_GLOBAL_DEFAULT))
    // A peer that is gone must be an error of the write, never the end of the process.
    signal(SIGPIPE, SIG_IGN)
  }()

  static func start() { _ = started }
}
