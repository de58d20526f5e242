import CPostgres
import RecordStore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// The owner of one libpq connection. Stays on one thread; every call blocks, up to its deadline.
final class PostgresHandle {
  private let connection: OpaquePointer
  /// Nothing can be sent or received any more: let go of the handle.
  private(set) var isLost = false

  /// Connects to the first host that takes writes.
  static func connect(_ configuration: PostgresConfiguration) throws -> PostgresHandle {
    var errors: [StoreError] = []
    for host in configuration.hosts {
      var parameters = configuration.parameters
      if let host {
        parameters.append(("host", host.name))
        if let port = host.port { parameters.append(("port", port)) }
      }
      do {
        return try PostgresHandle(parameters, timeoutSeconds: configuration.connectTimeoutSeconds)
      } catch let error as StoreError {
        errors.append(error)
      }
    }
    throw StoreError(errors.last?.code ?? .unavailable, errors.map(\.message).joined(separator: "; "))
  }

  private init(_ parameters: [(keyword: String, value: String)], timeoutSeconds: Double) throws {
    let keywords = CStrings(parameters.map(\.keyword))
    let values = CStrings(parameters.map(\.value))
    guard let connection = PQconnectStartParams(keywords.pointers, values.pointers, 0) else {
      throw StoreError(.unavailable, "no memory for a connection")
    }
    // From here on `deinit` frees it, also when this throws.
    self.connection = connection
    // Otherwise the library prints the server's notices to standard error.
    PQsetNoticeReceiver(connection, { _, _ in }, nil)
    // So that a refusal carries its SQLSTATE.
    PQsetErrorVerbosity(connection, PQERRORS_VERBOSE)
    let deadline = Deadline(seconds: timeoutSeconds)
    var polling = PGRES_POLLING_WRITING
    while PQstatus(connection) != CONNECTION_BAD, polling != PGRES_POLLING_OK, polling != PGRES_POLLING_FAILED {
      guard wait(polling == PGRES_POLLING_READING ? POLLIN : POLLOUT, until: deadline) else {
        throw StoreError(.unavailable, "no connection within \(timeoutSeconds) s: \(place)")
      }
      polling = PQconnectPoll(connection)
    }
    guard PQstatus(connection) == CONNECTION_OK, polling == PGRES_POLLING_OK else {
      if PQconnectionNeedsPassword(connection) != 0 {
        throw StoreError(.refused, "the store asks for a password and none was given: \(place)")
      }
      throw PostgresErrors.connectError(String(cString: PQerrorMessage(connection)))
    }
  }

  deinit { PQfinish(connection) }

  /// For `poll`; changes only by a new connection.
  var descriptor: Int32 { PQsocket(connection) }

  private var place: String {
    "\(PQhost(connection).map { String(cString: $0) } ?? ""):\(PQport(connection).map { String(cString: $0) } ?? "")"
  }

  /// Runs statements without arguments and returns the last one's command tag.
  @discardableResult
  func command(_ statements: String, timeoutSeconds: Double) throws -> String {
    guard PQsendQuery(connection, statements) == 1 else { throw lost() }
    return try finish(timeoutSeconds, of: statements).command
  }

  /// Runs one statement. Integers are sent as bigint, bytes as bytea, and the server finds out what a
  /// text or a null is.
  func query(_ statement: String, _ arguments: [SQLValue], timeoutSeconds: Double) throws -> [SQLRow] {
    var bytes: [UInt8] = []
    var places: [(start: Int, count: Int, type: Oid, isBinary: Bool)?] = []
    for argument in arguments {
      let start = bytes.count
      switch argument {
      case .null: places.append(nil)
      case .text(let text):
        bytes += text.utf8
        places.append((start, bytes.count - start, 0, false))
      case .integer(let integer):
        bytes += "\(integer)".utf8
        places.append((start, bytes.count - start, 20, false))
      case .bytes(let data):
        bytes += data
        places.append((start, bytes.count - start, 17, true))
      }
      bytes.append(0)
    }
    let sent = bytes.withUnsafeBytes { buffer in
      let base = buffer.baseAddress?.assumingMemoryBound(to: CChar.self)
      return PQsendQueryParams(
        connection, statement, Int32(places.count), places.map { $0?.type ?? 0 },
        places.map { place in place.flatMap { place in base.map { $0 + place.start } } },
        places.map { Int32($0?.count ?? 0) }, places.map { $0?.isBinary == true ? 1 : 0 }, 0)
    }
    guard sent == 1 else { throw lost() }
    return try finish(timeoutSeconds, of: statement).rows()
  }

