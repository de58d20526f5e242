import CRabbitMQ

/// One frame from the broker, copied out of librabbitmq's buffers: what this driver acts upon.
enum AMQPFrame {
  case acknowledged(tag: UInt64, multiple: Bool)
  case notAcknowledged(tag: UInt64, multiple: Bool)
  /// A message that no queue takes; its header follows, then its body, then its acknowledgement.
  case returned(code: Int, text: String)
  case delivered(channel: UInt16, tag: UInt64, redelivered: Bool)
  case header(channel: UInt16, bodyBytes: UInt64, messageID: String?)
  case body(channel: UInt16, bytes: [UInt8])
  case consumerCancelled(channel: UInt16)
  case channelClosed(channel: UInt16, code: Int, text: String)
  case connectionClosed(code: Int, text: String)
  case blocked(reason: String)
  case unblocked
  /// Nothing to us: late answers, heartbeats.
  case other

  init(_ frame: amqp_frame_t) {
    switch Int32(frame.frame_type) {
    case AMQP_FRAME_METHOD: self = Self.method(frame.payload.method, channel: frame.channel)
    case AMQP_FRAME_HEADER:
      let properties = frame.payload.properties
      let basic = properties.decoded?.assumingMemoryBound(to: amqp_basic_properties_t.self).pointee
      let identified = basic.map { $0._flags & amqp_flags_t(AMQP_BASIC_MESSAGE_ID_FLAG) != 0 } ?? false
      self = .header(
        channel: frame.channel, bodyBytes: properties.body_size,
        messageID: identified ? basic.map { String(copying: $0.message_id) } : nil)
    case AMQP_FRAME_BODY:
      let fragment = frame.payload.body_fragment
      self = .body(
        channel: frame.channel, bytes: [UInt8](UnsafeRawBufferPointer(start: fragment.bytes, count: fragment.len)))
    default: self = .other
    }
  }

  private static func method(_ method: amqp_method_t, channel: UInt16) -> AMQPFrame {
    /// What `id` says that `decoded` points to.
    func decoded<T>(_ type: T.Type) -> T? { method.decoded?.assumingMemoryBound(to: type).pointee }
    switch method.id {
    case AMQP_BASIC_ACK_METHOD:
      return decoded(amqp_basic_ack_t.self).map {
        .acknowledged(tag: $0.delivery_tag, multiple: $0.multiple != 0)
      } ?? .other
    case AMQP_BASIC_NACK_METHOD:
      return decoded(amqp_basic_nack_t.self).map {
        .notAcknowledged(tag: $0.delivery_tag, multiple: $0.multiple != 0)
      } ?? .other
    case AMQP_BASIC_RETURN_METHOD:
      return decoded(amqp_basic_return_t.self).map {
        .returned(code: Int($0.reply_code), text: String(copying: $0.reply_text))
      } ?? .other
    case AMQP_BASIC_DELIVER_METHOD:
      return decoded(amqp_basic_deliver_t.self).map {
        .delivered(channel: channel, tag: $0.delivery_tag, redelivered: $0.redelivered != 0)
      } ?? .other
    case AMQP_BASIC_CANCEL_METHOD: return .consumerCancelled(channel: channel)
    case AMQP_CHANNEL_CLOSE_METHOD:
      return decoded(amqp_channel_close_t.self).map {
        .channelClosed(channel: channel, code: Int($0.reply_code), text: String(copying: $0.reply_text))
      } ?? .other
    case AMQP_CONNECTION_CLOSE_METHOD:
      return decoded(amqp_connection_close_t.self).map {
        .connectionClosed(code: Int($0.reply_code), text: String(copying: $0.reply_text))
      } ?? .other
    case AMQP_CONNECTION_BLOCKED_METHOD:
      return decoded(amqp_connection_blocked_t.self).map { .blocked(reason: String(copying: $0.reason)) } ?? .other
    case AMQP_CONNECTION_UNBLOCKED_METHOD: return .unblocked
    default: return .other
    }
  }
}

extension String {
  init(copying bytes: amqp_bytes_t) {
    self.init(decoding: UnsafeRawBufferPointer(start: bytes.bytes, count: bytes.len), as: UTF8.self)
  }
}
