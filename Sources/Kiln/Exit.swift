import ArgumentParser
import Catalog
import Foundation
import HTTPClient
import JobQueue
import Model
import RecordStore

/// How the program ends, and what it says when it fails: what happened, where, and what to do.
enum Exit {
  static let workFailed: Int32 = 1
  static let wrongUse: Int32 = 2
  static let catalogWrong: Int32 = 3
  static let serviceOutOfReach: Int32 = 4
  /// As a shell reports a program that SIGINT ended.
  static let interrupted: Int32 = 130

  static func end(with error: any Error) -> Never {
    switch error {
    case let errors as CatalogErrors:
      for diagnostic in errors.diagnostics { complain("\(diagnostic)") }
      let count = errors.diagnostics.count
      complain("kiln: the catalog is wrong, or has not what was asked for: \(count) error\(count == 1 ? "" : "s")")
      exit(catalogWrong)
    case let failure as Failure:
      complain("kiln: \(failure.message)")
      if let hint = failure.hint { complain("      \(hint)") }
      switch failure.failureClass {
      case .infrastructure: exit(serviceOutOfReach)
      case .input: exit(wrongUse)
      case .build, .test, .policy: exit(workFailed)
      }
    case let error as StoreError: outOfReach("\(error)")
    case let error as QueueError: outOfReach("\(error)")
    case let error as HTTPClientError: outOfReach("\(error)")
    case let code as ExitCode: exit(code.rawValue)
    case is CancellationError:
      complain("kiln: interrupted")
      exit(interrupted)
    // From a command that runs already: the usage that would follow is not its own.
    case let error as ValidationError:
      complain("kiln: \(error.message)")
      exit(wrongUse)
    default:
      let code = Kiln.exitCode(for: error)
      if code == .success { Kiln.exit(withError: error) }
      // ArgumentParser's own code for wrong use is 64.
      complain(Kiln.fullMessage(for: error))
      exit(wrongUse)
    }
  }

  private static func outOfReach(_ message: String) -> Never {
    complain("kiln: \(message)")
    exit(serviceOutOfReach)
  }

  static func complain(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }
}

enum SignalSetup {
  static func ignoreBrokenPipes() { signal(SIGPIPE, SIG_IGN) }
}
