package import Foundation
package import Model
package import Registry

/// The docker client, with a configuration of its own and an environment that names every variable.
///
/// The user's configuration is not used, since its proxy settings, passwords included, would enter
/// RUN: only credentials, contexts and plug-ins are taken over.
package struct DockerClient: Sendable {
  package let executable: String
  package let environment: [String: String]
  package let time: any TimeSource

  /// Writes a fresh client configuration into `configurationFolder`, which is emptied first. `login` is
  /// added to the user's own.
  package init(
    builder: Pool.Builder, configurationFolder: URL, login: RegistryLogin? = nil, executable: String = "docker",
    inherited: [String: String] = ProcessInfo.processInfo.environment, time: any TimeSource
  ) throws {
    let home = inherited["HOME"] ?? NSHomeDirectory()
    let userFolder =
      inherited["DOCKER_CONFIG"].map(URL.init(fileURLWithPath:))
      ?? URL(fileURLWithPath: home).appendingPathComponent(".docker")
    let user = Self.configuration(in: userFolder)
    try Self.write(Self.credentials(of: user, and: login), from: userFolder, to: configurationFolder)

    var environment = ["DOCKER_CONFIG": configurationFolder.path, "HOME": home, "LC_ALL": "C"]
    environment["PATH"] = inherited["PATH"]
    environment["TMPDIR"] = inherited["TMPDIR"]
    // A credential helper and an ssh engine find their own agents by these.
    environment["XDG_RUNTIME_DIR"] = inherited["XDG_RUNTIME_DIR"]
    environment["SSH_AUTH_SOCK"] = inherited["SSH_AUTH_SOCK"]
    if let host = builder.host {
      environment["DOCKER_HOST"] = host
    } else if let context = builder.context, context != "default" {
      environment["DOCKER_CONTEXT"] = context
    } else {
      // What docker finds by itself.
      for name in ["DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONTEXT"] {
        environment[name] = inherited[name]
      }
      if environment["DOCKER_HOST"] == nil && environment["DOCKER_CONTEXT"] == nil {
        environment["DOCKER_CONTEXT"] = user["currentContext"] as? String
      }
    }
    self.executable = executable
    self.environment = environment
    self.time = time
  }

  package func program(_ arguments: [String], input: Program.Input = .none, deadlineSeconds: Double) -> Program {
    Program(executable, arguments, environment: environment, input: input, deadlineSeconds: deadlineSeconds)
  }

  /// Runs a command to its end, whatever its exit status.
  package func run(
    _ arguments: [String], input: Program.Input = .none, deadlineSeconds: Double = 30
  ) async throws -> Program.Result {
    try await program(arguments, input: input, deadlineSeconds: deadlineSeconds).run(time: time)
  }

  /// Standard output of a command that must succeed.
  package func output(
    _ arguments: [String], input: Program.Input = .none, deadlineSeconds: Double = 30
  ) async throws -> String {
    let result = try await run(arguments, input: input, deadlineSeconds: deadlineSeconds)
    guard result.succeeded else {
      let what = "docker \(arguments.prefix(2).joined(separator: " "))"
      if case .stopped = result.ending {
        throw Failure(
          .infrastructure, code: "engine-frozen", "\(what) did not answer within \(Int(deadlineSeconds)) s",
          hint: "the engine hangs; look at its log, and restart it")
      }
      let unreachable = result.errorText.contains("Cannot connect") || result.errorText.contains("error during connect")
      throw Failure(
        .infrastructure, code: unreachable ? "engine-unreachable" : "engine-error", "\(what): \(result.errorText)",
        hint: unreachable ? "is the engine running?" : nil)
    }
    return result.outputText.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  // MARK: Configuration

  private static func configuration(in folder: URL) -> [String: Any] {
    guard let bytes = try? Data(contentsOf: folder.appendingPathComponent("config.json")) else { return [:] }
    return (try? JSONSerialization.jsonObject(with: bytes)) as? [String: Any] ?? [:]
  }

  private static func credentials(of user: [String: Any], and login: RegistryLogin?) -> [String: Any] {
    var credentials = user.filter { ["auths", "credHelpers", "credsStore"].contains($0.key) }
    if let login {
      var known = credentials["auths"] as? [String: Any] ?? [:]
      known[login.host] = ["auth": login.credentials.encoded]
      credentials["auths"] = known
      // For this host the client looks here, whatever helper the user has for all others.
      var helpers = credentials["credHelpers"] as? [String: Any] ?? [:]
      helpers[login.host] = ""
      credentials["credHelpers"] = helpers
    }
    return credentials
  }

  private static func write(_ configuration: [String: Any], from userFolder: URL, to folder: URL) throws {
    let files = FileManager.default
    try? files.removeItem(at: folder)
    do {
      try files.createDirectory(
        at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
      let bytes = try JSONSerialization.data(withJSONObject: configuration, options: [.sortedKeys])
      let file = folder.appendingPathComponent("config.json")
      guard files.createFile(atPath: file.path, contents: bytes, attributes: [.posixPermissions: 0o600]) else {
        throw CocoaError(.fileWriteUnknown)
      }
      for shared in ["contexts", "cli-plugins"] {
        let target = userFolder.appendingPathComponent(shared)
        guard files.fileExists(atPath: target.path) else { continue }
        try files.createSymbolicLink(at: folder.appendingPathComponent(shared), withDestinationURL: target)
      }
    } catch {
      throw Failure(
        .infrastructure, code: "work-folder",
        "cannot write the docker client's configuration to \(folder.path): \(error)",
        hint: "the executor needs a work folder that it may write to")
    }
  }
}
