import JobQueue
import Testing

@testable import JobQueueAMQP

@Suite("AMQP: what decides without a broker")
struct PureTests {
  @Test(
    "faults become errors by their code",
    arguments: [
      (AMQPFault.library(-9), QueueError.Code.unavailable, "no connection to the broker at h:1"),
      (.library(-5), .unavailable, "no connection to the broker at h:1"),
      (.library(-15), .unavailable, "no connection to the broker at h:1"),
      (.library(-0x13), .refused, "does not speak our AMQP"),
      (.library(-6), .refused, "does not speak our AMQP"),
      (.connection(code: 403, text: "ACCESS_REFUSED"), .refused, "refuses user 'u' on vhost 'v': ACCESS_REFUSED"),
      (.connection(code: 530, text: "NOT_ALLOWED"), .refused, "refuses user 'u' on vhost 'v': NOT_ALLOWED"),
      (.connection(code: 320, text: "CONNECTION_FORCED"), .unavailable, "closed the connection: 320"),
      (.connection(code: 541, text: "INTERNAL_ERROR"), .unavailable, "closed the connection: 541"),
      (.connection(code: 503, text: "COMMAND_INVALID"), .refused, "does not understand us"),
      (.channel(code: 403, text: "ACCESS_REFUSED"), .refused, "denies a right to user 'u' on vhost 'v'"),
      (.channel(code: 404, text: "NOT_FOUND"), .unavailable, "404 NOT_FOUND"),
      (.channel(code: 406, text: "inequivalent arg"), .refused, "inequivalent arg"),
      (.channel(code: 405, text: "RESOURCE_LOCKED"), .refused, "RESOURCE_LOCKED"),
      (.channel(code: 506, text: "RESOURCE_ERROR"), .unavailable, "506"),
    ])
  func faults(_ fault: AMQPFault, _ code: QueueError.Code, _ part: String) throws {
    let configuration = try AMQPConfiguration(url: "amqp://u:hidden@h:1/v", role: .coordinator)
    let error = fault.error(configuration)
    #expect(error.code == code)
    #expect(error.message.contains(part), "\(error.message)")
    #expect(!"\(error)".contains("hidden"))
  }

  @Test(
    "URLs",
    arguments: [
      ("amqp://h", "h", 5672, "guest", "/", "guest"),
      ("amqp://h/", "h", 5672, "guest", "/", "guest"),
      ("amqp://u:p%40ss@h:7/%2f", "h", 7, "u", "/", "p@ss"),
      ("amqp://u@h:7/farm", "h", 7, "u", "farm", "guest"),
      ("amqp://u@h:7/a%2Fb", "h", 7, "u", "a/b", "guest"),
      ("amqp://u@[::1]:7", "::1", 7, "u", "/", "guest"),
    ])
  func urls(_ url: String, _ host: String, _ port: Int, _ user: String, _ vhost: String, _ password: String) throws {
    let configuration = try AMQPConfiguration(url: url, role: .executor)
    #expect(configuration.host == host)
    #expect(configuration.port == port)
    #expect(configuration.user == user)
    #expect(configuration.vhost == vhost)
    #expect(configuration.password == password)
    #expect(try AMQPConfiguration(url: url, password: "other", role: .executor).password == "other")
  }

  @Test("what is no broker's URL is refused without repeating it", arguments: ["", "h:1", "amqps://u:pw@h", "amqp://"])
  func badURLs(_ url: String) {
    let error = #expect(throws: QueueError.self) { try AMQPConfiguration(url: url, role: .executor) }
    #expect(error?.code == .refused)
    #expect("\(String(describing: error))".contains("pw") == false)
  }

