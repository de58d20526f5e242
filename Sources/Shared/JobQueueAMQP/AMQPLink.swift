import CRabbitMQ
import Foundation

/// One librabbitmq connection, logged in: made, used and freed on one thread.
///
/// Reading never waits: `nextFrame` takes what has arrived. The calls that ask for an answer block
/// until it comes, at most `answerSeconds`; frames that arrive before it are kept by the library and
/// come out of `nextFrame` later, in order. After a fault that is not of a channel, the link is dead.
final class AMQPLink {
  private let state: amqp_connection_state_t
  private let configuration: AMQPConfiguration
  private var framesSinceRelease = 0

  /// The broker's own name for a channel's absence of limit is 0; this is enough for any executor.
  static let maxChannels: UInt16 = 2047

  init(_ configuration: AMQPConfiguration, purpose: String) throws(AMQPFault) {
    guard let state = amqp_new_connection() else { throw .library(AMQP_STATUS_NO_MEMORY) }
    self.state = state
    self.configuration = configuration
    // From here on, deinit frees what there is when this throws.
    guard let socket = amqp_tcp_socket_new(state) else { throw .library(AMQP_STATUS_NO_MEMORY) }
    var patience = timeval(configuration.answerSeconds)
    amqp_set_handshake_timeout(state, &patience)
    amqp_set_rpc_timeout(state, &patience)
    try Self.check(amqp_socket_open_noblock(socket, configuration.host, Int32(configuration.port), &patience))
    // Without these capabilities the broker says nothing when it deletes our queue or is short of memory.
    let properties: [(String, AMQPValue)] = [
      ("connection_name", .text("\(configuration.namePrefix) \(configuration.role.rawValue): \(purpose)")),
      ("capabilities", .table([("consumer_cancel_notify", .flag(true)), ("connection.blocked", .flag(true))])),
    ]
    let reply = withAMQPTable(properties) { table in
      var table = table
      return kiln_amqp_login_plain(
        state, configuration.vhost, Int32(Self.maxChannels), 131_072, Int32(configuration.heartbeatSeconds), &table,
        configuration.user, configuration.password)
    }
    try check(reply, channel: 0)
  }

  deinit { amqp_destroy_connection(state) }

  /// Says goodbye to the broker; a link that is only released makes it log a broken connection.
  func close() {
    var patience = timeval(1)
    amqp_set_rpc_timeout(state, &patience)
    _ = amqp_connection_close(state, AMQP_REPLY_SUCCESS)
  }

  var descriptor: Int32 { amqp_get_sockfd(state) }

  /// Whether the kernel takes more bytes without blocking us.
  var isWritable: Bool {
    var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    return poll(&entry, 1, 0) > 0
  }

  /// The next frame that has arrived, or nil. Sends a heartbeat when one is due, and throws when the
  /// broker's are missing.
  func nextFrame() throws(AMQPFault) -> AMQPFrame? {
    var frame = amqp_frame_t()
    var now = timeval(tv_sec: 0, tv_usec: 0)
    let status = amqp_simple_wait_frame_noblock(state, &frame, &now)
    if status == AMQP_STATUS_TIMEOUT.rawValue {
      amqp_maybe_release_buffers(state)
      framesSinceRelease = 0
      return nil
    }
    try Self.check(status)
    let result = AMQPFrame(frame)
    framesSinceRelease += 1
    if framesSinceRelease >= 256 {
      // A stream of frames without a pause would grow the library's buffers without end.
      amqp_maybe_release_buffers_on_channel(state, frame.channel)
      framesSinceRelease = 0
    }
    if case .connectionClosed(let code, let text) = result {
      sendConnectionCloseOK()
      throw .connection(code: code, text: text)
    }
    if case .channelClosed(let channel, _, _) = result { try sendChannelCloseOK(channel) }
    return result
  }

  // MARK: Channels and consumers

  func openChannel(_ channel: UInt16) throws(AMQPFault) {
    _ = amqp_channel_open(state, channel)
    try check(amqp_get_rpc_reply(state), channel: channel)
  }

  func closeChannel(_ channel: UInt16) throws(AMQPFault) {
    try check(amqp_channel_close(state, channel, AMQP_REPLY_SUCCESS), channel: channel)
  }

  func selectConfirms(_ channel: UInt16) throws(AMQPFault) {
    _ = amqp_confirm_select(state, channel)
    try check(amqp_get_rpc_reply(state), channel: channel)
  }

  func setPrefetchOne(_ channel: UInt16) throws(AMQPFault) {
    _ = amqp_basic_qos(state, channel, 0, 1, 0)
    try check(amqp_get_rpc_reply(state), channel: channel)
  }

  func consume(_ queue: String, on channel: UInt16, tag: String) throws(AMQPFault) {
    withBytes(queue) { queue in
      withBytes(tag) { tag in
        _ = amqp_basic_consume(state, channel, queue, tag, 0, 0, 0, amqp_empty_table)
      }
    }
    try check(amqp_get_rpc_reply(state), channel: channel)
  }

  func cancelConsumer(_ tag: String, on channel: UInt16) throws(AMQPFault) {
    withBytes(tag) { _ = amqp_basic_cancel(state, channel, $0) }
    try check(amqp_get_rpc_reply(state), channel: channel)
  }

  func acknowledge(_ tag: UInt64, on channel: UInt16) throws(AMQPFault) {
    try Self.check(amqp_basic_ack(state, channel, tag, 0))
  }

  func rejectForGood(_ tag: UInt64, on channel: UInt16) throws(AMQPFault) {
    try Self.check(amqp_basic_reject(state, channel, tag, 0))
  }

