internal import CCurl
import Foundation

/// One request on its way: what libcurl's callbacks read and write. It never leaves the client's
/// thread.
final class Transfer {
  enum Sink {
    case memory
    /// Only the body of a success; any other is kept in memory, for the message.
    case file(OpenFile)
    case stream(StreamBuffer)
  }

  /// How much of an error's body is kept where a file was wanted.
  static let maxErrorBodyBytes = 64 << 10
  static let maxHeaderBytes = 256 << 10

  let id: Int
  let request: HTTPRequest
  let limits: HTTPLimits
  let sink: Sink
  private let source: OpenFile?
  private(set) var status = 0
  private(set) var headers = HTTPHeaders()
  private(set) var body = Data()
  private var headerBytes = 0
  private var received: Int64 = 0
  private var sent: Int64 = 0
  /// Why one of our own callbacks stopped the transfer.
  var fault: HTTPClientError?
  /// Called once, at the end.
  var onEnd: ((Result<HTTPResponse, HTTPClientError>) -> Void)?

  init(id: Int, request: HTTPRequest, limits: HTTPLimits, sink: Sink) throws {
    self.id = id
    self.request = request
    self.limits = limits
    self.sink = sink
    if case .file(let url, _, _) = request.body {
      guard let file = OpenFile(reading: url.path) else {
        throw HTTPClientError(.localFile, "reading \(url.path): \(String(cString: strerror(errno)))")
      }
      source = file
    } else {
      source = nil
    }
  }

  var response: HTTPResponse { HTTPResponse(status: status, headers: headers, body: body) }

  var bodySize: Int64? {
    switch request.body {
    case .none: nil
    case .bytes(let data): Int64(data.count)
    case .file(_, _, let size): size
    }
  }

  /// Only what may be repeated anywhere follows a redirect.
  var followsRedirects: Bool { request.method == "GET" || request.method == "HEAD" }

  // MARK: What libcurl asks for

  /// Fills `buffer` with the next bytes of the request's body; nil when that is impossible.
  func provide(_ buffer: UnsafeMutableRawBufferPointer) -> Int? {
    switch request.body {
    case .none:
      return 0
    case .bytes(let data):
      let count = min(buffer.count, data.count - Int(sent))
      let start = data.startIndex + Int(sent)
      data.copyBytes(to: buffer, from: start..<start + count)
      sent += Int64(count)
      return count
    case .file(let url, let offset, let size):
      let count = Int(min(Int64(buffer.count), size - sent))
      guard count > 0 else { return 0 }
      let found = source?.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]), at: offset + sent) ?? -1
      guard found > 0 else {
        let why = found < 0 ? String(cString: strerror(errno)) : "it is shorter than \(offset + size) bytes"
        fault = HTTPClientError(.localFile, "reading \(url.path): \(why)")
        return nil
      }
      sent += Int64(found)
      return found
    }
  }

  /// Begins the body again, on a new connection.
  func rewind(to offset: Int64) { sent = offset }

  /// One line of the response's head; false stops the transfer.
  func receiveHeader(_ bytes: UnsafeRawBufferPointer) -> Bool {
    headerBytes += bytes.count
    guard headerBytes <= Self.maxHeaderBytes else {
      fault = failure(.protocolViolation, "the response's headers are larger than \(Self.maxHeaderBytes) bytes")
      return false
    }
    let line = String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .newlines)
    if line.hasPrefix("HTTP/") {
      // Interim answers and redirects come before the one that counts.
      headers = HTTPHeaders()
      status = Int(line.split(separator: " ").dropFirst().first ?? "") ?? 0
    } else if line.isEmpty {
      if isHeadFinal, case .stream(let stream) = sink { stream.begin(response) }
    } else if let colon = line.firstIndex(of: ":") {
      headers.add(String(line[..<colon]), line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces))
    }
    return true
  }

  private var isHeadFinal: Bool {
    status >= 200 && !(followsRedirects && (300..<400).contains(status) && headers["Location"] != nil)
  }

  enum Reception { case taken, paused, refused }

  func receive(_ bytes: UnsafeRawBufferPointer) -> Reception {
    if case .stream(let stream) = sink, !stream.hasRoom { return .paused }
    if case .file = sink, !(200..<300).contains(status) {
      body.append(contentsOf: bytes.prefix(Self.maxErrorBodyBytes - body.count))
      return .taken
    }
    received += Int64(bytes.count)
    guard received <= limits.maxBodyBytes else {
      fault = failure(.tooLarge, "the response is larger than \(limits.maxBodyBytes) bytes")
      return .refused
    }
    switch sink {
    case .memory:
      body.append(contentsOf: bytes)
    case .stream(let stream):
      stream.append(bytes)
    case .file(let file):
      guard file.append(bytes) else {
        fault = HTTPClientError(.localFile, "writing \(file.path): \(String(cString: strerror(errno)))")
        return .refused
      }
    }
    return .taken
  }

  // MARK: The end

  func end(_ result: Result<HTTPResponse, HTTPClientError>) {
    let onEnd = onEnd
    self.onEnd = nil
    onEnd?(result)
  }

  func failure(_ code: HTTPClientError.Code, _ what: String) -> HTTPClientError {
    HTTPClientError(code, "\(request.method) \(request.displayURL): \(what)")
  }
}
