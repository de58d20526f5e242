import Model

extension CatalogInit {
  /// A catalog with the targets of a bake file. A group of targets that are variants of one image becomes a
  /// product with a matrix, any other target a product of its own. Throws all that is wrong at once.
  ///
  /// - Parameter sources: what each target builds, by its name.
  package static func run(
    _ bake: BakeDocument, sources: [String: DockerfileSource], name: String
  ) throws(CatalogErrors) -> CatalogDraft {
    var work = CatalogInit()
    for item in bake.leftOut { work.draft.leave(item) }
    let settingsName = work.draft.name(name, bake.file, "name") ?? "bake"
    var members: [(product: String, members: [Member])] = []
    for (group, targets) in work.groups(bake) {
      members += try work.products(group, targets, bake, sources)
    }
    let hosts = Set(members.flatMap(\.members).flatMap(\.tags).map { ImageName($0)?.host })
    let host = hosts.count == 1 ? hosts.first ?? nil : nil
    var written: [String: String] = [:]
    for (product, members) in members {
      guard let name = work.draft.name(product, bake.file, line: bake.line(product, "tags"), "target.\(product)") else {
        continue
      }
      if let other = written.updateValue(product, forKey: name) {
        throw CatalogErrors([
          Diagnostic(
            file: bake.file, line: bake.line(product, "tags"), field: "target.\(product)",
            "'\(product)' and '\(other)' are both called '\(name)' in a catalog",
            suggestion: .hint("rename one of them, or choose by --target"))
        ])
      }
      work.write(name, members, work.tagging(name, members, bake, host: host))
    }
    return try work.finished(name: settingsName, registry: host.flatMap { Reference.isRegistryPrefix($0) ? $0 : nil })
  }

  /// Each target once, with the first group that has it.
  private mutating func groups(_ bake: BakeDocument) -> [(name: String, targets: [BakeDocument.Target])] {
    var groups: [(name: String, targets: [BakeDocument.Target])] = []
    var seen: Set<String> = []
    for (name, members) in bake.groups.sorted(by: { $0.key < $1.key }) where name != "default" {
      let targets = bake.targets.filter { members.contains($0.name) && !seen.contains($0.name) }
      if targets.count < members.count {
        draft.leave(
          bake.file, line: bake.line(name, "targets"), "group.\(name)",
          "a group of groups, or of targets that another group has too: a catalog has nothing like it")
      }
      // A group with others' targets says nothing of what belongs together.
      guard targets.count == members.count else { continue }
      seen.formUnion(targets.map(\.name))
      groups.append((name, targets))
    }
    return groups + bake.targets.filter { !seen.contains($0.name) }.map { ($0.name, [$0]) }
  }

  private mutating func products(
    _ group: String, _ targets: [BakeDocument.Target], _ bake: BakeDocument, _ sources: [String: DockerfileSource]
  ) throws(CatalogErrors) -> [(product: String, members: [Member])] {
    let isShared = Set(sources.values.map(\.file)).count > 1
    let product = draft.name(group, bake.file, line: bake.line(group, "targets"), "group.\(group)") ?? "app"
    var members: [Member] = []
    for target in targets {
      guard let source = sources[target.name],
        var member = try convert(source, target: target.name, product: product, prefix: isShared ? product : nil)
      else { continue }
      member.tags = target.tags
      members.append(member)
      listUnusedArguments(member, bake)
    }
    if members.count == 1 || Self.areVariants(members) { return members.isEmpty ? [] : [(group, members)] }
    draft.leave(
      bake.file, line: bake.line(group, "targets"), "group.\(group)",
      "its targets differ in more than their fragments' arguments and contents: each is a product of its own")
    return members.map { ($0.target, [$0]) }
  }

  private mutating func listUnusedArguments(_ member: Member, _ bake: BakeDocument) {
    let declared = Set(member.recipe.fragments.flatMap(\.arguments)).union(member.recipe.arguments)
    for name in member.source.arguments.keys.sorted() where !declared.contains(name) {
      if name == ArgumentRule.epoch, member.source.arguments[name] == "\(Recipe.sourceDateEpochSeconds)" { continue }
      draft.leave(
        bake.file, line: bake.line(member.target, "args"), "target.\(member.target).args.\(name)",
        "no ARG of what is taken over has this name")
    }
  }

  private mutating func tagging(
    _ product: String, _ members: [Member], _ bake: BakeDocument, host: String?
  ) -> Tagging {
    let names = members.flatMap(\.tags).compactMap { ImageName($0) }
    let image = names.first { Name.isRepository($0.repository) }?.repository
    for member in members {
      for tag in member.tags {
        let name = ImageName(tag)
        let field = "target.\(member.target).tags"
        let line = bake.line(member.target, "tags")
        if name?.repository != image || name == nil {
          draft.leave(bake.file, line: line, field, "'\(tag)': a product has one image name, '\(image ?? product)'")
        } else if let other = name?.host, other != host {
          draft.leave(
            bake.file, line: line, field, "the registry of '\(tag)'",
            hint: "say it by --push, or 'registry' in catalog.yml")
        }
      }
    }
    return Tagging(image: image ?? product)
  }
}
