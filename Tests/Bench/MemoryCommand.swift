import ArgumentParser
import Foundation
import JobQueueAMQP
import Logging
import Model

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a coordinator and an executor hold in memory when there is nothing to do.
struct MemoryCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "memory", abstract: "Memory of an idle coordinator and an idle executor.")
  @Option(help: "The built program.") var kiln: String
  @Option(help: "A folder for its files.") var folder: String

  func run() async throws {
    let identifier = Effects.system().identifier()
    let folder = URL(fileURLWithPath: folder, isDirectory: true).appendingPathComponent(identifier, isDirectory: true)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let database = try await BenchDatabase.create(identifier)
    let daemons = try IdleDaemons(kiln: kiln, folder: folder, identifier: identifier, store: database.url)
    let result: Result<Table, any Error>
    do { result = .success(try await daemons.measure()) } catch { result = .failure(error) }
    try await daemons.end()
    try await database.drop()
    if case .success = result { try FileManager.default.removeItem(at: folder) }
    do { try result.get().print() } catch { throw BenchError("\(error); logs: \(folder.path)") }
  }
}

/// The two daemons as processes of their own, on the real services.
private final class IdleDaemons {
  private let kiln: String
  private let folder: URL
  private let pool: PoolName
  private let port: Int
  private let token = UUID().uuidString
  private let environment: [String: String]
  private var processes: [Process] = []

  init(kiln: String, folder: URL, identifier: String, store: String) throws {
    self.kiln = kiln
    self.folder = folder
    pool = PoolName(text: "bench-\(identifier)")
    port = try Self.freePort()
    var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("KILN_") }
    environment["KILN_STORE_URL"] = store
    environment["KILN_QUEUE_URL"] = try Address.require("KILN_TEST_AMQP_URL")
    environment["KILN_REGISTRY"] = "\(try Address.require("KILN_TEST_REGISTRY"))/kiln-bench/\(identifier)"
    environment["KILN_ENGINE"] = try Address.require("KILN_TEST_ENGINE_A")
    environment["KILN_TOKEN"] = token
    environment["KILN_HOME"] = folder.path
    self.environment = environment
    let pools = folder.appendingPathComponent("pools", isDirectory: true)
    try FileManager.default.createDirectory(at: pools, withIntermediateDirectories: true)
    try Data("name: \(pool)\nplatforms: [linux/amd64]\nslots: 4\n".utf8).write(to: poolFile)
  }

  private var poolFile: URL { folder.appendingPathComponent("pools/bench.yml") }

  func measure() async throws -> Table {
    try await Tool.run(kiln, ["db", "migrate"], environment: environment)
    let coordinator = try start(
      "coordinator", ["--pools", folder.appendingPathComponent("pools").path, "--listen", "127.0.0.1:\(port)"])
    let executor = try start("executor", ["--pool", poolFile.path, "--name", "bench"])
    try await untilJoined()
    var table = Table("memory when idle (MiB)", ["resident", "of it private"])
    for (name, process) in [("kiln coordinator", coordinator), ("kiln executor, 4 slots", executor)] {
      try await untilIdle(process)
      let memory = try Self.memory(of: process)
      table.add(name, [short(memory.residentMiB), short(memory.privateMiB)])
    }
    return table
  }

  private func start(_ command: String, _ arguments: [String]) throws -> Process {
    let log = folder.appendingPathComponent("\(command).log")
    guard FileManager.default.createFile(atPath: log.path, contents: nil) else {
      throw BenchError("cannot write \(log.path)")
    }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: kiln)
    process.arguments = [command] + arguments
    process.environment = environment
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: log)
    process.standardError = process.standardOutput
    try process.run()
    processes.append(process)
    return process
  }

  /// Until the coordinator tells of the executor.
  private func untilJoined() async throws {
    let request = [
      "--silent", "--fail", "--header", "Authorization: Bearer \(token)", "http://127.0.0.1:\(port)/api/v1/executors",
    ]
    for _ in 0..<300 {
      guard processes.allSatisfy(\.isRunning) else { throw BenchError("a daemon ended") }
      if let answer = try? await Tool.run("curl", request), answer.contains(pool.text) { return }
      try await Task.sleep(for: .milliseconds(100))
    }
    throw BenchError("the executor has not joined within 30 s")
  }

  /// Until two seconds passed in which it used next to no processor time.
  private func untilIdle(_ process: Process) async throws {
    for _ in 0..<30 {
      let before = try Self.processorTicks(of: process)
      try await Task.sleep(for: .seconds(2))
      if try Self.processorTicks(of: process) - before <= 2 { return }
    }
    throw BenchError("process \(process.processIdentifier) does not come to rest")
  }

  /// Ends both, by their process identifiers, and removes their queues.
  func end() async throws {
    for process in processes where process.isRunning { process.terminate() }
    for process in processes {
      for _ in 0..<200 where process.isRunning { try await Task.sleep(for: .milliseconds(50)) }
      if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }
    let queue = AMQPJobQueue(
      configuration: try AMQPConfiguration(url: try Address.require("KILN_TEST_AMQP_URL"), role: .coordinator),
      effects: .system(), logger: .bench)
    try await queue.remove([pool])
    await queue.close()
  }

  // MARK: What the kernel says

  /// Processor time used, in hundredths of a second.
  private static func processorTicks(of process: Process) throws -> Int {
    let text = try read("stat", of: process)
    // Fields 14 and 15; the second one, the name, ends with the last parenthesis.
    let fields = text.suffix(from: text.lastIndex(of: ")") ?? text.startIndex).split(separator: " ")
    guard fields.count > 13, let user = Int(fields[12]), let system = Int(fields[13]) else {
      throw BenchError("/proc says nothing of processor time")
    }
    return user + system
  }

  private static func memory(of process: Process) throws -> (residentMiB: Double, privateMiB: Double) {
    var kibibytes: [Substring: Double] = [:]
    for line in try read("smaps_rollup", of: process).split(separator: "\n") {
      let words = line.split(separator: " ")
      if words.count == 3, words[2] == "kB" { kibibytes[words[0]] = Double(words[1]) }
    }
    guard let resident = kibibytes["Rss:"], let clean = kibibytes["Private_Clean:"],
      let dirty = kibibytes["Private_Dirty:"]
    else { throw BenchError("/proc says nothing of memory") }
    return (resident / 1024, (clean + dirty) / 1024)
  }

  private static func read(_ name: String, of process: Process) throws -> String {
    // Files of /proc say no size: what reads by size would read nothing.
    let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/proc/\(process.processIdentifier)/\(name)"))
    defer { try? handle.close() }
    return String(decoding: try handle.readToEnd() ?? Data(), as: UTF8.self)
  }

  private static func freePort() throws -> Int {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(listener) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, length) == 0 && getsockname(listener, $0, &length) == 0
      }
    }
    guard bound else { throw BenchError("no port is free") }
    return Int(UInt16(bigEndian: address.sin_port))
  }
}
