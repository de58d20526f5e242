import Foundation

extension DockerfileText {
  /// What changes when a text is put into a Dockerfile.
  struct Rewriting {
    /// Where its paths are relative to.
    let sources: ContextSources
    /// Values of the arguments it declares, by name.
    let arguments: [String: String]
    /// What `FROM name` becomes, by the name of a base image.
    var images: [String: String] = [:]
  }

  /// A template's head with its arguments' values in place.
  func withValues(_ values: [String: String]) -> String {
    items.map { item in
      switch item {
      case .other(let raw): raw
      case .instruction(let instruction):
        instruction.keyword == "ARG" ? instruction.withValues(values) : instruction.raw
      }
    }.joined()
  }

  /// The text with its paths relative to the catalog and its arguments' values in place. Everything
  /// else stays as it is written.
  func rewritten(_ rewriting: Rewriting) throws(ContextSources.Problem) -> String {
    var text = ""
    for item in items {
      switch item {
      case .other(let raw): text += raw
      case .instruction(let instruction): text += try instruction.rewritten(rewriting)
      }
    }
    return text
  }
}

extension Instruction {
  fileprivate func rewritten(_ rewriting: DockerfileText.Rewriting) throws(ContextSources.Problem) -> String {
    switch keyword {
    case "ARG": return withValues(rewriting.arguments)
    case "COPY", "ADD": return try withPaths(rewriting.sources)
    case "RUN": return try withMounts(rewriting.sources)
    case "FROM":
      guard let stageName, let image = plainWords.first.flatMap({ rewriting.images[$0] }) else { return raw }
      return "FROM \(image) AS \(stageName)\n"
    default: return raw
    }
  }

  fileprivate func withValues(_ values: [String: String]) -> String {
    // What has its value already stays as it is written.
    guard declaredArguments.contains(where: { values[$0.name] != nil && values[$0.name] != $0.value }) else {
      return raw
    }
    let words = declaredArguments.map { argument in
      values[argument.name].map { "\(argument.name)=\(Self.quoted($0))" } ?? argument.name
    }
    return "ARG \(words.joined(separator: " "))\n"
  }

  private func withPaths(_ context: ContextSources) throws(ContextSources.Problem) -> String {
    let sources = self.sources
    let hasPaths = sources.contains { if case .context = $0 { true } else { false } }
    guard hasPaths, !context.folder.isEmpty, let destination = plainWords.last else { return raw }
    var words: [String] = []
    for (word, source) in zip(plainWords, sources) {
      if case .context(let path) = source { words.append(try context.rewritten(path)) } else { words.append(word) }
    }
    words.append(destination)
    let list = json == nil ? words.joined(separator: " ") : Self.jsonList(words)
    return ([keyword] + flags.map(\.word) + [list]).joined(separator: " ") + "\n" + rawHeredocs
  }

  private static func jsonList(_ words: [String]) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .withoutEscapingSlashes
    // Strings can always be encoded.
    let bytes = (try? encoder.encode(words)) ?? Data()
    return String(decoding: bytes, as: UTF8.self)
  }

  private func withMounts(_ context: ContextSources) throws(ContextSources.Problem) -> String {
    guard !context.folder.isEmpty, mounts.contains(where: \.isContextBind) else { return raw }
    var words: [String] = []
    for flag in flags {
      var mount = Mount(flag)
      if flag.name == "mount", mount.isContextBind {
        for (index, option) in mount.options.enumerated() where option.key == "source" || option.key == "src" {
          mount.options[index].value = try context.rewritten(option.value ?? "")
        }
        words.append(mount.word)
      } else {
        words.append(flag.word)
      }
    }
    return (["RUN"] + words).joined(separator: " ") + " " + rawRest
  }
}
