import Foundation
import JobQueue

/// Where the broker is, who we are there, and within what bounds. Immutable once made.
package struct AMQPConfiguration: Sendable, CustomStringConvertible {
  package enum Role: String, Sendable {
    /// Makes queues, publishes, reads dead letters.
    case coordinator
    /// Reads its pool's queue and configures nothing.
    case executor
  }

  package let host: String
  package let port: Int
  package let user: String
  package let vhost: String
  package let role: Role
  /// Of every exchange and queue: `<prefix>.jobs`, `<prefix>.jobs.<pool>.v1`, ….
  package let namePrefix: String
  package var heartbeatSeconds = 10
  /// For the TCP connection, for the login, and for each answer.
  package var answerSeconds = 5.0
  /// Of a source queue; further messages are returned. Fixed when the queue is made.
  package var maxQueueMessages = 100_000
  /// Of a source queue: how often the broker delivers a message before it becomes a dead letter. A
  /// backstop: attempts are counted in the store. Fixed when the queue is made.
  package var deliveryLimit = 100
  package var maxUnconfirmed = 4096
  /// A consumer to which nothing came for so long subscribes again.
  package var idleResubscribeSeconds = 30.0

  /// Out of every description and log.
  let password: String

  /// - Parameters:
  ///   - url: `amqp://user@host:port/vhost`, percent-encoded; port 5672, user `guest` and vhost `/` are
  ///     the defaults.
  ///   - password: takes precedence over one in the URL.
  /// - Throws: `QueueError` with code `refused` for a URL that means nothing.
  package init(url: String, password: String? = nil, role: Role, namePrefix: String = "kiln") throws {
    // Never the URL itself in a message: there may be a password in it.
    guard let parts = URLComponents(string: url), let scheme = parts.scheme, let host = parts.host, !host.isEmpty else {
      throw QueueError(.refused, "the broker's URL cannot be read", hint: "It has the form amqp://user@host:5672/vhost")
    }
    guard scheme == "amqp" else {
      throw QueueError(.refused, "the broker's URL begins with \(scheme)://", hint: "Only amqp:// is understood")
    }
    // The URL's path without its slash is the vhost, and `%2f` in it is a slash of the name.
    let path = parts.percentEncodedPath.dropFirst()
    guard let vhost = path.isEmpty ? "/" : String(path).removingPercentEncoding, !vhost.utf8.contains(0) else {
      throw QueueError(.refused, "the vhost in the broker's URL is not valid percent-encoding")
    }
    // Queue names must fit 255 bytes with a pool's 63.
    guard (1...100).contains(namePrefix.utf8.count) else {
      throw QueueError(.refused, "the prefix of queue names must have 1 to 100 bytes")
    }
    self.host = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
    self.port = parts.port ?? 5672
    self.user = parts.user ?? "guest"
    self.password = password ?? parts.password ?? "guest"
    self.vhost = vhost
    self.role = role
    self.namePrefix = namePrefix
  }

  package var description: String { "amqp://\(user)@\(host):\(port), vhost '\(vhost)', as \(role.rawValue)" }
}
