import BlockingThread
import JobQueue
import Logging
import Model

/// The connection that consumes: a channel, a prefetch of one and a standing consumer per slot; and
/// one channel more for what coordinators ask and declare.
///
/// It connects when the first slot opens or something is asked, and again while there are slots.
actor ConsumerConnection {
  static let adminChannel: UInt16 = 1
  private static let consumerTag = "slot"
  /// Subscribing within a moment of a queue's loss can leave a consumer deaf.
  static let lossPauseSeconds = 1.0

  private let thread = BlockingThread(name: "amqp-consume")
  private var keeper: LinkKeeper
  /// By channel.
  private var slots: [UInt16: ConsumerSlot] = [:]
  private var isAdminChannelOpen = false
  private var epochs = 0
  private var isClosed = false

  nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  init(_ configuration: AMQPConfiguration, effects: Effects, logger: Logger) {
    keeper = LinkKeeper(configuration: configuration, purpose: "consume", effects: effects, logger: logger)
  }

  // On the thread, where the link must be freed.
  isolated deinit { keeper.close() }

  // MARK: Slots

  /// Opens a slot and, if the broker is in reach, its consumer; throws what the broker refuses.
  func openSlot(on queue: String, isPatient: Bool) throws -> (channel: UInt16, mailbox: SlotMailbox) {
    guard !isClosed else { throw QueueError.queueClosed }
    let first = Self.adminChannel + 1
    guard let channel = (first...AMQPLink.maxChannels).first(where: { slots[$0] == nil }) else {
      throw QueueError(.refused, "more than \(slots.count) slots on one connection")
    }
    if keeper.link == nil, keeper.dueSeconds <= keeper.now { try? connect() }
    if keeper.link == nil, keeper.lastError.code == .refused { throw keeper.lastError }
    let slot = ConsumerSlot(queue: queue, channel: channel, isPatient: isPatient)
    slots[channel] = slot
    serve()
    if let refusal = slot.mailbox.takeError() {
      closeSlot(channel, slot.mailbox)
      throw refusal
    }
    return (channel, slot.mailbox)
  }

  /// - Parameter mailbox: whose slot it is; the channel may be another's by now.
  func closeSlot(_ channel: UInt16, _ mailbox: SlotMailbox) {
    guard let slot = slots[channel], slot.mailbox === mailbox else { return }
    mailbox.close()
    // Which ends every slot whose mailbox is closed.
    serve()
    // Without a link there was nothing to end.
    if slots[channel]?.mailbox === mailbox { slots[channel] = nil }
  }

  func acknowledge(_ delivery: Delivery, _ channel: UInt16, _ mailbox: SlotMailbox) {
    finish(delivery, channel, mailbox) { link throws(AMQPFault) in try link.acknowledge(delivery.tag, on: channel) }
  }

  func reject(_ delivery: Delivery, _ channel: UInt16, _ mailbox: SlotMailbox) {
    finish(delivery, channel, mailbox) { link throws(AMQPFault) in try link.rejectForGood(delivery.tag, on: channel) }
  }

  private func finish(
    _ delivery: Delivery, _ channel: UInt16, _ mailbox: SlotMailbox, _ tell: (AMQPLink) throws(AMQPFault) -> Void
  ) {
    guard slots[channel]?.mailbox === mailbox else { return }
    guard slots[channel]?.finish(delivery) == true else { return serve() }
    if case .consuming = slots[channel]?.stage { slots[channel]?.stage = .consuming(renewSeconds: nextRenewal()) }
    withLink(tell)
    if case .unsubscribed = slots[channel]?.stage { serve() }
  }

  /// The slot's task waits for its next delivery: it is done with the one it lost.
  func letGo(_ channel: UInt16, _ mailbox: SlotMailbox) {
    mailbox.endOrphan()
    serve()
  }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    thread.stopWatching()
    for channel in slots.keys.sorted() { slots[channel]?.mailbox.close() }
    slots = [:]
    keeper.close()
  }

  // MARK: Questions and declarations

  /// Does `work` on a channel apart from the slots'. It blocks this thread until the broker answers.
  func withAdminChannel<R: Sendable>(_ work: (AMQPLink, UInt16) throws(AMQPFault) -> R) throws -> R {
    guard !isClosed else { throw QueueError.queueClosed }
    if keeper.link == nil {
      guard keeper.dueSeconds <= keeper.now else { throw keeper.lastError }
      try connect()
    }
    guard let link = keeper.link else { throw keeper.lastError }
    defer { serve() }
    do throws(AMQPFault) {
      if !isAdminChannelOpen { try link.openChannel(Self.adminChannel) }
      isAdminChannelOpen = true
      return try work(link, Self.adminChannel)
    } catch {
      if error.isOfChannel { isAdminChannelOpen = false } else { lost(error) }
      throw error
    }
  }

  // MARK: The thread's turn

  /// All there is to do now; called when something arrived or was asked, or time is up.
  private func serve() {
    guard !isClosed else { return }
    if keeper.link == nil, !slots.isEmpty, keeper.dueSeconds <= keeper.now { try? connect() }
    withLink { link throws(AMQPFault) in
      try read(link)
      for channel in slots.keys.sorted() { try tend(channel, link) }
      // What those calls waited past.
      try read(link)
    }
    arm()
  }

  private func arm() {
    let reconnect = keeper.link == nil && !slots.isEmpty ? keeper.dueSeconds : nil
    let soonest = keeper.link == nil ? nil : slots.values.compactMap(\.dueSeconds).min()
    guard let timeout = keeper.timeoutMilliseconds(reconnect, soonest) else { return thread.stopWatching() }
    thread.watch(keeper.link?.descriptor, timeoutMilliseconds: timeout) { [weak self] in
      self?.assumeIsolated { $0.serve() }
    }
  }

  private func connect() throws(QueueError) {
    do {
      _ = try keeper.connect()
    } catch {
      if error.code == .refused { for slot in slots.values { slot.mailbox.fail(error) } }
      throw error
    }
  }

  /// `work` on the link, if there is one; a fault ends it.
  private func withLink(_ work: (AMQPLink) throws(AMQPFault) -> Void) {
    guard let link = keeper.link else { return }
    do throws(AMQPFault) { try work(link) } catch { lost(error) }
  }

  private func lost(_ fault: AMQPFault) {
    keeper.lose(fault)
    isAdminChannelOpen = false
    for channel in slots.keys { slots[channel]?.channelEnded(dueSeconds: 0) }
  }

  private func read(_ link: AMQPLink) throws(AMQPFault) {
    while let frame = try link.nextFrame() {
      switch frame {
      case .delivered(let channel, let tag, let redelivered):
        slots[channel]?.begin(tag: tag, redelivered: redelivered)
      case .header(let channel, let bodyBytes, _): slots[channel]?.header(bodyBytes: bodyBytes)
      case .body(let channel, let bytes): slots[channel]?.body(bytes)
      case .consumerCancelled(let channel):
        keeper.logger.warning("the broker cancelled a consumer", metadata: ["queue": "\(slots[channel]?.queue ?? "")"])
        slots[channel]?.stage = .unsubscribed(dueSeconds: afterLoss())
      case .channelClosed(Self.adminChannel, _, _): isAdminChannelOpen = false
      case .channelClosed(let channel, let code, let text):
        keeper.logger.warning(
          "the broker closed a slot's channel",
          metadata: ["queue": "\(slots[channel]?.queue ?? "")", "code": "\(code)", "error": "\(text)"])
        slots[channel]?.channelEnded(dueSeconds: afterLoss())
      case .acknowledged, .notAcknowledged, .returned, .connectionClosed, .blocked, .unblocked, .other: break
      }
    }
  }

  // MARK: Subscribing

  private func tend(_ channel: UInt16, _ link: AMQPLink) throws(AMQPFault) {
    guard let slot = slots[channel] else { return }
    guard !slot.mailbox.isClosed else { return try end(channel, link) }
    guard let due = slot.dueSeconds, due <= keeper.now else { return }
    do throws(AMQPFault) {
      if case .consuming = slot.stage {
        try link.cancelConsumer(Self.consumerTag, on: channel)
        slots[channel]?.stage = .unsubscribed(dueSeconds: keeper.now)
        // It may have delivered meanwhile: then the next consumer waits for that to be done.
        try read(link)
        if slots[channel]?.isBusy != false { return }
      }
      try subscribe(channel, link)
    } catch  where error.isOfChannel {
      subscriptionFailed(channel, error)
    }
  }

  private func end(_ channel: UInt16, _ link: AMQPLink) throws(AMQPFault) {
    guard let slot = slots.removeValue(forKey: channel), slot.isChannelOpen else { return }
    do throws(AMQPFault) {
      try link.closeChannel(channel)
    } catch  where error.isOfChannel {}
    // What the library kept for this channel must not reach the next slot on it.
    try read(link)
  }

  private func subscribe(_ channel: UInt16, _ link: AMQPLink) throws(AMQPFault) {
    guard let slot = slots[channel] else { return }
    if !slot.isChannelOpen {
      try link.openChannel(channel)
      epochs += 1
      slots[channel]?.epoch = epochs
      slots[channel]?.isChannelOpen = true
      try link.setPrefetchOne(channel)
    }
    try link.consume(slot.queue, on: channel, tag: Self.consumerTag)
    slots[channel]?.stage = .consuming(renewSeconds: nextRenewal())
  }

  private func subscriptionFailed(_ channel: UInt16, _ fault: AMQPFault) {
    let error = fault.error(keeper.configuration)
    // A queue that nobody has made yet is waited for.
    let patience = fault.isMissingQueue ? 0 : Reconnect.maxDelaySeconds * keeper.effects.random.fraction()
    slots[channel]?.channelEnded(dueSeconds: afterLoss() + patience)
    let isTold = fault.isMissingQueue && slots[channel]?.isPatient == false
    if error.code == .refused || isTold { slots[channel]?.mailbox.fail(error) }
    keeper.logger.notice(
      "cannot subscribe", metadata: ["queue": "\(slots[channel]?.queue ?? "")", "error": "\(error.message)"])
  }

  private func afterLoss() -> Double { keeper.now + Self.lossPauseSeconds * (1 + keeper.effects.random.fraction()) }

  private func nextRenewal() -> Double {
    keeper.now + keeper.configuration.idleResubscribeSeconds * (1 - keeper.effects.random.fraction() / 4)
  }
}

extension ConsumerSlot {
  /// When the connection must act on the slot; nil while it is busy.
  fileprivate var dueSeconds: Double? {
    switch stage {
    case .consuming(let renewSeconds): held == nil ? renewSeconds : nil
    case .unsubscribed(let dueSeconds): isBusy ? nil : dueSeconds
    }
  }
}
