import JobQueue
import Model
import Testing

@Suite("Messages on the wire")
struct WireTests {
  @Test("a body is the message's JSON and nothing more", arguments: ["01hz", "a\"b", "a/b\\", "é", "a\u{1}"])
  func roundTrip(_ job: String) throws {
    let message = JobMessage(job: JobID(text: job), dispatch: 3)
    #expect(try JobMessage(body: try message.body) == message)
  }

  @Test func shape() throws {
    let message = JobMessage(job: JobID(text: "01hz"), dispatch: 3)
    #expect(String(decoding: try message.body, as: UTF8.self) == #"{"dispatch":3,"job":"01hz","v":1}"#)
  }

  @Test(
    "what is not a message is an input failure",
    arguments: [
      ("", "message-unreadable"), ("[]", "message-unreadable"), (#"{"v":1}"#, "message-unreadable"),
      (#"{"v":1,"job":"j"}"#, "message-unreadable"), (#"{"v":2,"task":"j"}"#, "message-too-new"),
    ])
  func unreadable(_ body: String, _ code: String) {
    let failure = #expect(throws: Failure.self) { try JobMessage(body: Array(body.utf8)) }
    #expect(failure?.failureClass == .input)
    #expect(failure?.code == code)
  }

  @Test("a rejected message is not mistaken for a coordinator's letter")
  func notALetter() throws {
    let body = try JobMessage(job: JobID(text: "j"), dispatch: 1).body
    let failure = #expect(throws: Failure.self) { try DeadLetterMessage(body: body) }
    #expect(failure?.code == "letter-unreadable")
  }
}
