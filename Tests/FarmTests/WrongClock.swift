import Foundation
import Testing

/// The environment of daemons whose wall clock is an hour ahead; their monotonic clock is right.
///
/// `faketime` runs nothing but a process that waits: it would stand between us and a daemon. libfaketime by itself
/// would put a variable into the environment, which moves that to where Swift does not find a program's arguments;
/// a process of `faketime` has the variable already, and what it names, for as long as it runs.
final class WrongClock: Sendable {
  let environment: [String: String]
  private let process: pid_t

  init() throws {
    let holder = Process()
    holder.executableURL = URL(fileURLWithPath: "/usr/bin/faketime")
    let say = "print(os.getpid(), *(os.environ[name] for name in sys.argv[1:]), sep='\\n', flush=True)"
    let names = ["LD_PRELOAD", "FAKETIME", "FAKETIME_SHARED"]
    holder.arguments = ["-f", "+1h", "python3", "-c", "import os, sys; \(say); sys.stdin.read()"] + names
    // It ends with this process.
    let (input, output) = (Pipe(), Pipe())
    (holder.standardInput, holder.standardOutput) = (input, output)
    try holder.run()
    var said = Data()
    while said.split(separator: 10).count < 4 || said.last != 10 {
      let piece = output.fileHandleForReading.availableData
      try #require(!piece.isEmpty, "faketime ended: \(String(decoding: said, as: UTF8.self))")
      said += piece
    }
    let lines = String(decoding: said, as: UTF8.self).split(separator: "\n").map(String.init)
    process = try #require(pid_t(lines[0]))
    var environment = Dictionary(uniqueKeysWithValues: zip(names, lines.dropFirst()))
    environment["DONT_FAKE_MONOTONIC"] = "1"
    self.environment = environment
  }

  func end() { kill(process, SIGTERM) }
}
