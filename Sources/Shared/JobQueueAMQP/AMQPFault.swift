import CRabbitMQ
import JobQueue

/// What went wrong, as the protocol says it.
enum AMQPFault: Error, Hashable {
  /// librabbitmq's status; the connection is of no use any more.
  case library(Int32)
  /// The broker closed the connection.
  case connection(code: Int, text: String)
  /// The broker closed the channel.
  case channel(code: Int, text: String)

  /// Whether the connection goes on.
  var isOfChannel: Bool {
    if case .channel = self { true } else { false }
  }

  static let noSuchQueue = 404

  var isMissingQueue: Bool {
    if case .channel(code: Self.noSuchQueue, _) = self { true } else { false }
  }

  /// The one table from foreign codes to ours. Reply codes: AMQP 0-9-1, section 1.2.1.
  func error(_ configuration: AMQPConfiguration) -> QueueError {
    let broker = "the broker at \(configuration.host):\(configuration.port)"
    let identity = "user '\(configuration.user)' on vhost '\(configuration.vhost)'"
    switch self {
    case .library(let status):
      let reason = amqp_error_string2(status).map { String(cString: $0) } ?? "status \(status)"
      switch status {
      case AMQP_STATUS_BROKER_UNSUPPORTED_SASL_METHOD.rawValue, AMQP_STATUS_INCOMPATIBLE_AMQP_VERSION.rawValue,
        AMQP_STATUS_BAD_AMQP_DATA.rawValue:
        return QueueError(
          .refused, "\(broker) does not speak our AMQP: \(reason)", hint: "Is it the port for AMQP 0-9-1?")
      default:
        return QueueError(
          .unavailable, "no connection to \(broker): \(reason)", hint: "Is it running, and reachable from here?")
      }
    case .connection(let code, let text):
      switch code {
      case 403:
        return QueueError(.refused, "\(broker) refuses \(identity): \(text)", hint: "Check the user and its password")
      case 402, 530:
        return QueueError(
          .refused, "\(broker) refuses \(identity): \(text)",
          hint:
            "Does the vhost exist, and may the user enter it? See 'rabbitmqctl list_permissions -p \(configuration.vhost)'"
        )
      case 501...505, 540:
        return QueueError(.refused, "\(broker) does not understand us: \(code) \(text)")
      default:
        return QueueError(.unavailable, "\(broker) closed the connection: \(code) \(text)")
      }
    case .channel(let code, let text):
      switch code {
      case 403:
        return QueueError(
          .refused, "\(broker) denies a right to \(identity): \(text)",
          hint: "See 'rabbitmqctl list_permissions -p \(configuration.vhost)'; "
            + "coordinators configure, write and read '\(configuration.namePrefix)\\..*', executors read their queue")
      case 405, 406:
        return QueueError(
          .refused, "\(broker) refuses: \(text)",
          hint: "If a queue exists with other arguments, delete it once it is empty: it is made anew")
      case 501...505, 530, 540:
        return QueueError(.refused, "\(broker) does not understand us: \(code) \(text)")
      default:
        return QueueError(.unavailable, "\(broker): \(code) \(text)")
      }
    }
  }
}

extension AMQPFault {
  static func library(_ status: amqp_status_enum) -> AMQPFault { .library(status.rawValue) }
}
