import Logging
import Model
import RecordStore
package import ServiceLifecycle

/// Goes on until it is cancelled. As a service, until it is told to stop.
package protocol CoordinatorLoop: Service {
  func loop() async throws
}

extension CoordinatorLoop {
  package func run() async throws { try await cancelWhenGracefulShutdown { try await loop() } }
}

/// The loops of a coordinator, and the listener that wakes them.
extension Coordinator {
  package func services() -> [any Service] { loops() }

  package func loops() -> [any CoordinatorLoop] {
    let dispatch = Bell()
    let ending = Bell()
    var loops: [any CoordinatorLoop] = [
      NotificationListener(coordinator: self, bells: [dispatch, ending]),
      DispatchLoop(coordinator: self, bell: dispatch),
      EndingLoop(coordinator: self, bell: ending),
    ]
    for pool in pools { loops.append(DeadLetterLoop(coordinator: self, pool: pool.name)) }
    return loops
  }
}

/// Rings the loops' bells when the store announces a change. A lost connection only makes them wait
/// for their own time-outs until it is back.
struct NotificationListener: CoordinatorLoop {
  let coordinator: Coordinator
  let bells: [Bell]

  func loop() async {
    await coordinator.listen { topic in
      if topic.hasPrefix("evidence:") { return }
      for bell in bells { bell.ring() }
    }
  }
}

extension Coordinator {
  /// Tells `heard` every topic that the store announces, over lost connections, until it is cancelled.
  func listen(_ heard: (String) -> Void) async {
    while !Task.isCancelled {
      do {
        for try await topic in try await store.notifications() { heard(topic) }
      } catch is CancellationError {
        return
      } catch {
        logger.warning("notifications interrupted", metadata: ["error": "\(error)"])
      }
      try? await effects.time.sleep(seconds: 1)
    }
  }
}
