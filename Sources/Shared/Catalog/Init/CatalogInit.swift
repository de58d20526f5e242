import Model

/// Makes a catalog of Dockerfiles: of one, or of those that a bake file's targets name.
///
/// A catalog that it makes passes `kiln catalog check`: whatever the check would refuse is an error here,
/// at its place in the Dockerfile. What a catalog has no place for is listed in the draft.
package struct CatalogInit {
  /// One image: a product's only one, or one variant of it on its platforms.
  struct Member {
    var target: String
    var recipe: DockerfileRecipe
    var source: DockerfileSource
    var tags: [String] = []
    /// Versions of the fragments, once they have some.
    var choice: [String: String] = [:]
  }

  var draft = CatalogDraft()
  let found = Diagnostics()
  /// Of the lines of what is written: file and line in the input.
  private var origins: [String: (file: String, lines: [Int])] = [:]
  private var fragments: [String: [(fragment: DockerfileRecipe.Fragment, version: String)]] = [:]

  static let standardVersion = "1.0.0"

  /// A catalog with one product of this name. Throws all that is wrong at once.
  package static func run(_ source: DockerfileSource, name: String) throws(CatalogErrors) -> CatalogDraft {
    var work = CatalogInit()
    let product = work.draft.name(name, source.file, "name") ?? "app"
    if let member = try work.convert(source, target: product, product: product, prefix: nil) {
      work.write(product, [member], Tagging(image: product))
    }
    return try work.finished(name: product, registry: nil)
  }

  mutating func convert(
    _ source: DockerfileSource, target: String, product: String, prefix: String?
  ) throws(CatalogErrors) -> Member? {
    var conversion = try DockerfileConversion(source, product: product, prefix: prefix, draft: draft, found: found)
    let recipe = conversion.run()
    draft = conversion.draft
    return recipe.map { Member(target: target, recipe: $0, source: source) }
  }

  /// The catalog, checked.
  mutating func finished(name: String, registry: String?) throws(CatalogErrors) -> CatalogDraft {
    draft.writeSettings(name: name, context: [], registry: registry)
    var wrong = draft.wrong
    if found.count > 0 {
      // What is half made has other faults too: of the check, only what it says of other lines counts.
      wrong = wrong.filter { origins[$0.file] != nil }
    }
    wrong = wrong.map(inInput).filter { item in
      !found.found.contains { $0.file == item.file && $0.line == item.line }
    }
    guard wrong.isEmpty, found.count == 0 else { throw CatalogErrors(found.found + wrong) }
    return draft
  }

  /// What the check says of a file that was made, said of what it was made of.
  private func inInput(_ diagnostic: Diagnostic) -> Diagnostic {
    var diagnostic = diagnostic
    if let origin = origins[diagnostic.file] {
      diagnostic.file = origin.file
      diagnostic.line = diagnostic.line.map { origin.lines.indices.contains($0 - 1) ? origin.lines[$0 - 1] : $0 }
    }
    for (path, origin) in origins where diagnostic.message.contains(path + ":") {
      for (index, line) in origin.lines.enumerated().reversed() {
        diagnostic.message = diagnostic.message.replacing("\(path):\(index + 1)", with: "\(origin.file):\(line)")
      }
    }
    return diagnostic
  }

  func placed(_ name: String) -> [(fragment: DockerfileRecipe.Fragment, version: String)] { fragments[name] ?? [] }

  mutating func place(_ fragment: DockerfileRecipe.Fragment, _ version: String) {
    fragments[fragment.name, default: []].append((fragment, version))
  }

  // MARK: Writing

  /// Members of one product have the same template, base and fragments' names.
  mutating func write(_ name: String, _ members: [Member], _ tagging: Tagging) {
    guard let first = members.first else { return }
    var members = members
    let template = "templates/\(name)/\(Self.standardVersion)"
    write("\(template)/\(CatalogLoader.templateFile)", first.recipe.template, of: first.recipe.file)
    for file in first.recipe.templateFiles { write(file, below: template) }
    let varying = varyingArguments(members)
    for index in members.indices {
      for fragment in members[index].recipe.fragments {
        members[index].choice[fragment.name] = version(of: fragment, members[index], varying)
      }
    }
    var manifest = "name: \(name)\ntemplate: \(name)@\(Self.standardVersion)\n"
    manifest += "base: \(CatalogDraft.quoted(first.recipe.base))\n"
    manifest += first.recipe.fragments.isEmpty ? "fragments: {}\n" : "fragments:\n"
    for fragment in first.recipe.fragments {
      manifest += "  \(fragment.name): \(CatalogDraft.quoted(members[0].choice[fragment.name] ?? ""))\n"
    }
    draft.write("manifests/\(name).yml", manifest)
    let matrix = Self.matrix(members)
    var tagging = tagging
    tagging.read(members, matrix: matrix.axes)
    for (target, tag) in tagging.leftOut {
      draft.leave(
        first.recipe.file, "target.\(target).tags",
        "'\(tag)' fits no rule for all variants; their tags are \(tagging.rules.joined(separator: ", "))")
    }
    draft.write("products/\(name).yml", Self.productText(name, members, tagging) + matrix.text)
  }

  mutating func write(_ path: String, _ text: TracedText, of file: String) {
    draft.write(path, text.text)
    origins[path] = (file, text.lines)
  }

  mutating func write(_ file: CatalogTree.Entry, below folder: String) {
    draft.write(CatalogTree.Entry(path: "\(folder)/\(file.path)", content: file.content))
  }

  private static func productText(_ name: String, _ members: [Member], _ tagging: Tagging) -> String {
    var text = "name: \(name)\nimage: \(CatalogDraft.quoted(tagging.image))\n"
    text += "version: \(CatalogDraft.quoted(tagging.version))\nmanifest: \(name)\n"
    text += "tags: \(CatalogDraft.list(tagging.rules))\ntargets:\n"
    var platforms: [String] = []
    for platform in members.flatMap(\.recipe.platforms) where !platforms.contains(platform) {
      platforms.append(platform)
    }
    for platform in platforms { text += "  - platform: \(CatalogDraft.quoted(platform))\n" }
    return text
  }
}
