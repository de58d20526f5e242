package import Foundation
package import Model

/// What is known of a running build: its steps, their logs, how it ended. Pure.
package struct BuildProgress: Sendable {
  /// Kept of each step's output, its end.
  package static let maxStepTailBytes = 16 << 10
  /// A line longer than this is cut in pieces.
  static let maxLineBytes = 16 << 10
  static let maxTextBytes = 64 << 10

  package struct Step: Sendable {
    package var name: String
    package var started: Date?
    package var completed: Date?
    package var seconds: Double = 0
    package var cached = false
    package var error: String?
    /// The end of what it printed.
    package var tail: [UInt8] = []
    fileprivate var line: [UInt8] = []
    /// For people, in the order of first starts; 0 until then.
    fileprivate var number = 0
    fileprivate var isTold = false

    package var isRunning: Bool { started != nil && completed == nil }
    package var timing: StepTiming { StepTiming(name: name, seconds: seconds, cached: cached) }
  }

  package enum Output: Sendable, Hashable {
    /// Whole lines, each ended by a newline.
    case log([UInt8])
    case step(StepTiming)
  }

  /// In the order in which they appeared.
  package private(set) var steps: [Step] = []
  /// The plain text after the progress, its end.
  package private(set) var text = ""
  /// The builder dropped output of a step (its limits on size and speed).
  package private(set) var isClipped = false
  private var indexes: [String: Int] = [:]
  private var lastNumber = 0

  package init() {}

  package var timings: [StepTiming] { steps.filter { $0.completed != nil }.map(\.timing) }
  package var failedSteps: [Step] { steps.filter { $0.error != nil } }

  package mutating func apply(_ event: RawProgress.Event) -> [Output] {
    var outputs: [Output] = []
    switch event {
    case .text(let line):
      text = String((text + line + "\n").suffix(Self.maxTextBytes))
      outputs.append(.log(Array((line + "\n").utf8)))
    case .status(let status):
      for vertex in status.vertexes ?? [] { apply(vertex, &outputs) }
      for log in status.logs ?? [] { apply(log, &outputs) }
    }
    return outputs
  }

  private mutating func apply(_ vertex: SolveStatus.Vertex, _ outputs: inout [Output]) {
    let index = index(of: vertex.digest)
    if let name = vertex.name { steps[index].name = name }
    guard let started = Self.date(vertex.started) else {
      if let error = vertex.error { steps[index].error = error }
      return
    }
    if steps[index].number == 0 { outputs.append(.log(line(index, steps[index].name))) }
    // A cached step may say so in any of its updates, not only in the last.
    if vertex.cached == true { steps[index].cached = true }
    if let error = vertex.error, !Self.isEcho(error) || steps[index].error == nil { steps[index].error = error }
    steps[index].started = started
    steps[index].completed = Self.date(vertex.completed)
    guard let completed = steps[index].completed else { return }
    // The same vertex may run in several spans: metadata first, content when it is needed.
    steps[index].seconds += max(0, completed.timeIntervalSince(started))
    flushLine(index, &outputs)
    if steps[index].isTold { return }
    steps[index].isTold = true
    if let error = vertex.error {
      outputs.append(.log(line(index, "ERROR: \(error)")))
    } else if steps[index].cached {
      outputs.append(.log(line(index, "CACHED")))
    } else {
      outputs.append(.log(line(index, "DONE \(Self.seconds(steps[index].seconds))s")))
    }
    outputs.append(.step(steps[index].timing))
  }

  private mutating func apply(_ log: SolveStatus.Log, _ outputs: inout [Output]) {
    let index = index(of: log.vertex)
    if log.data.range(of: Data("[output clipped".utf8)) != nil { isClipped = true }
    steps[index].tail = Array((steps[index].tail + log.data).suffix(Self.maxStepTailBytes))
    for byte in log.data {
      steps[index].line.append(byte)
      if byte == UInt8(ascii: "\n") || steps[index].line.count >= Self.maxLineBytes { flushLine(index, &outputs) }
    }
  }

  /// Hands out what is left of unfinished lines; called once, at the end.
  package mutating func finish() -> [Output] {
    var outputs: [Output] = []
    for index in steps.indices { flushLine(index, &outputs) }
    return outputs
  }

  private mutating func flushLine(_ index: Int, _ outputs: inout [Output]) {
    var bytes = steps[index].line
    guard !bytes.isEmpty else { return }
    steps[index].line.removeAll(keepingCapacity: true)
    if bytes.last != UInt8(ascii: "\n") { bytes.append(UInt8(ascii: "\n")) }
    outputs.append(.log(Array("#\(number(of: index)) ".utf8) + bytes))
  }

  private mutating func line(_ index: Int, _ text: String) -> [UInt8] { Array("#\(number(of: index)) \(text)\n".utf8) }

  private mutating func number(of index: Int) -> Int {
    if steps[index].number == 0 {
      lastNumber += 1
      steps[index].number = lastNumber
    }
    return steps[index].number
  }

  private mutating func index(of digest: String) -> Int {
    if let index = indexes[digest] { return index }
    indexes[digest] = steps.count
    steps.append(Step(name: digest))
    return steps.count - 1
  }

  /// Says only that something else went wrong.
  static func isEcho(_ error: String) -> Bool { error.hasSuffix("context canceled") }

  private static func seconds(_ seconds: Double) -> String { String(format: "%.1f", seconds) }

  private static func date(_ text: String?) -> Date? {
    guard let text else { return nil }
    return try? Date.ISO8601FormatStyle(includingFractionalSeconds: text.contains(".")).parse(text)
  }
}