  @Test("answers settle what they name, once, and a return comes before its answer")
  func ledger() {
    var ledger = ConfirmLedger<Int>()
    var settled: [Int: PublishOutcome] = [:]
    func answer(_ tag: UInt64, multiple: Bool = false, taken: Bool = true) {
      ledger.settle(tag, multiple: multiple, taken: taken) { entry, outcome in
        #expect(settled[entry] == nil)
        settled[entry] = outcome
      }
    }
    for number in 1...6 { ledger.sent("m\(number)", number) }
    answer(2)
    #expect(settled == [2: .confirmed])
    ledger.returned("m3", reason: "no queue")
    answer(3, multiple: true)
    #expect(settled == [1: .confirmed, 2: .confirmed, 3: .returned("no queue")])
    answer(5, taken: false)
    #expect(settled[5] == .returned("the queue refused it: it is full, or has no leader now"))
    #expect(ledger.open == [4, 6])
    #expect(ledger.count == 2)
    answer(3)
    answer(99)
    #expect(settled.count == 4)
    answer(6, multiple: true)
    #expect(ledger.count == 0)
    for number in 7...5000 {
      ledger.sent("m", number)
      if number == 7 { ledger.returned("m", reason: "gone") }
      answer(UInt64(number))
    }
    #expect(settled[7] == .returned("gone"))
    #expect(settled[8] == .confirmed)
    #expect(settled.count == 5000)
  }

  @Test("delays double with full jitter up to 10 s, and begin anew after a good connection")
  func reconnect() {
    var reconnect = Reconnect()
    #expect(reconnect.dueSeconds == 0)
    for expected in [0.25, 0.5, 1, 2, 4, 8, 10, 10, 10] {
      reconnect.lost(at: 100, fraction: 1)
      #expect(reconnect.dueSeconds == 100 + expected)
    }
    reconnect.lost(at: 100, fraction: 0)
    #expect(reconnect.dueSeconds == 100)
    reconnect.connected(at: 100)
    reconnect.lost(at: 101, fraction: 1)
    #expect(reconnect.dueSeconds == 111)
    reconnect.connected(at: 100)
    reconnect.lost(at: 110, fraction: 1)
    #expect(reconnect.dueSeconds == 110.25)
  }

  @Test("a slot whose channel ends under a delivery does not subscribe until that is done")
  func orphan() async throws {
    var slot = ConsumerSlot(queue: "q", channel: 2, isPatient: true)
    slot.isChannelOpen = true
    slot.epoch = 1
    slot.begin(tag: 1, redelivered: false)
    slot.header(bodyBytes: 3)
    slot.body([1, 2])
    slot.body([3])
    let delivery = try #require(try await slot.mailbox.next())
    #expect(delivery.body == [1, 2, 3])
    #expect(slot.isBusy)
    slot.channelEnded(dueSeconds: 5)
    #expect(slot.isBusy)
    let isToBeAcknowledged = slot.finish(delivery)
    #expect(!isToBeAcknowledged, "there is no channel to acknowledge on")
    #expect(!slot.isBusy)
  }

  @Test("a delivery that nobody took is dropped with its channel")
  func untaken() {
    var slot = ConsumerSlot(queue: "q", channel: 2, isPatient: true)
    slot.isChannelOpen = true
    slot.begin(tag: 1, redelivered: false)
    slot.header(bodyBytes: 0)
    #expect(slot.isBusy)
    slot.channelEnded(dueSeconds: 5)
    #expect(!slot.isBusy)
    slot.begin(tag: 2, redelivered: false)
    #expect(!slot.isBusy, "a late frame of the former channel")
  }

  @Test("a batch that is given up tells what it knows")
  func batch() async throws {
    let message = OutgoingMessage(exchange: "e", routingKey: "k", identifier: "i", body: [])
    let nothing = PublishBatch([message], deadlineSeconds: 0)
    nothing.giveUp(QueueError(.unavailable, "away"))
    await #expect(throws: QueueError.self) { try await nothing.outcomes() }

    let some = PublishBatch([message, message, message], deadlineSeconds: 0)
    some.wrote(0)
    some.settle(0, .confirmed)
    some.wrote(1)
    some.giveUp(QueueError(.unavailable, "away"))
    some.settle(1, .confirmed)
    #expect(try await some.outcomes() == [.confirmed, .unknown, .returned("not sent: away")])
  }
}
