import JobQueue

/// Which published messages the broker has not answered for, on one channel.
///
/// The broker counts publications from 1; an acknowledgement names a number, or all up to it. A
/// message that no queue takes is returned first, without a number, and then acknowledged like any
/// other: the return is matched by the message's identifier.
struct ConfirmLedger<Entry> {
  private var entries: [(identifier: String, entry: Entry)?] = []
  private var head = 0
  /// The number of `entries[head]`.
  private var firstTag: UInt64 = 1
  private var returns: [String: (reason: String, count: Int)] = [:]
  private(set) var count = 0

  mutating func sent(_ identifier: String, _ entry: Entry) {
    entries.append((identifier, entry))
    count += 1
  }

  mutating func returned(_ identifier: String, reason: String) {
    returns[identifier] = (reason, (returns[identifier]?.count ?? 0) + 1)
  }

  /// Calls `settled` for each message that this answer is for, in the order of publication.
  mutating func settle(
    _ tag: UInt64, multiple: Bool, taken: Bool, _ settled: (Entry, PublishOutcome) -> Void
  ) {
    // A number that is not in flight is the broker's mistake; there is nothing to settle.
    guard tag >= firstTag, tag - firstTag < UInt64(entries.count - head) else { return }
    let last = head + Int(tag - firstTag)
    for index in (multiple ? head : last)...last {
      guard let (identifier, entry) = entries[index] else { continue }
      entries[index] = nil
      count -= 1
      settled(entry, outcome(of: identifier, taken: taken))
    }
    while head < entries.count, entries[head] == nil {
      head += 1
      firstTag += 1
    }
    if head > 1024, head * 2 > entries.count {
      entries.removeFirst(head)
      head = 0
    }
  }

  /// What is still unanswered, in the order of publication.
  var open: [Entry] { entries[head...].compactMap { $0?.entry } }

  private mutating func outcome(of identifier: String, taken: Bool) -> PublishOutcome {
    guard taken else { return .returned("the queue refused it: it is full, or has no leader now") }
    guard !returns.isEmpty, let (reason, times) = returns[identifier] else { return .confirmed }
    returns[identifier] = times > 1 ? (reason, times - 1) : nil
    return .returned(reason)
  }
}
