import Model

/// One full choice: a manifest with exact fragment versions in the template's places.
package struct Composition: Sendable, Hashable {
  package enum Owner: Sendable, Hashable {
    case template
    case fragment(Fragment)
  }

  package struct Part: Sendable, Hashable {
    package var owner: Owner
    /// For people: `core@0.2.0`, `template base@1.0.0 (head)`.
    package var title: String
    package var text: DockerfileText

    package var fragment: Fragment? { if case .fragment(let fragment) = owner { fragment } else { nil } }
    var name: String { fragment.map { "fragment '\($0.id.name)'" } ?? "the template" }
    var texts: [DockerfileText] { [text] + [fragment?.stages].compactMap(\.self) }
    var declared: [Argument] { texts.flatMap(\.arguments) }
  }

  package var manifest: ProductManifest
  package var template: Template
  package var base: BaseDefinition
  /// In the template's order.
  package var parts: [Part]

  package var fragments: [Fragment] { parts.compactMap(\.fragment) }

  /// Why this choice can never be built, by what its fragments require and exclude; nil if it can.
  package var impossibility: String? {
    let present = fragments
    for (position, fragment) in present.enumerated() {
      for relation in fragment.conflicts {
        if let other = present.first(where: { relation.matches($0.id) }) {
          return "\(fragment.id) conflicts with \(other.id)"
        }
      }
      for relation in fragment.requires {
        let wanted =
          relation.versions.map { "\(relation.fragment)@\($0.joined(separator: " or "))" } ?? relation.fragment
        guard let index = present.firstIndex(where: { $0.id.name == relation.fragment }) else {
          return "\(fragment.id) requires \(wanted), which is not in it"
        }
        if !relation.matches(present[index].id) {
          return "\(fragment.id) requires \(wanted), but it has \(present[index].id)"
        }
        if index > position { return "\(fragment.id) requires \(wanted), which comes after it" }
      }
    }
    return nil
  }

  /// The value that `argument` has in `part` (nil: before FROM): the manifest's, else the fragment's
  /// default, else the text's, else that of the global argument.
  func value(of argument: Argument, in part: Part?) -> String? {
    if let value = manifest.arguments[argument.name]?.value { return value }
    if let value = part?.fragment?.arguments[argument.name]?.value { return value }
    if let value = argument.value { return value }
    return template.globalArguments.first { $0.name == argument.name }?.value
  }

  /// The same, with what the build itself sets where the platform is known.
  func value(of argument: Argument, in part: Part?, on platform: Platform?) -> String? {
    guard Self.isSetByBuild(argument.name) else { return value(of: argument, in: part) }
    return platform.flatMap { ArgumentRule.values(of: $0)[argument.name] }
  }

  /// Where the paths of a part's text begin.
  func sources(of part: Part, in tree: CatalogTree) -> ContextSources {
    part.fragment.map { TextOwner(fragment: $0, tree: tree).sources }
      ?? ContextSources(folder: template.folder, tree: tree)
  }

  static func isSetByBuild(_ name: String) -> Bool {
    ArgumentRule.predefined.contains(name) || name == ArgumentRule.epoch
  }
}

extension Catalog {
  /// Puts a manifest together, with `choice` (fragment → version) in place of what it says.
  package func compose(manifest name: String, choice: Matrix.Choice = [:]) throws(CatalogErrors) -> Composition {
    guard let manifest = manifests[name] else {
      throw CatalogErrors([
        Diagnostic(
          file: "manifests", "there is no manifest '\(name)'",
          suggestion: NearestName.suggestion(for: name, among: manifests.keys.sorted()))
      ])
    }
    guard let template = templates[manifest.template.value] else {
      throw CatalogErrors([unknownTemplate(manifest)])
    }
    guard let base = settings.bases[manifest.base.value] else { throw CatalogErrors([unknownBase(manifest)]) }
    var chosen: [String: Fragment] = [:]
    var wrong: [Diagnostic] = []
    for entry in manifest.fragments {
      let id = FragmentVersion(name: entry.value.name, version: choice[entry.value.name] ?? entry.value.version)
      if let fragment = fragments[id] {
        chosen[id.name] = fragment
      } else {
        wrong.append(unknownFragment(id, file: manifest.file, line: entry.line, field: "fragments.\(id.name)"))
      }
    }
    for name in choice.keys.sorted() where !manifest.fragments.contains(where: { $0.value.name == name }) {
      wrong.append(
        Diagnostic(
          file: manifest.file, "the manifest has no fragment '\(name)' to choose a version of",
          suggestion: NearestName.suggestion(for: name, among: manifest.fragments.map(\.value.name))))
    }
    guard wrong.isEmpty else { throw CatalogErrors(wrong) }
    return Composition(manifest: manifest, template: template, base: base, parts: parts(template, chosen))
  }

  private func parts(_ template: Template, _ chosen: [String: Fragment]) -> [Composition.Part] {
    var parts: [Composition.Part] = []
    var place = "head"
    for (position, part) in template.parts.enumerated() {
      switch part {
      case .text(let text):
        if position == template.parts.count - 1, place != "head" { place = "tail" }
        parts.append(Composition.Part(owner: .template, title: "template \(template.id) (\(place))", text: text))
      case .marker(let marker):
        place = "after \(marker.fragment)"
        guard let fragment = chosen[marker.fragment] else {
          let title = "template \(template.id) (without \(marker.fragment))"
          parts.append(Composition.Part(owner: .template, title: title, text: marker.standard))
          continue
        }
        parts.append(Composition.Part(owner: .fragment(fragment), title: fragment.id.description, text: fragment.text))
      }
    }
    return parts
  }

  // MARK: What does not exist

  func unknownTemplate(_ manifest: ProductManifest) -> Diagnostic {
    unknown(
      "template", manifest.template.value, among: Array(templates.keys), file: manifest.file,
      line: manifest.template.line, field: "template")
  }

  func unknownFragment(_ id: FragmentVersion, file: String, line: Int?, field: String) -> Diagnostic {
    unknown("fragment", id, among: Array(fragments.keys), file: file, line: line, field: field)
  }

  func unknownBase(_ manifest: ProductManifest) -> Diagnostic {
    Diagnostic(
      file: manifest.file, line: manifest.base.line, field: "base",
      "there is no base image '\(manifest.base.value)' in catalog.yml",
      suggestion: NearestName.suggestion(for: manifest.base.value, among: settings.bases.keys.sorted()))
  }

  private func unknown(
    _ kind: String, _ id: FragmentVersion, among known: [FragmentVersion], file: String, line: Int?, field: String
  ) -> Diagnostic {
    let versions = known.filter { $0.name == id.name }.map(\.version).sorted()
    if versions.isEmpty {
      return Diagnostic(
        file: file, line: line, field: field, "there is no \(kind) '\(id.name)'",
        suggestion: NearestName.suggestion(for: id.name, among: Set(known.map(\.name)).sorted()))
    }
    return Diagnostic(
      file: file, line: line, field: field, "\(kind) '\(id.name)' has no version '\(id.version)'",
      suggestion: NearestName.suggestion(for: id.version, among: versions)
        ?? .hint("there is \(versions.joined(separator: ", "))"))
  }
}
