import Foundation
import JobQueue
import Logging
import Model
import RecordStore
import Registry

/// Ends what can end: settles builds, assembles indexes and moves tags, and does the effects that
/// commits left in the outbox.
struct EndingLoop: CoordinatorLoop {
  let coordinator: Coordinator
  let bell: Bell

  private var store: any RecordStore { coordinator.store }

  func loop() async {
    var lookedAt = -Double.infinity
    while !Task.isCancelled {
      let now = coordinator.effects.time.monotonicSeconds()
      let isTime = now - lookedAt >= coordinator.settings.wantedSeconds
      if isTime { lookedAt = now }
      let pause = await pass(looksAtWaits: isTime)
      await bell.wait(seconds: pause, time: coordinator.effects.time)
    }
  }

  func pass(looksAtWaits: Bool = true) async -> Double {
    do {
      let outlook = try await store.outlook(of: [])
      var settled: [BuildID] = []
      if outlook.hasOpenBuilds {
        if looksAtWaits { try await startWanted() }
        try await coordinator.effects.failpoints.reach(.settleBeforeApply)
        settled = try await store.settleBuilds()
      }
      guard outlook.hasEndings || !settled.isEmpty else { return coordinator.settings.idleSeconds }
      for build in settled { coordinator.logger.info("build settled", metadata: ["build": "\(build)"]) }
      while let build = try await store.takePublishing(leaseSeconds: coordinator.settings.effectLeaseSeconds) {
        try await IndexPublisher(coordinator: coordinator).publish(build)
      }
      return try await doEffects() ? coordinator.settings.idleSeconds : 1
    } catch is CancellationError {
      return 0
    } catch {
      coordinator.logger.warning("ending interrupted", metadata: ["error": "\(error)"])
      return 1
    }
  }

  private func startWanted() async throws {
    let outcome = try await store.startWanted()
    for job in outcome.started {
      coordinator.logger.notice("what a build waits for is started again", metadata: ["job": "\(job)"])
    }
    for cell in outcome.blocked {
      coordinator.logger.notice("a cell waits for what has failed", metadata: ["cell": "\(cell)"])
    }
  }

  /// Whether all that were due are done.
  private func doEffects() async throws -> Bool {
    while true {
      let effects = try await store.takeEffects(limit: 50, leaseSeconds: coordinator.settings.effectLeaseSeconds)
      guard !effects.isEmpty else { return true }
      var hasFailed = false
      var noRoom: Failure?
      for effect in effects {
        do {
          // Each tag that a registry without room is asked for costs it what it had noted of the image.
          if let noRoom, case .tagLayer = effect.kind { throw noRoom }
          try await coordinator.effects.failpoints.reach(.outboxBeforeEffect)
          try await perform(effect.kind)
          try await coordinator.effects.failpoints.reach(.outboxAfterEffect)
          try await store.effectDone(effect.id)
        } catch is CancellationError {
          throw CancellationError()
        } catch {
          hasFailed = true
          if let failure = error as? Failure, failure.code == "registry-500" { noRoom = failure }
          coordinator.logger.warning("effect failed", metadata: ["effect": "\(effect.id)", "error": "\(error)"])
          try await store.effectFailed(effect.id, retrySeconds: 5, reason: "\(error)")
        }
      }
      // By now it may be due again; what else there is to end does not wait for it.
      if hasFailed { return false }
    }
  }

  private func perform(_ kind: OutboxEffect.Kind) async throws {
    switch kind {
    case .tagLayer(let scope, let tag, let image):
      let repository = Repositories.layers(scope)
      // An image that is gone already, or lost a blob, has nothing to tag; its next generation will be tagged.
      guard let manifest = try await coordinator.images.manifest(.digest(image), in: repository) else { return }
      do {
        try await coordinator.images.put(manifest, in: repository, tag: tag)
      } catch let failure as Failure where failure.code == "incomplete" {
        coordinator.logger.warning("layer not tagged", metadata: ["tag": "\(tag)", "error": "\(failure)"])
      }
    case .deadLetter(let pool, let letter):
      let message = DeadLetterMessage(job: letter.job, attempt: letter.attempt, failure: letter.failure)
      do {
        try await coordinator.queue.publishDeadLetter(message, to: pool)
      } catch let error as QueueError {
        // A broker that lost everything lost this queue too: it is there when the letter comes again.
        try await coordinator.queue.prepare([pool])
        throw error
      }
    }
  }
}
