/// Every place between two effects, by the name that tests and the simulator use.
package enum Failpoint: String, Sendable, CaseIterable {
  // Coordinator
  case submitBeforeContexts = "submit.before-contexts"
  case submitBeforeTransaction = "submit.before-transaction"
  case submitAfterTransaction = "submit.after-transaction"
  case publishAfterTake = "publish.after-take"
  case publishAfterConfirm = "publish.after-confirm"
  case publishAfterMark = "publish.after-mark"
  case reapBeforeApply = "reap.before-apply"
  case outboxBeforeEffect = "outbox.before-effect"
  case outboxAfterEffect = "outbox.after-effect"
  case indexBeforePut = "index.before-put"
  case indexAfterPut = "index.after-put"
  case tagBeforePut = "tag.before-put"
  case tagAfterPut = "tag.after-put"
  case settleBeforeApply = "settle.before-apply"
  case deadLetterBeforeStore = "dead-letter.before-store"
  case deadLetterBeforeAcknowledge = "dead-letter.before-acknowledge"
  // Executor
  case attemptBeforeClaim = "attempt.before-claim"
  case attemptAfterClaim = "attempt.after-claim"
  case attemptBeforeBuild = "attempt.before-build"
  case attemptAfterBuild = "attempt.after-build"
  case attemptAfterPush = "attempt.after-push"
  case attemptBeforeCommit = "attempt.before-commit"
  case attemptAfterCommit = "attempt.after-commit"
  case attemptAfterAcknowledge = "attempt.after-acknowledge"
}
