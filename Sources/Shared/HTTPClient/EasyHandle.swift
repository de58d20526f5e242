internal import CCurl
import Foundation

/// One libcurl easy handle with its options, and their end.
final class EasyHandle {
  let raw: UnsafeMutableRawPointer
  private var list: UnsafeMutablePointer<curl_slist>?
  /// libcurl writes its reason here; it must outlive the handle.
  private let reason = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))

  init() throws {
    guard let raw = curl_easy_init() else { throw HTTPClientError(.internalFault, "libcurl gives no handle") }
    self.raw = raw
    reason[0] = 0
  }

  deinit {
    curl_easy_cleanup(raw)
    curl_slist_free_all(list)
    reason.deallocate()
  }

  var reasonText: String { String(cString: reason) }

  /// Sets everything that `transfer` asks for. The handle must not outlive it.
  func configure(for transfer: Transfer, settings: HTTPClient.Settings) throws {
    try check(kiln_curl_set_pointer(raw, CURLOPT_ERRORBUFFER, reason))
    try check(kiln_curl_set_long(raw, CURLOPT_NOSIGNAL, 1))
    try check(kiln_curl_leave_lookups(raw))
    try check(kiln_curl_only_http(raw))
    try check(kiln_curl_set_string(raw, CURLOPT_URL, transfer.request.url))
    try check(kiln_curl_set_long(raw, CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1)))
    try check(kiln_curl_set_string(raw, CURLOPT_USERAGENT, settings.userAgent))
    // What a proxy answers to CONNECT is not the response.
    try check(kiln_curl_set_long(raw, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1))
    if transfer.request.isLoopback { try check(kiln_curl_set_string(raw, CURLOPT_PROXY, "")) }
    if let file = settings.certificateAuthorityFile { try check(kiln_curl_set_string(raw, CURLOPT_CAINFO, file.path)) }
    try setLimits(transfer.limits, connectSeconds: settings.connectSeconds)
    try setMethod(transfer)
    try setHeaders(transfer.request.headers)
    try setCallbacks(transfer)
  }

  private func setLimits(_ limits: HTTPLimits, connectSeconds: Double) throws {
    try check(kiln_curl_set_long(raw, CURLOPT_CONNECTTIMEOUT_MS, milliseconds(connectSeconds)))
    if let seconds = limits.deadlineSeconds {
      try check(kiln_curl_set_long(raw, CURLOPT_TIMEOUT_MS, milliseconds(seconds)))
    }
    if let seconds = limits.stallSeconds {
      try check(kiln_curl_set_long(raw, CURLOPT_LOW_SPEED_LIMIT, 1))
      try check(kiln_curl_set_long(raw, CURLOPT_LOW_SPEED_TIME, max(1, Int(seconds.rounded(.up)))))
    }
  }

  private func milliseconds(_ seconds: Double) -> Int { max(1, Int(min(seconds, 1e6) * 1000)) }

  private func setMethod(_ transfer: Transfer) throws {
    // libcurl itself drops `Authorization` and `Cookie` where a redirect leads to another host.
    try check(kiln_curl_set_long(raw, CURLOPT_FOLLOWLOCATION, transfer.followsRedirects ? 1 : 0))
    try check(kiln_curl_set_long(raw, CURLOPT_MAXREDIRS, 5))
    let method = transfer.request.method
    if let size = transfer.bodySize {
      try check(kiln_curl_set_long(raw, CURLOPT_UPLOAD, 1))
      try check(kiln_curl_set_offset(raw, CURLOPT_INFILESIZE_LARGE, curl_off_t(size)))
      try check(kiln_curl_set_string(raw, CURLOPT_CUSTOMREQUEST, method))
    } else if method == "HEAD" {
      try check(kiln_curl_set_long(raw, CURLOPT_NOBODY, 1))
    } else if method == "POST" || method == "PUT" || method == "PATCH" {
      // These say the length of their empty body.
      try check(kiln_curl_set_long(raw, CURLOPT_POST, 1))
      try check(kiln_curl_set_offset(raw, CURLOPT_POSTFIELDSIZE_LARGE, 0))
      try check(kiln_curl_set_string(raw, CURLOPT_CUSTOMREQUEST, method))
    } else if method != "GET" {
      try check(kiln_curl_set_string(raw, CURLOPT_CUSTOMREQUEST, method))
    }
  }

  private func setHeaders(_ headers: HTTPHeaders) throws {
    // No body waits for an interim answer, and nothing is sent that the caller did not ask for.
    var lines = ["Expect:"]
    if headers["Content-Type"] == nil { lines.append("Content-Type:") }
    for field in headers.fields {
      lines.append(field.value.isEmpty ? "\(field.name);" : "\(field.name): \(field.value)")
    }
    for line in lines {
      guard let longer = curl_slist_append(list, line) else {
        throw HTTPClientError(.internalFault, "libcurl has no memory for a header")
      }
      list = longer
    }
    try check(kiln_curl_set_list(raw, CURLOPT_HTTPHEADER, list))
  }

  /// The pointers that libcurl keeps are unretained: the client holds transfer and handle together
  /// and removes the handle from its multi handle, on the same thread, before it drops either.
  private func setCallbacks(_ transfer: Transfer) throws {
    let context = Unmanaged.passUnretained(transfer).toOpaque()
    for option in [CURLOPT_WRITEDATA, CURLOPT_HEADERDATA, CURLOPT_READDATA, CURLOPT_SEEKDATA] {
      try check(kiln_curl_set_pointer(raw, option, context))
    }
    try check(
      kiln_curl_set_write(raw, CURLOPT_WRITEFUNCTION) { bytes, size, count, context in
        guard let transfer = Transfer.from(context) else { return 0 }
        switch transfer.receive(UnsafeRawBufferPointer(start: bytes, count: size * count)) {
        case .taken: return size * count
        case .paused: return Int(CURL_WRITEFUNC_PAUSE)
        case .refused: return size * count == 0 ? 1 : 0
        }
      })
    try check(
      kiln_curl_set_write(raw, CURLOPT_HEADERFUNCTION) { bytes, size, count, context in
        guard let transfer = Transfer.from(context) else { return 0 }
        return transfer.receiveHeader(UnsafeRawBufferPointer(start: bytes, count: size * count)) ? size * count : 0
      })
    try check(
      kiln_curl_set_write(raw, CURLOPT_READFUNCTION) { bytes, size, count, context in
        let buffer = UnsafeMutableRawBufferPointer(start: bytes, count: size * count)
        return Transfer.from(context)?.provide(buffer) ?? Int(CURL_READFUNC_ABORT)
      })
    try check(
      kiln_curl_set_seek(raw, CURLOPT_SEEKFUNCTION) { context, offset, origin in
        guard origin == 0, let transfer = Transfer.from(context) else { return CURL_SEEKFUNC_FAIL }
        transfer.rewind(to: Int64(offset))
        return CURL_SEEKFUNC_OK
      })
  }

  private func check(_ code: CURLcode) throws {
    guard code == CURLE_OK else {
      throw HTTPClientError(.internalFault, "libcurl refuses an option: \(String(cString: curl_easy_strerror(code)))")
    }
  }
}

extension Transfer {
  /// The transfer that `setCallbacks` registered; alive as long as its handle is in use, see there.
  fileprivate static func from(_ context: UnsafeMutableRawPointer?) -> Transfer? {
    context.map { Unmanaged<Transfer>.fromOpaque($0).takeUnretainedValue() }
  }
}
