import Model

/// All that an in-process queue knows. Changes are values: they return whom to resume with what.
struct InProcessQueueState {
  typealias Waiter = CheckedContinuation<Delivery?, any Error>

  struct Handover: Sendable {
    let waiter: Waiter
    let result: Result<Delivery?, any Error>
  }

  struct Address: Hashable {
    var pool: PoolName
    var dead: Bool

    var description: String { "\(dead ? "dead-letter queue" : "queue") for pool '\(pool)'" }
  }

  private struct Message {
    let sequence: UInt64
    let body: [UInt8]
    var redelivered = false
  }

  private struct Line {
    var exists = false
    var ready = Fifo<Message>()
    /// Came back from a slot; served first, oldest first.
    var returned: [Message] = []
    /// Slots in `next`, longest wait first.
    var waiting: [Int] = []
    var slots = 0

    var count: Int { ready.count + returned.count }

    mutating func take() -> Message? { returned.isEmpty ? ready.popFirst() : returned.removeFirst() }

    mutating func giveBack(_ message: Message) {
      var message = message
      message.redelivered = true
      returned.insert(message, at: returned.firstIndex { $0.sequence > message.sequence } ?? returned.endIndex)
    }
  }

  private struct Slot {
    let address: Address
    var held: Message?
    var waiter: Waiter?
  }

  private let maxMessages: Int
  private let maxDeadLetters: Int
  private var lines: [Address: Line] = [:]
  private var slots: [Int: Slot] = [:]
  private var slotCount = 0
  private var sequence: UInt64 = 0
  private var closed = false

  init(maxMessages: Int, maxDeadLetters: Int) {
    self.maxMessages = maxMessages
    self.maxDeadLetters = maxDeadLetters
  }

  func checkOpen() throws {
    if closed { throw QueueError(.closed, "the queue is closed") }
  }

  func depth(of address: Address) -> QueueDepth {
    QueueDepth(ready: lines[address]?.count ?? 0, consumers: lines[address]?.slots ?? 0)
  }

  mutating func create(_ pool: PoolName) -> [Handover] {
    for dead in [true, false] { lines[Address(pool: pool, dead: dead), default: Line()].exists = true }
    return []
  }

  mutating func add(_ body: [UInt8], to address: Address) -> (PublishOutcome, [Handover]) {
    guard var line = lines[address], line.exists else { return (.returned("there is no \(address.description)"), []) }
    guard line.count < (address.dead ? maxDeadLetters : maxMessages) else {
      return (.returned("the \(address.description) is full: it holds \(line.count)"), [])
    }
    lines[address] = nil  // Not copied while it is changed.
    sequence += 1
    line.ready.append(Message(sequence: sequence, body: body))
    lines[address] = line
    return (.confirmed, serve(address))
  }

  mutating func openSlot(on address: Address) -> Int {
    slotCount += 1
    slots[slotCount] = Slot(address: address)
    lines[address, default: Line()].slots += 1
    return slotCount
  }

  mutating func wait(_ slot: Int, _ waiter: Waiter) -> [Handover] {
    guard let address = slots[slot]?.address else { return [Handover(waiter: waiter, result: .success(nil))] }
    precondition(slots[slot]?.waiter == nil, "a slot is one task's: next() was called while it waits")
    slots[slot]?.waiter = waiter
    // With a delivery unacknowledged it waits in vain, as a prefetch of one has it.
    if slots[slot]?.held == nil { lines[address]?.waiting.append(slot) }
    return serve(address)
  }

  mutating func cancel(_ slot: Int) -> [Handover] {
    guard let waiter = stopWaiting(slot) else { return [] }
    return [Handover(waiter: waiter, result: .failure(CancellationError()))]
  }

  mutating func acknowledge(_ slot: Int, _ delivery: Delivery) -> [Handover] {
    guard let address = slots[slot]?.address, release(slot, delivery) != nil else { return [] }
    return serve(address)
  }

  mutating func reject(_ slot: Int, _ delivery: Delivery) throws -> [Handover] {
    guard let address = slots[slot]?.address, slots[slot]?.held?.sequence == delivery.tag else { return [] }
    precondition(!address.dead, "a dead letter cannot be rejected: acknowledge it")
    let (outcome, handovers) = add(delivery.body, to: Address(pool: address.pool, dead: true))
    if case .returned(let reason) = outcome { throw QueueError(.unavailable, reason) }
    _ = release(slot, delivery)
    return handovers + serve(address)
  }

  mutating func close(_ slot: Int) -> [Handover] {
    let waiter = stopWaiting(slot)
    guard let ended = slots.removeValue(forKey: slot) else { return [] }
    lines[ended.address]?.slots -= 1
    if let held = ended.held { lines[ended.address]?.giveBack(held) }
    let mine = waiter.map { [Handover(waiter: $0, result: .success(nil))] } ?? []
    return mine + serve(ended.address)
  }

  mutating func closeAll() -> [Handover] {
    closed = true
    let waiters = slots.keys.sorted().compactMap { slots[$0]?.waiter }
    slots = [:]
    lines = [:]
    return waiters.map { Handover(waiter: $0, result: .success(nil)) }
  }

  private mutating func stopWaiting(_ slot: Int) -> Waiter? {
    guard let waiting = slots[slot], let waiter = waiting.waiter else { return nil }
    slots[slot]?.waiter = nil
    lines[waiting.address]?.waiting.removeAll { $0 == slot }
    return waiter
  }

  /// Ends the slot's hold on the delivery; a `next` called meanwhile gets in line.
  private mutating func release(_ slot: Int, _ delivery: Delivery) -> Message? {
    guard let holder = slots[slot], let held = holder.held, held.sequence == delivery.tag else { return nil }
    slots[slot]?.held = nil
    if holder.waiter != nil { lines[holder.address]?.waiting.append(slot) }
    return held
  }

  /// Gives what there is to those who wait for it.
  private mutating func serve(_ address: Address) -> [Handover] {
    var handovers: [Handover] = []
    while let line = lines[address], line.exists, line.count > 0, let slot = line.waiting.first,
      let waiter = slots[slot]?.waiter
    {
      guard let message = lines[address]?.take() else { break }
      lines[address]?.waiting.removeFirst()
      slots[slot]?.waiter = nil
      slots[slot]?.held = message
      let delivery = Delivery(
        tag: message.sequence, epoch: slot, body: message.body, redelivered: message.redelivered)
      handovers.append(Handover(waiter: waiter, result: .success(delivery)))
    }
    return handovers
  }
}

/// First in, first out, in constant time on average.
struct Fifo<Element> {
  private var elements: [Element?] = []
  private var head = 0

  var count: Int { elements.count - head }

  mutating func append(_ element: Element) { elements.append(element) }

  mutating func popFirst() -> Element? {
    guard head < elements.count else { return nil }
    let element = elements[head]
    elements[head] = nil
    head += 1
    if head > 64, head * 2 > elements.count {
      elements.removeFirst(head)
      head = 0
    }
    return element
  }
}
