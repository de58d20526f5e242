import JobQueue

/// What a connection knows of one slot: its channel, its consumer, its delivery.
struct ConsumerSlot {
  enum Stage {
    /// A consumer stands; it subscribes again at `renewSeconds` if nothing came.
    case consuming(renewSeconds: Double)
    /// To subscribe from `dueSeconds` on, once the delivery in hand is done.
    case unsubscribed(dueSeconds: Double)
  }

  struct Incoming {
    var tag: UInt64
    var redelivered: Bool
    /// Known with the header.
    var bodyBytes: UInt64?
    var received: UInt64 = 0
    var body: [UInt8] = []
  }

  /// Ours are below 200 bytes. What is longer is cut, and so cannot be read and is rejected; the
  /// broker's dead-letter queue still gets all of it.
  static let maxBodyBytes = 1 << 20

  let queue: String
  let channel: UInt16
  /// Whether a queue that is not there is waited for; or else the slot's user is told, who can make it.
  let isPatient: Bool
  let mailbox = SlotMailbox()
  var stage = Stage.unsubscribed(dueSeconds: 0)
  var isChannelOpen = false
  /// Which opening of a channel the deliveries are from.
  var epoch = 0
  /// The delivery that the broker waits for us to acknowledge.
  private(set) var held: UInt64?
  private var incoming: Incoming?

  init(queue: String, channel: UInt16, isPatient: Bool) {
    self.queue = queue
    self.isPatient = isPatient
    self.channel = channel
  }

  /// Subscribing now would bring a second delivery while the first is worked on.
  var isBusy: Bool { held != nil || mailbox.isOrphaned }

  // MARK: A delivery's frames

  mutating func begin(tag: UInt64, redelivered: Bool) {
    guard isChannelOpen else { return }
    held = tag
    incoming = Incoming(tag: tag, redelivered: redelivered)
  }

  mutating func header(bodyBytes: UInt64) {
    incoming?.bodyBytes = bodyBytes
    deliverIfComplete()
  }

  mutating func body(_ bytes: [UInt8]) {
    guard let present = incoming?.body.count else { return }
    incoming?.received += UInt64(bytes.count)
    incoming?.body.append(contentsOf: bytes.prefix(Self.maxBodyBytes - present))
    deliverIfComplete()
  }

  private mutating func deliverIfComplete() {
    guard let incoming, let bodyBytes = incoming.bodyBytes, incoming.received >= bodyBytes else { return }
    self.incoming = nil
    mailbox.put(
      Delivery(tag: incoming.tag, epoch: epoch, body: incoming.body, redelivered: incoming.redelivered))
  }

  // MARK: Ends

  /// The slot's task is done with `delivery`; true if the broker must be told.
  mutating func finish(_ delivery: Delivery) -> Bool {
    guard delivery.epoch == epoch else { return false }
    mailbox.endOrphan()
    guard held == delivery.tag else { return false }
    held = nil
    return true
  }

  /// The channel is gone, with the delivery: the broker gives it to somebody else.
  mutating func channelEnded(dueSeconds: Double) {
    isChannelOpen = false
    if held != nil { mailbox.loseDelivery() }
    held = nil
    incoming = nil
    stage = .unsubscribed(dueSeconds: dueSeconds)
  }
}
