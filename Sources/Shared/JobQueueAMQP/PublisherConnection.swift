import BlockingThread
import JobQueue
import Logging
import Model

/// The connection that publishes: one channel with confirms. Batches are written one after the other
/// without a hop between messages, up to `maxUnconfirmed` ahead of the broker's answers.
///
/// It connects when there is something to publish, and again while there still is.
actor PublisherConnection {
  private static let channel: UInt16 = 1
  /// Messages written before what has arrived is looked at.
  private static let messagesPerTurn = 64

  private let thread = BlockingThread(name: "amqp-publish")
  private var keeper: LinkKeeper
  private var isChannelOpen = false
  private var ledger = ConfirmLedger<(batch: PublishBatch, index: Int)>()
  /// Not over yet, in the order of arrival.
  private var batches: [PublishBatch] = []
  /// Those with messages to write, and the next one's index.
  private var unwritten: [(batch: PublishBatch, next: Int)] = []
  /// Why messages are returned at this moment: the message itself follows in the next frames.
  private var returnReason: String?
  /// The broker's reason for taking nothing now.
  private var blockedReason: String?
  private var isClosed = false

  nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  init(_ configuration: AMQPConfiguration, effects: Effects, logger: Logger) {
    keeper = LinkKeeper(configuration: configuration, purpose: "publish", effects: effects, logger: logger)
  }

  // On the thread, where the link must be freed.
  isolated deinit { keeper.close() }

  /// Takes the batch; its outcomes come through it.
  func submit(_ batch: PublishBatch) {
    guard !isClosed else { return batch.giveUp(.queueClosed) }
    batches.append(batch)
    unwritten.append((batch, 0))
    serve()
  }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    thread.stopWatching()
    keeper.close()
    for batch in batches { batch.giveUp(.queueClosed) }
    batches = []
    unwritten = []
  }

  /// All there is to do now; called when something arrived, something is to be sent or time is up.
  private func serve() {
    guard !isClosed else { return }
    expire()
    if keeper.link == nil, !batches.isEmpty, keeper.dueSeconds <= keeper.now { connect() }
    var wantsToWrite = false
    if let link = keeper.link {
      do throws(AMQPFault) {
        try read(link)
        if !isChannelOpen { try open(link) }
        wantsToWrite = try write(link)
      } catch {
        lost(error)
      }
    }
    batches.removeAll(where: \.isOver)
    arm(wantsToWrite: wantsToWrite)
  }

  private func arm(wantsToWrite: Bool) {
    let deadline = batches.map(\.deadlineSeconds).min()
    let reconnect = keeper.link == nil && !batches.isEmpty ? keeper.dueSeconds : nil
    guard let timeout = keeper.timeoutMilliseconds(deadline, reconnect) else { return thread.stopWatching() }
    thread.watch(keeper.link?.descriptor, forWriting: wantsToWrite, timeoutMilliseconds: timeout) { [weak self] in
      self?.assumeIsolated { $0.serve() }
    }
  }

  private func expire() {
    let now = keeper.now
    for batch in batches where batch.deadlineSeconds <= now {
      if let blockedReason {
        batch.giveUp(QueueError(.unavailable, "the broker takes no messages now: \(blockedReason)"))
      } else if keeper.link == nil {
        batch.giveUp(keeper.lastError)
      } else {
        batch.giveUp(QueueError(.unavailable, "the broker did not take the messages before the deadline"))
      }
    }
  }

  // MARK: Connecting

  private func connect() {
    do {
      _ = try keeper.connect { link throws(AMQPFault) in try open(link) }
    } catch {
      // Nobody waits for a try that comes too late, or changes nothing.
      for batch in batches where error.code == .refused || batch.deadlineSeconds <= keeper.dueSeconds {
        batch.giveUp(error)
      }
    }
  }

  private func open(_ link: AMQPLink) throws(AMQPFault) {
    try link.openChannel(Self.channel)
    try link.selectConfirms(Self.channel)
    ledger = ConfirmLedger()
    returnReason = nil
    isChannelOpen = true
  }

  private func lost(_ fault: AMQPFault) {
    keeper.lose(fault)
    blockedReason = nil
    endChannel(.unknown)
  }

  /// The broker will not answer for what it has not answered for yet.
  private func endChannel(_ outcome: PublishOutcome) {
    isChannelOpen = false
    for (batch, index) in ledger.open { batch.settle(index, outcome) }
    ledger = ConfirmLedger()
  }

  // MARK: Reading and writing

  private func read(_ link: AMQPLink) throws(AMQPFault) {
    while let frame = try link.nextFrame() {
      switch frame {
      case .acknowledged(let tag, let multiple):
        ledger.settle(tag, multiple: multiple, taken: true) { $0.batch.settle($0.index, $1) }
      case .notAcknowledged(let tag, let multiple):
        ledger.settle(tag, multiple: multiple, taken: false) { $0.batch.settle($0.index, $1) }
      case .returned(let code, let text):
        returnReason = code == 312 ? "there is no queue for it" : "\(code) \(text)"
      case .header(_, _, let messageID):
        if let messageID, let returnReason { ledger.returned(messageID, reason: returnReason) }
        returnReason = nil
      case .channelClosed(_, let code, let text): channelClosed(.channel(code: code, text: text))
      case .blocked(let reason):
        blockedReason = reason
        keeper.logger.warning("the broker takes no messages", metadata: ["reason": "\(reason)"])
      case .unblocked:
        blockedReason = nil
        keeper.logger.notice("the broker takes messages again")
      case .body, .delivered, .consumerCancelled, .connectionClosed, .other: break
      }
    }
  }

  private func channelClosed(_ fault: AMQPFault) {
    let error = fault.error(keeper.configuration)
    keeper.logger.warning("the broker closed the channel for publishing", metadata: ["error": "\(error.message)"])
    switch fault {
    // No such exchange, or no right to write to it: nothing was taken.
    case .channel(code: 403, _), .channel(code: 404, _): endChannel(.returned(error.message))
    default: endChannel(.unknown)
    }
  }

  /// Writes as much as the broker and the kernel take now; true if the kernel's buffer is what
  /// stopped it.
  private func write(_ link: AMQPLink) throws(AMQPFault) -> Bool {
    while isChannelOpen, blockedReason == nil, let (batch, first) = unwritten.first {
      if batch.isOver {
        unwritten.removeFirst()
        continue
      }
      let room = keeper.configuration.maxUnconfirmed - ledger.count
      guard room > 0 else { return false }
      guard link.isWritable else { return true }
      let end = min(first + min(room, Self.messagesPerTurn), batch.messages.count)
      for index in first..<end {
        let message = batch.messages[index]
        // Before it is written: if that fails in the middle, its fate is unknown.
        batch.wrote(index)
        ledger.sent(message.identifier, (batch, index))
        unwritten[0].next = index + 1
        try link.publish(message, on: Self.channel)
      }
      if end == batch.messages.count { unwritten.removeFirst() }
      try read(link)
      if !isChannelOpen { try open(link) }
    }
    return false
  }
}
