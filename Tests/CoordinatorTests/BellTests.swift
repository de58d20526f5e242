import Foundation
import Model
import Testing

@testable import KilnCoordinator

@Suite(.timeLimit(.minutes(1))) struct BellTests {
  @Test func aRingWakesWhoWaits() async {
    let (bell, time) = (Bell(), HeldTime())
    async let waiting: Void = bell.wait(seconds: 5, time: time)
    await time.untilSleep(seconds: 5)
    bell.ring()
    await waiting
  }

  @Test func aRingBeforehandIsKeptOnce() async {
    let (bell, time) = (Bell(), HeldTime())
    bell.ring()
    bell.ring()
    await bell.wait(seconds: 5, time: time)
    async let waiting: Void = bell.wait(seconds: 6, time: time)
    await time.untilSleep(seconds: 6)
    time.advance(seconds: 6)
    await waiting
  }

  @Test func cancellingEndsTheWait() async {
    let (bell, time) = (Bell(), HeldTime())
    let waiting = Task { await bell.wait(seconds: 5, time: time) }
    await time.untilSleep(seconds: 5)
    waiting.cancel()
    await waiting.value
  }
}
