import Foundation
import Model

extension DockerfileText {
  /// What changes when a text is put into a Dockerfile.
  struct Rewriting {
    /// Where its paths are relative to.
    let sources: ContextSources
    /// Values of the arguments it declares, by name.
    let arguments: [String: String]
    /// The same with what the build itself sets.
    let value: (Argument) -> String?
    /// What `FROM name` and `--from=name` become, by the name of a base image.
    var images: [String: String] = [:]
    /// Names that are stages, whatever base has the same.
    var stages: Set<String> = []
    /// What becomes of a path, where it is not put behind the folder of `sources`.
    var path: ((String) throws(ContextSources.Problem) -> String)?

    func image(_ name: String) -> String? { stages.contains(name) ? nil : images[name] }

    fileprivate func place(_ source: String) throws(ContextSources.Problem) -> String {
      if let path { return try path(source) }
      return try sources.rewritten(source)
    }
  }

  /// What cannot be rendered, and where.
  struct Unrenderable: Error {
    let problem: ContextSources.Problem
    let file: String
    let line: Int

    var errors: CatalogErrors {
      CatalogErrors([
        Diagnostic(
          file: file, line: line, problem.message, suggestion: problem.hint.map(Diagnostic.Suggestion.hint))
      ])
    }
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
  func rewritten(_ rewriting: Rewriting) throws(Unrenderable) -> RewrittenText {
    var text = RewrittenText()
    var scoped = scoped(value: rewriting.value)[...]
    for item in items {
      switch item {
      case .other(let raw): text.append(raw, from: nil)
      case .instruction(let instruction):
        let scope = scoped.removeFirst().scope
        do {
          let origin = LineOrigin(line: 0, file: file, fileLine: instruction.line)
          text.append(try instruction.rewritten(rewriting, scope), from: origin)
        } catch {
          throw Unrenderable(problem: error, file: file, line: instruction.line)
        }
      }
    }
    return text
  }

  /// Every path of the build context that the text names.
  func contextPaths(_ rewriting: Rewriting) throws(Unrenderable) -> [Instruction.ContextPath] {
    var paths: [Instruction.ContextPath] = []
    for (instruction, scope) in scoped(value: rewriting.value) {
      do throws(ContextSources.Problem) {
        paths += try instruction.contextPaths(scope)
        // Here every value is known.
        if instruction.hasVariableSources,
          let problem = instruction.sourceProblems(scope, in: rewriting.sources).first
        {
          throw problem
        }
      } catch {
        throw Unrenderable(problem: error, file: file, line: instruction.line)
      }
    }
    return paths
  }
}

/// A text with where its instructions come from.
struct RewrittenText {
  private(set) var text = ""
  /// Lines from 1 on.
  private(set) var origins: [LineOrigin] = []
  private var lineCount = 0

  mutating func append(_ text: String, from origin: LineOrigin?) {
    if var origin {
      origin.line = lineCount + 1
      origins.append(origin)
    }
    self.text += text
    lineCount += text.utf8.count { $0 == 10 }
  }

  /// A fragment's text begins with its first line that says something and ends with one newline.
  var stripped: RewrittenText {
    var lines = DockerfileParser.lines(of: text)[...]
    while let last = lines.last, DockerfileParser.isBlank(last) { lines.removeLast() }
    while let first = lines.first, DockerfileParser.isBlank(first) { lines.removeFirst() }
    var stripped = RewrittenText()
    stripped.text = lines.map { $0 + "\n" }.joined()
    stripped.origins = LineOrigin.moved(origins, by: -lines.startIndex)
    return stripped
  }
}

extension Instruction {
  func rewritten(
    _ rewriting: DockerfileText.Rewriting, _ scope: ArgumentScope
  ) throws(ContextSources.Problem) -> String {
    switch keyword {
    case "ARG": return withValues(rewriting.arguments)
    case "COPY", "ADD": return try withPaths(rewriting, scope)
    case "RUN": return try withMounts(rewriting)
    case "FROM":
      guard let stageName, let image = plainWords.first.flatMap(rewriting.image) else { return raw }
      return "FROM \(image) AS \(stageName)\n"
    default: return raw
    }
  }

  func withValues(_ values: [String: String]) -> String {
    // What has its value already stays as it is written.
    guard declaredArguments.contains(where: { values[$0.name] != nil && values[$0.name] != $0.value }) else {
      return raw
    }
    let words = declaredArguments.map { argument in
      values[argument.name].map { "\(argument.name)=\(Self.quoted($0))" } ?? argument.name
    }
    return "ARG \(words.joined(separator: " "))\n"
  }

  private func withPaths(
    _ rewriting: DockerfileText.Rewriting, _ scope: ArgumentScope
  ) throws(ContextSources.Problem) -> String {
    let image = flag("from")?.value.flatMap(rewriting.image)
    let words = try contextWords(scope)
    var list: [String] = []
    for (word, isContextPath) in words { list.append(isContextPath ? try rewriting.place(word) : word) }
    guard image != nil || list != words.map(\.word) else { return raw }
    let flags = flags.map { flag in image.flatMap { flag.name == "from" ? "--from=\($0)" : nil } ?? flag.word }
    return ([keyword] + flags + [json == nil ? list.joined(separator: " ") : Self.jsonList(list)])
      .joined(separator: " ") + "\n" + rawHeredocs
  }

  private static func jsonList(_ words: [String]) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .withoutEscapingSlashes
    // Strings can always be encoded.
    let bytes = (try? encoder.encode(words)) ?? Data()
    return String(decoding: bytes, as: UTF8.self)
  }

  private func withMounts(_ rewriting: DockerfileText.Rewriting) throws(ContextSources.Problem) -> String {
    var changed = false
    var words: [String] = []
    for flag in flags {
      guard flag.name == "mount" else {
        words.append(flag.word)
        continue
      }
      var mount = Mount(flag)
      var isRewritten = false
      for (index, option) in mount.options.enumerated() {
        if option.key == "from", let image = option.value.flatMap(rewriting.image) {
          mount.options[index].value = image
          isRewritten = true
        }
        if mount.isContextBind, option.key == "source" || option.key == "src" {
          let place = try rewriting.place(option.value ?? "")
          isRewritten = isRewritten || place != option.value
          mount.options[index].value = place
        }
      }
      words.append(isRewritten ? mount.word : flag.word)
      changed = changed || isRewritten
    }
    return changed ? (["RUN"] + words).joined(separator: " ") + " " + rawRest : raw
  }
}