  // MARK: Topology

  func declareDirectExchange(_ name: String, on channel: UInt16) throws(AMQPFault) {
    withBytes(name) { name in
      withBytes("direct") { type in
        _ = amqp_exchange_declare(state, channel, name, type, 0, 1, 0, 0, amqp_empty_table)
      }
    }
    try check(amqp_get_rpc_reply(state), channel: channel)
  }

  func declareQueue(_ name: String, _ arguments: [(String, AMQPValue)], on channel: UInt16) throws(AMQPFault) {
    withBytes(name) { name in
      withAMQPTable(arguments) { _ = amqp_queue_declare(state, channel, name, 0, 1, 0, 0, $0) }
    }
    try check(amqp_get_rpc_reply(state), channel: channel)
  }

  func bind(_ queue: String, to exchange: String, key: String, on channel: UInt16) throws(AMQPFault) {
    withBytes(queue) { queue in
      withBytes(exchange) { exchange in
        withBytes(key) { _ = amqp_queue_bind(state, channel, queue, exchange, $0, amqp_empty_table) }
      }
    }
    try check(amqp_get_rpc_reply(state), channel: channel)
  }

  /// Passively declares: what is ready and how many consume.
  func look(at queue: String, on channel: UInt16) throws(AMQPFault) -> (messages: Int, consumers: Int) {
    let found = withBytes(queue) {
      amqp_queue_declare(state, channel, $0, 1, 1, 0, 0, amqp_empty_table)?.pointee
    }
    try check(amqp_get_rpc_reply(state), channel: channel)
    return (Int(found?.message_count ?? 0), Int(found?.consumer_count ?? 0))
  }

  /// Nothing happens if there is none.
  func deleteQueue(_ queue: String, on channel: UInt16) throws(AMQPFault) {
    withBytes(queue) { _ = amqp_queue_delete(state, channel, $0, 0, 0) }
    try check(amqp_get_rpc_reply(state), channel: channel)
  }

  func deleteUnusedExchange(_ exchange: String, on channel: UInt16) throws(AMQPFault) {
    withBytes(exchange) { _ = amqp_exchange_delete(state, channel, $0, 1) }
    try check(amqp_get_rpc_reply(state), channel: channel)
  }

  func purge(_ queue: String, on channel: UInt16) throws(AMQPFault) {
    withBytes(queue) { _ = amqp_queue_purge(state, channel, $0) }
    try check(amqp_get_rpc_reply(state), channel: channel)
  }

  // MARK: Publishing

  /// Writes one message: persistent, mandatory. Blocks only while the kernel's buffer is full; see
  /// `isWritable`.
  func publish(_ message: OutgoingMessage, on channel: UInt16) throws(AMQPFault) {
    let status = withBytes(message.exchange) { exchange in
      withBytes(message.routingKey) { key in
        withBytes(message.identifier) { identifier in
          message.body.withUnsafeBytes { body in
            var properties = amqp_basic_properties_t()
            properties._flags = amqp_flags_t(AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG)
            properties.delivery_mode = 2
            properties.message_id = identifier
            return amqp_basic_publish(state, channel, exchange, key, 1, 0, &properties, amqp_bytes_t(body))
          }
        }
      }
    }
    try Self.check(status)
  }

  // MARK: Faults

  private static func check(_ status: Int32) throws(AMQPFault) {
    if status != AMQP_STATUS_OK.rawValue { throw .library(status) }
  }

  private func check(_ reply: amqp_rpc_reply_t, channel: UInt16) throws(AMQPFault) {
    switch reply.reply_type {
    case AMQP_RESPONSE_NORMAL: return
    case AMQP_RESPONSE_SERVER_EXCEPTION:
      var frame = amqp_frame_t()
      frame.frame_type = UInt8(AMQP_FRAME_METHOD)
      frame.channel = channel
      frame.payload.method = reply.reply
      switch AMQPFrame(frame) {
      case .channelClosed(_, let code, let text):
        try sendChannelCloseOK(channel)
        throw .channel(code: code, text: text)
      case .connectionClosed(let code, let text):
        sendConnectionCloseOK()
        throw .connection(code: code, text: text)
      default: throw .library(AMQP_STATUS_WRONG_METHOD)
      }
    case AMQP_RESPONSE_LIBRARY_EXCEPTION: throw .library(reply.library_error)
    default: throw .library(AMQP_STATUS_CONNECTION_CLOSED)
    }
  }

  private func sendChannelCloseOK(_ channel: UInt16) throws(AMQPFault) {
    var answer = amqp_channel_close_ok_t()
    try Self.check(amqp_send_method(state, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &answer))
  }

  /// The connection is over either way.
  private func sendConnectionCloseOK() {
    var answer = amqp_connection_close_ok_t()
    _ = amqp_send_method(state, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &answer)
  }
}

private func withBytes<R>(_ text: String, _ body: (amqp_bytes_t) -> R) -> R {
  var text = text
  return text.withUTF8 { body(amqp_bytes_t(UnsafeRawBufferPointer($0))) }
}

extension amqp_bytes_t {
  /// The library takes a mutable pointer but does not write through it.
  fileprivate init(_ buffer: UnsafeRawBufferPointer) {
    self.init(len: buffer.count, bytes: UnsafeMutableRawPointer(mutating: buffer.baseAddress))
  }
}

extension timeval {
  fileprivate init(_ seconds: Double) {
    self.init(tv_sec: Int(seconds), tv_usec: Int((seconds - seconds.rounded(.down)) * 1_000_000))
  }
}
