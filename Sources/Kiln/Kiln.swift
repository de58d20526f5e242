import ArgumentParser

/// `kiln`: argument parsing, choice of drivers, services. The work is in the libraries.
@main
struct Kiln: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kiln",
    abstract: "A build farm for container images that are made of versioned fragments.",
    discussion: """
      Exit codes: 0 done; 1 the work failed; 2 wrong use; 3 the catalog is wrong, or has not what was asked for; \
      4 a service is out of reach, or the embedded store is in use; 130 interrupted.

      Settings: options, else KILN_* in the environment; docs/settings.md lists them.
      """,
    version: KilnVersion.text,
    groupedSubcommands: [
      CommandGroup(
        name: "Catalog",
        subcommands: [CatalogCommand.self, LockCommand.self, RenderCommand.self, PlanCommand.self]),
      CommandGroup(
        name: "Work",
        subcommands: [
          BuildCommand.self, ShellCommand.self, SubmitCommand.self, CancelCommand.self, RetryCommand.self,
          StatusCommand.self, ExplainCommand.self, LogsCommand.self, RecordsCommand.self, DeadLettersCommand.self,
        ]),
      CommandGroup(
        name: "Farm", subcommands: [CoordinatorCommand.self, ExecutorCommand.self, DatabaseCommand.self]),
    ])

  static func main() async {
    // A client that went away must not end a daemon.
    SignalSetup.ignoreBrokenPipes()
    do {
      var command = try parseAsRoot()
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
    } catch {
      Exit.end(with: error)
    }
  }
}

enum KilnVersion {
  static let text = "0.1.0"
}
