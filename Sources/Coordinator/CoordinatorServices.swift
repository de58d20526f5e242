import Logging
import Model
import RecordStore
package import ServiceLifecycle

/// The loops of a coordinator as services, and the listener that wakes them.
extension Coordinator {
  package func services() -> [any Service] {
    let dispatch = Bell()
    let ending = Bell()
    var services: [any Service] = [
      NotificationListener(coordinator: self, bells: [dispatch, ending]),
      DispatchLoop(coordinator: self, bell: dispatch),
      EndingLoop(coordinator: self, bell: ending),
    ]
    for pool in pools { services.append(DeadLetterLoop(coordinator: self, pool: pool.name)) }
    return services
  }
}

/// Rings the loops' bells when the store announces a change. A lost connection only makes them wait
/// for their own time-outs until it is back.
struct NotificationListener: Service {
  let coordinator: Coordinator
  let bells: [Bell]

  func run() async throws {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        do {
          for try await topic in try await coordinator.store.notifications() where !topic.hasPrefix("evidence:") {
            for bell in bells { bell.ring() }
          }
        } catch is CancellationError {
          return
        } catch {
          coordinator.logger.warning("notifications interrupted", metadata: ["error": "\(error)"])
        }
        try? await coordinator.effects.time.sleep(seconds: 1)
      }
    }
  }
}
