import Foundation
import Model

/// A module of the store, as its fragment will be.
struct StoreModule {
  var folder: String
  var file: String
  var textFile: String
  var description: String
  var order: Int?
  var text: String
}

/// A template of the store.
struct StoreTemplate {
  var file: String
  var text: String
  /// What FROM says, in place of which the catalog's template says `{base}`.
  var base: Base

  enum Base {
    case literal(String)
    /// Whatever the manifest says.
    case manifest
    /// An argument's, with its default.
    case argument(String, String?)
  }
}

extension StoreImport {
  /// What a manifest is made of, by the store's paths.
  func parts(of manifest: StoreValue) -> (template: String, modules: [(folder: String, name: String, version: String)])
  {
    let template = manifest["template"]
    let id = template?["id"]?.text ?? "default"
    let version = template?["version"]?.text ?? "latest"
    let path = template?["path"]?.text.map { StorePath.plain($0) ?? $0 }
    let modules = (manifest["modules"]?.items ?? []).map { module in
      let name = module["name"]?.text ?? ""
      let version = module["version"]?.text ?? "latest"
      let folder = module["path"]?.text.map { StorePath.plain($0) ?? $0 }
      return (folder ?? "\(StorePath.modules)/\(name)/\(version)", name, version)
    }
    return (path ?? "\(StorePath.templates)/\(id)/\(version)/\(StorePath.template)", modules)
  }

  mutating func readManifest(_ id: String, _ manifest: StoreValue) {
    let (template, folders) = parts(of: manifest)
    let file = StorePath.manifests
    guard let templateID = readTemplate(template, from: "\(id).template") else { return }
    var markers: Set<String> = []
    for (index, module) in folders.enumerated() {
      let place = "\(id).modules[\(index)]"
      guard let fragment = readModule(module.folder, version: module.version, from: place) else { return }
      if !markers.insert(fragment.name).inserted {
        draft.leave(file, place, "'\(fragment.name)' is there twice; the manifest is left out")
        return
      }
    }
    filled[templateID, default: []].append(markers)
    manifests.insert(id)
  }

  /// Modules and templates that no manifest names.
  mutating func readTheRest() {
    for name in tree.names(in: StorePath.modules) {
      for version in tree.names(in: "\(StorePath.modules)/\(name)") {
        let folder = "\(StorePath.modules)/\(name)/\(version)"
        if store[folder] == nil { _ = readModule(folder, version: version, from: nil) }
      }
    }
    for name in tree.names(in: StorePath.templates) {
      for version in tree.names(in: "\(StorePath.templates)/\(name)") {
        let path = "\(StorePath.templates)/\(name)/\(version)/\(StorePath.template)"
        if store[path] != nil { _ = readTemplate(path, from: nil) }
      }
    }
  }

  // MARK: Templates

  private mutating func readTemplate(_ path: String, from place: String?) -> FragmentVersion? {
    let (file, field) = place.map { (StorePath.manifests, $0) } ?? (path, "name")
    let parts = path.split(separator: "/").map(String.init)
    let isUsual = parts.count == 5 && path.hasPrefix(StorePath.templates + "/") && Name.isTag(parts[3])
    let own =
      isUsual ? parts[2] : (parts.last == StorePath.template ? parts.dropLast() : parts[...]).joined(separator: "-")
    guard let name = draft.name(own, file, field) else { return nil }
    let id = FragmentVersion(name: name, version: isUsual ? parts[3] : "1.0.0")
    if let known = templates[id] {
      if known.file == path { return id }
      draft.leave(file, field, "'\(path)' would have the name of '\(known.file)', \(id)")
      return nil
    }
    guard let text = CatalogDraft.plainText(store[path]) else {
      draft.leave(file, field, "there is no template at '\(path)', or it is not UTF-8")
      return nil
    }
    guard let template = convert(text, path) else { return nil }
    templates[id] = template
    return id
  }

