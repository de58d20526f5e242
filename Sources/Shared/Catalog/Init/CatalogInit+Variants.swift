import Model

extension CatalogInit {
  /// Arguments whose values tell a product's members apart.
  func varyingArguments(_ members: [Member]) -> Set<String> {
    let names = Set(members.flatMap { $0.source.arguments.keys })
    return names.filter { name in Set(members.map { $0.source.arguments[name] }).count > 1 }
  }

  /// Puts a fragment into the catalog, once; the version it has there. Another content under the same name
  /// is another version: the one that its marker says, else the value of the argument that makes it another.
  mutating func version(
    of fragment: DockerfileRecipe.Fragment, _ member: Member, _ varying: Set<String>
  ) -> String {
    var plain = fragment
    (plain.version, plain.description) = (nil, "")
    let known = placed(fragment.name)
    if let same = known.first(where: { $0.fragment == plain }) { return same.version }
    let values = varying.intersection(fragment.arguments).compactMap { member.source.arguments[$0] }
    let value = values.count == 1 && Name.isTag(values[0]) ? values[0] : Self.standardVersion
    let wanted = fragment.version ?? value
    let candidates = [wanted] + (2...(known.count + 2)).map { "\(wanted)-\($0)" }
    let version = candidates.first { candidate in !known.contains { $0.version == candidate } } ?? wanted
    place(plain, version)
    write(fragment, version, of: member.recipe.file)
    return version
  }

  private mutating func write(_ fragment: DockerfileRecipe.Fragment, _ version: String, of file: String) {
    let folder = "fragments/\(fragment.name)/\(version)"
    var text = "name: \(fragment.name)\nversion: \(CatalogDraft.quoted(version))\n"
    text += "description: \(CatalogDraft.quoted(fragment.description))\n"
    if !fragment.isReproducible { text += "# It has a cache mount.\nreproducible: false\n" }
    if !fragment.secrets.isEmpty {
      text += "# Raise a version whenever the secret's value changes what is built.\nsecrets:\n"
      for id in fragment.secrets.sorted() { text += "  \(CatalogDraft.quoted(id)): 1\n" }
    }
    draft.write("\(folder)/fragment.yml", text)
    write("\(folder)/\(CatalogLoader.fragmentFile)", fragment.text, of: file)
    if !fragment.stages.lines.isEmpty { write("\(folder)/\(CatalogLoader.stagesFile)", fragment.stages, of: file) }
    for entry in fragment.files { write(entry, below: folder) }
  }

  // MARK: Matrices

  struct Variants {
    /// Fragments of which the product has several versions.
    var axes: [String] = []
    var text = ""
  }

  /// The members' choices as a matrix: its axes' product where that is what they are, else each by itself.
  static func matrix(_ members: [Member]) -> Variants {
    let names = members.first.map { $0.choice.keys.sorted() } ?? []
    let axes = names.map { name in (name: name, versions: Set(members.compactMap { $0.choice[name] }).sorted()) }
      .filter { $0.versions.count > 1 }
    guard !axes.isEmpty else { return Variants() }
    let choices = Set(members.map { member in axes.map { member.choice[$0.name] ?? "" } })
    var text = "matrix:\n"
    if choices.count == axes.reduce(1, { $0 * $1.versions.count }) {
      for axis in axes { text += "  \(axis.name): \(CatalogDraft.list(axis.versions))\n" }
    } else {
      text += "  include:\n"
      for choice in choices.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
        let pairs = zip(axes, choice).map { "\($0.name): \(CatalogDraft.quoted($1))" }
        text += "    - {\(pairs.joined(separator: ", "))}\n"
      }
    }
    return Variants(axes: axes.map(\.name), text: text)
  }

  /// Can they be one product? They differ in their fragments' contents and platforms alone, and each
  /// variant is for the same platforms.
  static func areVariants(_ members: [Member]) -> Bool {
    guard let first = members.first else { return false }
    let isAlike = members.allSatisfy { member in
      member.recipe.base == first.recipe.base && member.recipe.template == first.recipe.template
        && member.recipe.templateFiles == first.recipe.templateFiles
        && member.recipe.fragments.map(\.name) == first.recipe.fragments.map(\.name)
    }
    guard isAlike else { return false }
    var platforms: [[DockerfileRecipe.Fragment]: [String]] = [:]
    for member in members { platforms[member.recipe.fragments, default: []] += member.recipe.platforms }
    return Set(platforms.values.map { $0.sorted() }).count == 1
      && platforms.values.allSatisfy { Set($0).count == $0.count }
  }
}

/// What a product is called: read from the tags of its members.
struct Tagging {
  var image: String
  var version = CatalogInit.standardVersion
  var rules: [String] = []
  /// Tags that fit no rule for all members, each with its member's target.
  private(set) var leftOut: [(target: String, tag: String)] = []

  init(image: String) { self.image = image }

  /// - Parameter matrix: the fragments whose versions make the variants.
  mutating func read(_ members: [CatalogInit.Member], matrix: [String]) {
    let hasVariants = !matrix.isEmpty
    // Where each platform has a target of its own, a tag that ends with it is the index's without.
    let isSplit = members.contains { $0.recipe.platforms != members[0].recipe.platforms }
    var common: [String]?
    var all: [(target: String, tag: String, rule: String)] = []
    for member in members {
      let choice = member.choice.filter { matrix.contains($0.key) }
      let variant = Variant(choice: choice).tagText
      let suffix = "-" + (member.recipe.platforms.first ?? "").replacing("/", with: "-")
      let own = member.tags.compactMap { tag -> String? in
        guard let name = ImageName(tag), name.repository == image else { return nil }
        var rule = name.tag ?? "latest"
        if isSplit, rule.hasSuffix(suffix) { rule.removeLast(suffix.count) }
        if hasVariants { rule = rule.replacing(variant, with: "{variant}") }
        all.append((member.target, tag, rule))
        return hasVariants && !rule.contains("{variant}") ? nil : rule
      }
      common = common.map { known in known.filter(own.contains) } ?? own
    }
    rules = common ?? []
    leftOut = all.filter { !rules.contains($0.rule) }.map { ($0.target, $0.tag) }
    // The most exact of those that are a number; what moves on, such as `latest`, is no version.
    let words = rules.map { $0.replacing("-{variant}", with: "").replacing("{variant}", with: "") }.filter(Name.isTag)
    let numbers = words.filter { $0.first?.isNumber ?? false }
    if let word = numbers.max(by: { $0.utf8.count < $1.utf8.count }) ?? words.first(where: { $0 != "latest" }) {
      version = word
    }
    if !rules.isEmpty {
      rules = rules.map { rule in
        rule == version || rule.hasPrefix(version + "-") ? "{version}" + rule.dropFirst(version.count) : rule
      }
    } else {
      rules = [hasVariants ? "{version}-{variant}" : "{version}"]
    }
  }
}
