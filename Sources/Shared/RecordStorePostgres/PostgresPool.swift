import RecordStore
import Synchronization

/// Lends connections, one caller each at a time, first come first served.
final class PostgresPool: Sendable {
  /// Beyond it callers are told that the store is overwhelmed instead of queueing for ever.
  static let maxWaiting = 1000

  private typealias Turn = CheckedContinuation<PostgresConnection?, Never>

  private struct State {
    /// The last used first, so that the others may rest.
    var idle: [PostgresConnection]
    var waiting: [Turn] = []
    var isClosed = false
  }

  private let state: Mutex<State>

  init(_ connections: [PostgresConnection]) { state = Mutex(State(idle: connections)) }

  func withConnection<Value: Sendable>(_ body: (PostgresConnection) async throws -> Value) async throws -> Value {
    guard let connection = await take() else {
      throw StoreError(.unavailable, "the store is closed, or more than \(Self.maxWaiting) wait for it")
    }
    do {
      let value = try await body(connection)
      await giveBack(connection)
      return value
    } catch {
      await giveBack(connection)
      throw error
    }
  }

  func close() async {
    let (idle, waiting) = state.withLock { state in
      state.isClosed = true
      defer { (state.idle, state.waiting) = ([], []) }
      return (state.idle, state.waiting)
    }
    for turn in waiting { turn.resume(returning: nil) }
    for connection in idle { await connection.close() }
  }

  private func take() async -> PostgresConnection? {
    await withCheckedContinuation { turn in
      let answer: PostgresConnection?? = state.withLock { state in
        if state.isClosed { return .some(nil) }
        if let connection = state.idle.popLast() { return connection }
        if state.waiting.count >= Self.maxWaiting { return .some(nil) }
        state.waiting.append(turn)
        return nil
      }
      if let answer { turn.resume(returning: answer) }
    }
  }

  private func giveBack(_ connection: PostgresConnection) async {
    enum Next {
      case rest, close
      case turn(Turn)
    }
    let next: Next = state.withLock { state in
      if state.isClosed { return .close }
      if !state.waiting.isEmpty { return .turn(state.waiting.removeFirst()) }
      state.idle.append(connection)
      return .rest
    }
    switch next {
    case .rest: break
    case .close: await connection.close()
    case .turn(let turn): turn.resume(returning: connection)
    }
  }
}
