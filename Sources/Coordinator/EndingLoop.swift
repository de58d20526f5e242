import Foundation
import JobQueue
import Logging
import Model
import RecordStore
import Registry
import ServiceLifecycle

/// Ends what can end: settles builds, assembles indexes and moves tags, and does the effects that
/// commits left in the outbox.
struct EndingLoop: Service {
  let coordinator: Coordinator
  let bell: Bell

  private var store: any RecordStore { coordinator.store }

  func run() async throws {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        let pause = await pass()
        await bell.wait(seconds: pause, time: coordinator.effects.time)
      }
    }
  }

  func pass() async -> Double {
    do {
      try await coordinator.effects.failpoints.reach(.settleBeforeApply)
      for build in try await store.settleBuilds() {
        coordinator.logger.info("build settled", metadata: ["build": "\(build)"])
      }
      while let build = try await store.takePublishing(leaseSeconds: coordinator.settings.effectLeaseSeconds) {
        try await IndexPublisher(coordinator: coordinator).publish(build)
      }
      try await doEffects()
      return coordinator.settings.idleSeconds
    } catch is CancellationError {
      return 0
    } catch {
      coordinator.logger.warning("ending interrupted", metadata: ["error": "\(error)"])
      return 1
    }
  }

  private func doEffects() async throws {
    while true {
      let effects = try await store.takeEffects(limit: 50, leaseSeconds: coordinator.settings.effectLeaseSeconds)
      guard !effects.isEmpty else { return }
      for effect in effects {
        do {
          try await coordinator.effects.failpoints.reach(.outboxBeforeEffect)
          try await perform(effect.kind)
          try await coordinator.effects.failpoints.reach(.outboxAfterEffect)
          try await store.effectDone(effect.id)
        } catch is CancellationError {
          throw CancellationError()
        } catch {
          coordinator.logger.warning("effect failed", metadata: ["effect": "\(effect.id)", "error": "\(error)"])
          try await store.effectFailed(effect.id, retrySeconds: 5, reason: "\(error)")
        }
      }
    }
  }

  private func perform(_ kind: OutboxEffect.Kind) async throws {
    switch kind {
    case .tagLayer(let scope, let tag, let image):
      let repository = Repositories.layers(scope)
      // An image that is gone already has nothing to tag; its next generation will be tagged.
      guard let manifest = try await coordinator.images.manifest(.digest(image), in: repository) else { return }
      try await coordinator.images.put(manifest, in: repository, tag: tag)
    case .deadLetter(let pool, let letter):
      try await coordinator.queue.publishDeadLetter(
        DeadLetterMessage(job: letter.job, attempt: letter.attempt, failure: letter.failure), to: pool)
    }
  }
}
