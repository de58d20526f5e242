import Foundation
package import Model

/// One plain Dockerfile for one platform, and the sections that become its layers.
package struct RenderedDockerfile: Sendable, Hashable {
  /// One part of a composition; a layer, unless it is empty.
  package struct Section: Sendable, Hashable {
    package var title: String
    /// Nil for what the template says.
    package var fragment: Fragment?
    /// As it stands in the single Dockerfile.
    package var text: String
    /// The fragment's builder stages, rewritten likewise.
    package var stages: String
    /// Nothing but comments and blank lines.
    package var isEmpty: Bool
    /// Values of the arguments that the layer's text declares.
    package var arguments: [String: String]
    /// Exactly the files that text and stages name; nil where they name none.
    package var context: ContextArchive?

    /// Directives and global arguments.
    fileprivate var opening: String
    fileprivate var textOrigins: [LineOrigin]
    fileprivate var stagesOrigins: [LineOrigin]

    /// The layer's own Dockerfile.
    package var dockerfile: String { dockerfile(from: Recipe.parentContextName) }

    package func dockerfile(from image: String) -> String {
      head(from: image) + text
    }

    /// Where the instructions of the layer's own Dockerfile stand in the catalog.
    package var origins: [LineOrigin] {
      LineOrigin.moved(stagesOrigins, by: Self.lineCount(opening))
        + [LineOrigin(line: Self.lineCount(opening + stages) + 1, file: nil, fileLine: 0)]
        + LineOrigin.moved(textOrigins, by: Self.lineCount(head(from: Recipe.parentContextName)))
    }

    private func head(from image: String) -> String {
      opening + stages + "FROM \(image)\nARG \(ArgumentRule.epoch)\n"
    }

    private static func lineCount(_ text: String) -> Int { text.utf8.count { $0 == 10 } }
  }

  /// Directives, global arguments, builder stages and FROM.
  package var prologue: String
  package var sections: [Section]

  /// What `kiln render` prints. Its context is the catalog's directory.
  package var text: String { prologue + sections.map(\.text).joined() }

  /// The same with each fragment between marker comments that name its version: `kiln catalog init`
  /// makes the fragments of it again.
  package var markedText: String {
    prologue
      + sections.map { section in
        section.fragment.map { "#--MODULE:\($0.id)--#\n\(section.text)#--ENDMODULE--#\n" } ?? section.text
      }.joined()
  }

  /// What must stand in `.dockerignore`, for docker to leave out of its context what Kiln leaves out:
  /// the fragments' own, seen from the catalog. Docker reads it as `FILE.dockerignore` too.
  package var ignoreText: String

  /// Where the base is an OCI layout, docker is told where it lies by `--build-context NAME=…`.
  package var buildContexts: [String: String]
}

/// The contexts of one catalog's parts, which no choice and no platform changes.
package struct ContextCache {
  /// By a part's title (a fragment's version, or a template's version and a place in it) and by the
  /// paths that its arguments make.
  fileprivate var archives: [Key: ContextArchive?] = [:]

  fileprivate struct Key: Hashable {
    let title: String
    let paths: [Instruction.ContextPath]
  }

  package init() {}
}

extension Catalog {
  /// Renders a composition. What `lock` pins is pinned; without it, images are named by their tags.
  package func render(
    _ composition: Composition, platform: Platform, lock: Lock
  ) throws(CatalogErrors) -> RenderedDockerfile {
    var cache = ContextCache()
    return try render(composition, platform: platform, lock: lock, cache: &cache)
  }

  /// The same for many compositions of this catalog, each context made once.
  package func render(
    _ composition: Composition, platform: Platform, lock: Lock, cache: inout ContextCache
  ) throws(CatalogErrors) -> RenderedDockerfile {
    let template = composition.template
    var opening = template.directives.map { $0 + "\n" }.joined()
    var globals: [String: String] = [:]
    for argument in template.globalArguments {
      let value = composition.value(of: argument, in: nil) ?? ""
      globals[argument.name] = value
      opening += "ARG \(argument.name)=\(Instruction.quoted(value))\n"
    }
    let images = settings.bases.values.filter { $0.layoutPath == nil }.map { ($0.name, lock.image(of: $0, platform)) }
    var sections: [RenderedDockerfile.Section] = []
    for part in composition.parts {
      sections.append(
        try section(
          part, of: composition, platform: platform, opening: opening, globals: globals,
          images: Dictionary(uniqueKeysWithValues: images), cache: &cache))
    }
    let head = composition.template.head.withValues(globals)
    let stageName = composition.template.stageName.map { " AS \($0)" } ?? ""
    let prologue =
      head + sections.map(\.stages).joined() + "FROM \(lock.image(of: composition.base, platform))\(stageName)\n"
      + "ARG \(ArgumentRule.epoch)\n"
    var contexts: [String: String] = [:]
    if let path = composition.base.layoutPath {
      let digest = lock.digest(of: composition.base, platform)
      contexts[composition.base.name] = "oci-layout://\(path)" + (digest.map { "@\($0)" } ?? ":\(composition.base.tag)")
    }
    return RenderedDockerfile(
      prologue: prologue, sections: sections,
      ignoreText: composition.parts.map { composition.sources(of: $0, in: tree).ignoreText }.joined(),
      buildContexts: contexts)
  }

  private func section(
    _ part: Composition.Part, of composition: Composition, platform: Platform, opening: String,
    globals: [String: String], images: [String: String], cache: inout ContextCache
  ) throws(CatalogErrors) -> RenderedDockerfile.Section {
    var values: [String: String] = [:]
    for argument in part.declared where !Composition.isSetByBuild(argument.name) {
      values[argument.name] = composition.value(of: argument, in: part)
    }
    let rewriting = DockerfileText.Rewriting(
      sources: composition.sources(of: part, in: tree), arguments: values,
      value: { composition.value(of: $0, in: part, on: platform) }, images: images,
      stages: Set(part.texts.flatMap(\.instructions).compactMap(\.stageName)))
    do {
      var text = try part.text.rewritten(rewriting)
      let stages = try part.fragment?.stages?.rewritten(rewriting).stripped ?? RewrittenText()
      if part.fragment != nil { text = text.stripped }
      return RenderedDockerfile.Section(
        title: part.title, fragment: part.fragment, text: text.text, stages: stages.text, isEmpty: part.text.isEmpty,
        arguments: globals.merging(values) { $1 }, context: try context(of: part, rewriting, &cache),
        opening: opening, textOrigins: text.origins, stagesOrigins: stages.origins)
    } catch {
      throw error.errors
    }
  }

  private func context(
    of part: Composition.Part, _ rewriting: DockerfileText.Rewriting, _ cache: inout ContextCache
  ) throws(DockerfileText.Unrenderable) -> ContextArchive? {
    var paths: [Instruction.ContextPath] = []
    for text in part.texts { paths += try text.contextPaths(rewriting) }
    paths += part.fragment?.extraFiles.map { Instruction.ContextPath(path: $0.value, patterns: true) } ?? []
    let key = ContextCache.Key(title: part.title, paths: paths)
    if let known = cache.archives[key] { return known }
    var entries: [TarArchive.Entry] = []
    do {
      for path in paths { entries += try rewriting.sources.entries(path.path, patterns: path.patterns) }
    } catch {
      // What the check of the catalog has seen already.
      throw DockerfileText.Unrenderable(problem: error, file: part.text.file, line: part.text.firstLine)
    }
    let archive = entries.isEmpty ? nil : ContextArchive(entries)
    cache.archives.updateValue(archive, forKey: key)
    return archive
  }
}
