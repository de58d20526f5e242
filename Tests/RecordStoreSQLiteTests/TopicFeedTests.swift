import RecordStore
import Testing

@Suite struct TopicFeedTests {
  @Test func aTopicThatWaitsIsNotKeptTwice() async throws {
    let feed = TopicFeed()
    var topics = feed.listen().makeAsyncIterator()
    #expect(try await topics.next() == "")
    for topic in ["a", "b", "a", "a", "c"] { feed.announce(topic) }
    feed.finish()
    var seen: [String] = []
    while let topic = try await topics.next() { seen.append(topic) }
    #expect(seen == ["a", "b", "c"])
  }

  @Test func aListenerThatFallsBehindLooksAtEverything() async throws {
    let feed = TopicFeed()
    var topics = feed.listen().makeAsyncIterator()
    #expect(try await topics.next() == "")
    for topic in 0...TopicFeed.maxPendingTopics { feed.announce("\(topic)") }
    feed.announce("later")
    feed.finish()
    #expect(try await topics.next() == "")
    #expect(try await topics.next() == nil)
  }

  @Test func cancellingEndsTheWait() async throws {
    let topics = TopicFeed().listen()
    let reader = Task {
      var count = 0
      for try await _ in topics { count += 1 }
      return count
    }
    reader.cancel()
    #expect(try await reader.value <= 1)
  }

  @Test func afterTheEndThereIsNothingToWaitFor() async throws {
    let feed = TopicFeed()
    feed.finish()
    var topics = feed.listen().makeAsyncIterator()
    #expect(try await topics.next() == "")
    #expect(try await topics.next() == nil)
  }
}
