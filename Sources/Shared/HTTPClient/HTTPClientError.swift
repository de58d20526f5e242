internal import CCurl

/// Why a transfer gave no response. A response with a status of 400 or 500 is no error here.
package struct HTTPClientError: Error, Sendable, Hashable, CustomStringConvertible {
  package enum Code: String, Sendable, CaseIterable {
    /// The request itself cannot be sent: its URL, method or a header.
    case invalidRequest
    /// The host's name is not known, or the name service does not answer.
    case unresolved
    /// Nothing listens there, or no route leads there.
    case refused
    /// Connecting, standing still or the whole took too long.
    case timedOut
    /// The connection broke.
    case disconnected
    /// The certificate or the handshake.
    case tls
    /// More bytes than the caller allows.
    case tooLarge
    case tooManyRedirects
    case cancelled
    /// What came back is not HTTP.
    case protocolViolation
    /// Reading or writing the body's file.
    case localFile
    /// More transfers at once than `HTTPClient.maxTransfers`.
    case busy
    /// The library cannot go on: memory, or our own mistake.
    case internalFault
  }

  package var code: Code
  /// For people; names the URL without its query and user.
  package var message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }

  /// Whether the same request may succeed a moment later.
  package var isTransient: Bool {
    switch code {
    case .unresolved, .refused, .timedOut, .disconnected, .busy: true
    case .invalidRequest, .tls, .tooLarge, .tooManyRedirects, .cancelled, .protocolViolation, .localFile,
      .internalFault:
      false
    }
  }
}

extension HTTPClientError.Code {
  /// libcurl's result codes (libcurl-errors(3)); what is not listed is `internalFault`.
  static let byCurlCode: [UInt32: Self] = [
    CURLE_UNSUPPORTED_PROTOCOL.rawValue: .invalidRequest,
    CURLE_URL_MALFORMAT.rawValue: .invalidRequest,
    CURLE_COULDNT_RESOLVE_PROXY.rawValue: .unresolved,
    CURLE_COULDNT_RESOLVE_HOST.rawValue: .unresolved,
    CURLE_COULDNT_CONNECT.rawValue: .refused,
    CURLE_INTERFACE_FAILED.rawValue: .refused,
    CURLE_OPERATION_TIMEDOUT.rawValue: .timedOut,
    CURLE_PARTIAL_FILE.rawValue: .disconnected,
    CURLE_GOT_NOTHING.rawValue: .disconnected,
    CURLE_SEND_ERROR.rawValue: .disconnected,
    CURLE_RECV_ERROR.rawValue: .disconnected,
    CURLE_SEND_FAIL_REWIND.rawValue: .disconnected,
    CURLE_PROXY.rawValue: .refused,
    CURLE_SSL_CONNECT_ERROR.rawValue: .tls,
    CURLE_SSL_CERTPROBLEM.rawValue: .tls,
    CURLE_SSL_CIPHER.rawValue: .tls,
    CURLE_PEER_FAILED_VERIFICATION.rawValue: .tls,
    CURLE_SSL_CACERT_BADFILE.rawValue: .tls,
    CURLE_SSL_SHUTDOWN_FAILED.rawValue: .tls,
    CURLE_SSL_ENGINE_INITFAILED.rawValue: .tls,
    CURLE_USE_SSL_FAILED.rawValue: .tls,
    CURLE_FILESIZE_EXCEEDED.rawValue: .tooLarge,
    CURLE_TOO_MANY_REDIRECTS.rawValue: .tooManyRedirects,
    CURLE_WEIRD_SERVER_REPLY.rawValue: .protocolViolation,
    CURLE_HTTP2.rawValue: .protocolViolation,
    CURLE_HTTP2_STREAM.rawValue: .protocolViolation,
    CURLE_BAD_CONTENT_ENCODING.rawValue: .protocolViolation,
    CURLE_READ_ERROR.rawValue: .localFile,
    CURLE_WRITE_ERROR.rawValue: .localFile,
    CURLE_ABORTED_BY_CALLBACK.rawValue: .cancelled,
  ]

  init(curl code: UInt32) { self = Self.byCurlCode[code] ?? .internalFault }
}
