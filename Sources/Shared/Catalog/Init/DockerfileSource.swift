/// A Dockerfile and what it is built with: what `kiln catalog init` makes an image of.
package struct DockerfileSource: Sendable {
  /// For messages.
  package var file: String
  /// With whatever line ends and byte order mark it has.
  package var content: CatalogTree.Content
  /// The build context, of which what `ignoreText` takes away may be missing.
  package var context: [CatalogTree.Entry] = []
  /// What `.dockerignore` says.
  package var ignoreText: String?
  /// The stage to take for the image, in place of the last one.
  package var stage: String?
  package var arguments: [String: String] = [:]
  /// None: what FROM says, else linux/amd64.
  package var platforms: [String] = []
  /// Images by the names that the Dockerfile has for them: `host/name:tag`, or `oci-layout:PATH`
  /// relative to the catalog.
  package var images: [String: String] = [:]
  package var labels: [String: String] = [:]

  package init(file: String, content: CatalogTree.Content) {
    (self.file, self.content) = (file, content)
  }

  /// What to read of the build context; an empty path is all of it.
  package static func neededPaths(of content: CatalogTree.Content) -> Set<String> {
    guard let text = CatalogDraft.plainText(content) else { return [] }
    let found = Diagnostics()
    let plain = BacktickEscape.removed(from: text, file: "", into: found)
    let parsed = DockerfileParser.parse(plain, file: "", into: found)
    var paths = Set(parsed.writtenContextPaths.map(DockerfileText.fixedPart))
    if parsed.instructions.flatMap(\.mounts).contains(where: { $0.isContextBind && $0["source", "src"] == nil }) {
      paths.insert("")
    }
    return paths.contains("") ? [""] : paths
  }
}

/// Text of a definition, and for each of its lines the line of the Dockerfile that it comes from.
struct TracedText: Hashable {
  private(set) var text = ""
  private(set) var lines: [Int] = []

  mutating func append(_ more: String, from line: Int) {
    text += more
    for offset in 0..<more.utf8.count(where: { $0 == 10 }) { lines.append(line + offset) }
  }

  mutating func append(_ more: TracedText) {
    text += more.text
    lines += more.lines
  }

  // Where it comes from makes it no other text.
  static func == (left: TracedText, right: TracedText) -> Bool { left.text == right.text }
  func hash(into hasher: inout Hasher) { hasher.combine(text) }
}

/// One image of a Dockerfile as parts of a catalog.
struct DockerfileRecipe {
  struct Fragment: Hashable {
    var name: String
    /// What its marker says.
    var version: String?
    var description: String
    var text = TracedText()
    var stages = TracedText()
    var files: [CatalogTree.Entry] = []
    var secrets: Set<String> = []
    var isReproducible = true
    /// That it declares.
    var arguments: Set<String> = []
  }

  var file: String
  var base: String
  var template = TracedText()
  var templateFiles: [CatalogTree.Entry] = []
  /// In the order of the template's markers.
  var fragments: [Fragment] = []
  var platforms: [String] = []
  /// That any text of it declares.
  var arguments: Set<String> = []
}
