/// The variables that an instruction sees, as far as they are known before the build.
struct ArgumentScope {
  private enum Value {
    case known(String)
    /// A manifest or a platform will say it.
    case later
    case environment
  }

  private var values: [String: Value] = [:]

  /// What `instruction` says to those after it. `value` is nil for what is not known yet.
  mutating func read(_ instruction: Instruction, value: (Argument) -> String?) {
    switch instruction.keyword {
    case "FROM": values = [:]
    case "ARG":
      for argument in instruction.declaredArguments {
        values[argument.name] = value(argument).map(Value.known) ?? .later
      }
    case "ENV": for name in instruction.environmentNames { values[name] = .environment }
    default: break
    }
  }

  /// A path, as BuildKit expands it.
  func expanded(_ word: String) throws(ContextSources.Problem) -> String {
    try ShellWord.expanded(word) { name throws(ContextSources.Problem) in
      let hint = "which files are meant must be known before the build"
      switch values[name] {
      case .known(let value): return value
      case .later: throw ContextSources.Problem("'\(word)' needs the value of '\(name)'", isOpen: true)
      case .environment: throw ContextSources.Problem("'\(word)' has the ENV variable '\(name)': \(hint); use an ARG")
      case nil:
        throw ContextSources.Problem("'\(word)' has the variable '\(name)', which no ARG above it declares: \(hint)")
      }
    }
  }
}

extension DockerfileText {
  /// Each instruction with what it sees.
  func scoped(value: (Argument) -> String?) -> [(instruction: Instruction, scope: ArgumentScope)] {
    var scope = ArgumentScope()
    return instructions.map { instruction in
      defer { scope.read(instruction, value: value) }
      return (instruction, scope)
    }
  }
}