  private mutating func convert(_ text: String, _ path: String) -> StoreTemplate? {
    let parsed = DockerfileParser.parse(text, file: path, into: Diagnostics())
    let froms = parsed.instructions.filter { $0.keyword == "FROM" }
    guard froms.count == 1, let from = froms.first, let image = from.plainWords.first else {
      draft.leave(
        path, "FROM", froms.isEmpty ? "the template has none" : "the template has \(froms.count), a catalog's has one",
        hint: "builder stages go to the Dockerfile.stages of the fragment that uses them")
      return nil
    }
    for flag in from.flags { draft.leave(path, "FROM \(flag.word)", "a product's targets say the platform") }
    var lines = DockerfileParser.lines(of: text)
    let count = from.raw.utf8.count { $0 == 10 }
    let stage = from.stageName.map { " AS \($0)" } ?? ""
    lines.replaceSubrange(from.line - 1..<min(lines.count, from.line - 1 + count), with: ["FROM {base}\(stage)"])
    for index in lines.indices where DockerfileParser.directive(lines[index])?.name == "syntax" && index < from.line {
      draft.leave(path, "syntax", "'\(lines[index])': a frontend of its own, which no key covers, is not run")
      lines[index] = ""
    }
    if let first = lines.first, first.isEmpty { lines.removeFirst() }
    for name in parsed.writtenContextPaths {
      draft.leave(
        path, "COPY", "'\(name)': a template's paths are relative to its own folder", hint: "move it to a fragment")
    }
    return StoreTemplate(
      file: path, text: lines.map { $0 + "\n" }.joined(), base: base(image, parsed.instructions.prefix { $0 != from }))
  }

  private func base(_ image: String, _ head: some Sequence<Instruction>) -> StoreTemplate.Base {
    if image.hasPrefix("{") { return .manifest }
    guard image.hasPrefix("$") else { return .literal(image) }
    let name = Instruction.variableNames(in: image).first ?? ""
    let declared = head.filter { $0.keyword == "ARG" }.flatMap(\.declaredArguments).first { $0.name == name }
    return .argument(name, declared?.value)
  }

  // MARK: Modules

  private mutating func readModule(_ folder: String, version: String, from place: String?) -> FragmentVersion? {
    let file = "\(folder)/\(StorePath.module)"
    let textFile = "\(folder)/\(StorePath.fragment)"
    guard store[file] != nil, let text = CatalogDraft.plainText(store[textFile]) else {
      draft.leave(
        place == nil ? folder : StorePath.manifests, place,
        "there is no \(store[file] == nil ? file : "\(textFile) in UTF-8")"
          + (place == nil ? "" : "; the manifest is left out"))
      return nil
    }
    guard let value = StoreValue.parse(store[file]), value.fields != nil else {
      draft.leave(file, nil, "is not a JSON object")
      return nil
    }
    let said = value["name"]?.text ?? folder.split(separator: "/").dropLast().last.map(String.init) ?? ""
    guard let name = draft.name(said, file, "name") else { return nil }
    guard Name.isTag(version) else {
      draft.leave(place == nil ? file : StorePath.manifests, place ?? "version", "'\(version)' is not a version")
      return nil
    }
    let id = FragmentVersion(name: name, version: version)
    if let known = modules[id] {
      if known.folder == folder { return id }
      draft.leave(file, "name", "'\(id)' is in \(known.folder) too")
      return nil
    }
    leaveUnknown(value, known: ["name", "version", "order", "description"], file, "")
    if let other = value["version"]?.text, other != version {
      draft.leave(file, "version", "'\(other)' does not agree with the folder, which says '\(version)'")
    }
    let order = value["order"]?.integer
    if value["order"] != nil, order.map({ !(0...1_000_000).contains($0) }) ?? true {
      draft.leave(file, "order", "expected a whole number from 0 to 1000000")
    }
    // As the prototype strips it.
    let stripped = text.trimmingCharacters(in: .whitespacesAndNewlines) + "\n"
    if stripped.contains("#--MODULE:") || stripped.contains("#--ENDMODULE--#") {
      draft.leave(textFile, nil, "a marker inside a fragment: only templates have markers")
    }
    modules[id] = StoreModule(
      folder: folder, file: file, textFile: textFile, description: value["description"]?.text ?? said,
      order: order.flatMap { (0...1_000_000).contains($0) ? $0 : nil }, text: stripped)
    return id
  }
}