  /// Announced topics that have arrived. Does not block.
  func takeNotifications() throws -> [String] {
    guard PQconsumeInput(connection) == 1 else { throw lost() }
    var topics: [String] = []
    while let notification = PQnotifies(connection) {
      topics.append(String(cString: notification.pointee.extra))
      PQfreemem(notification)
    }
    return topics
  }

  private func finish(_ timeoutSeconds: Double, of statement: String) throws -> PostgresResult {
    let deadline = Deadline(seconds: timeoutSeconds)
    var last: PostgresResult?
    var failure: StoreError?
    while true {
      while PQisBusy(connection) != 0 {
        guard wait(POLLIN, until: deadline) else {
          isLost = true
          throw StoreError(.unavailable, "no answer from the store within \(timeoutSeconds) s")
        }
        guard PQconsumeInput(connection) == 1 else { throw lost(after: failure) }
      }
      guard let pointer = PQgetResult(connection) else { break }
      let result = PostgresResult(pointer)
      if result.isGood {
        last = consume result
        continue
      }
      failure = failure ?? error(result, statement)
      // A copy would wait for data for ever, and no statement of ours is one.
      if result.sqlState == nil {
        isLost = true
        break
      }
    }
    if PQstatus(connection) == CONNECTION_BAD { isLost = true }
    if let failure { throw failure }
    guard let last else { throw StoreError(.statement, "the store gave no result for: \(statement.prefix(200))") }
    return last
  }

  private func error(_ result: borrowing PostgresResult, _ statement: String) -> StoreError {
    guard let state = result.sqlState else {
      return StoreError(PQstatus(connection) == CONNECTION_BAD ? .unavailable : .statement, trimmed(result.message))
    }
    let meaning = PostgresErrors.meaning(state)
    if meaning.endsConnection { isLost = true }
    let place = meaning.code == .statement || meaning.code == .schema ? " in: \(statement.prefix(200))" : ""
    return PostgresErrors.error(state, result.message + place)
  }

  private func lost(after failure: StoreError? = nil) -> StoreError {
    isLost = true
    let reason = trimmed(String(cString: PQerrorMessage(connection)))
    return failure ?? StoreError(.unavailable, "the connection to the store was lost: \(reason)")
  }

  private func trimmed(_ text: String) -> String { text.split(separator: "\n").joined(separator: " ") }

  /// Whether the socket became ready in time.
  private func wait(_ events: Int32, until deadline: Deadline) -> Bool {
    while true {
      var descriptor = pollfd(fd: PQsocket(connection), events: Int16(events), revents: 0)
      let found = poll(&descriptor, 1, deadline.milliseconds)
      if found > 0 { return true }
      if found == 0 || errno != EINTR { return false }
    }
  }

  /// On the real clock, as `poll` is.
  private struct Deadline {
    private let end: ContinuousClock.Instant
    init(seconds: Double) { end = .now.advanced(by: .seconds(seconds)) }
    var milliseconds: Int32 {
      let left = ContinuousClock.now.duration(to: end) / .milliseconds(1)
      return Int32(max(0, min(left.rounded(.up), Double(Int32.max))))
    }
  }

  /// A list of C strings that ends with a null, as long as the object lives.
  private final class CStrings {
    private let copies: [UnsafeMutablePointer<CChar>?]
    var pointers: [UnsafePointer<CChar>?] { copies.map { $0.map { UnsafePointer($0) } } }
    init(_ texts: [String]) { copies = texts.map { strdup($0) } + [nil] }
    deinit { for copy in copies { free(copy) } }
  }
}
