package import Catalog
import Foundation
import Model

/// A plan as `docker buildx bake` reads it: each cell is a target that builds the one Dockerfile that
/// `kiln render` prints, and products are groups. What bake knows nothing of is listed in `leftOut`.
package struct BakeFile: Sendable, Hashable, Encodable {
  package struct Group: Sendable, Hashable, Encodable {
    package var targets: [String]
  }

  package struct Target: Sendable, Hashable, Encodable {
    package var context: String
    package var contexts: [String: String]?
    package var dockerfile: String
    package var platforms: [String]
    package var tags: [String]?
    package var args: [String: String]
    package var secret: [String]?

    enum CodingKeys: String, CodingKey {
      case context, contexts, platforms, tags, args, secret
      case dockerfile = "dockerfile-inline"
    }
  }

  package var group: [String: Group] = [:]
  package var target: [String: Target] = [:]
  /// For people; not in the file.
  package private(set) var leftOut: [String] = []

  enum CodingKeys: String, CodingKey { case group, target }

  /// - Parameter catalogPath: the catalog's folder, as whoever runs bake finds it.
  package init(_ work: PlannedWork, catalog: Catalog, lock: Lock, catalogPath: String) throws(CatalogErrors) {
    let plan = work.plan
    let cells = Dictionary(uniqueKeysWithValues: plan.cells.map { ($0.key, $0) })
    let layers = Dictionary(uniqueKeysWithValues: plan.layers.map { ($0.key, $0) })
    var cache = ContextCache()
    var tests = 0
    var ignored: Set<String> = []
    for image in plan.images {
      for reference in image.cells {
        guard let cell = cells[reference.key] else { continue }
        var target = try Self.target(cell, catalog, lock, catalogPath, &cache, &ignored)
        // Bake pushes each target by itself: where an image has several, a tag cannot be for all.
        let suffix = image.cells.count == 1 ? "" : "-" + reference.target.platform.description.replacing("/", with: "-")
        let tags = image.tags.map { "\(image.repository):\($0)\(suffix)" }
        target.tags = tags.isEmpty ? nil : tags
        let secrets = Set(cell.path.flatMap { layers[$0]?.secrets.keys.map(\.self) ?? [] })
        target.secret = secrets.isEmpty ? nil : secrets.sorted().map { "id=\($0)" }
        let name = name(of: image, reference)
        self.target[name] = target
        group[Self.word(image.product), default: Group(targets: [])].targets.append(name)
        tests += cell.tests.count
      }
      if image.cells.count > 1 {
        leftOut.append(
          "the index \(image.repository):\(image.tags.joined(separator: ",")): "
            + "make it with 'docker buildx imagetools create' from its \(image.cells.count) targets' tags")
      }
    }
    if group["default"] == nil { group["default"] = Group(targets: group.keys.sorted()) }
    if !ignored.isEmpty {
      leftOut.append(
        "the fragments' .dockerignore files: bake sends what they ignore; these lines in \(catalogPath)/.dockerignore "
          + "keep it out: \(ignored.sorted().joined(separator: " "))")
    }
    if tests > 0 { leftOut.append("\(tests) smoke tests, SBOMs and records: bake only builds") }
    for impossible in work.impossible {
      leftOut.append(
        "\(impossible.product) [\(impossible.variant)] \(impossible.target.platform): \(impossible.reason)")
    }
  }

  private static func target(
    _ cell: PlannedCell, _ catalog: Catalog, _ lock: Lock, _ catalogPath: String, _ cache: inout ContextCache,
    _ ignored: inout Set<String>
  ) throws(CatalogErrors) -> Target {
    let choice = Dictionary(uniqueKeysWithValues: cell.fragments.map { ($0.name, $0.version) })
    let platform = cell.target.platform
    let composition = try catalog.compose(manifest: cell.manifest, choice: choice)
    let rendered = try catalog.render(composition, platform: platform, lock: lock, cache: &cache)
    ignored.formUnion(rendered.ignoreText.split(separator: "\n").map(String.init))
    let contexts = rendered.buildContexts.mapValues { address in
      let path = address.dropFirst(Self.layoutScheme.count)
      return Self.layoutScheme + (path.hasPrefix("/") ? "" : catalogPath + "/") + path
    }
    return Target(
      context: catalogPath, contexts: contexts.isEmpty ? nil : contexts, dockerfile: literal(rendered.markedText),
      platforms: [platform.description], args: ["SOURCE_DATE_EPOCH": "\(Recipe.sourceDateEpochSeconds)"])
  }

  private static let layoutScheme = "oci-layout://"

  /// Bake's JSON is HCL's: in a string, `${` and `%{` would begin an expression.
  private static func literal(_ text: String) -> String {
    text.replacing("${", with: "$${").replacing("%{", with: "%%{")
  }

  /// A group and a target may not share a name: a target's has its platform in it.
  private func name(of image: PlannedImage, _ cell: PlannedImage.CellReference) -> String {
    let parts = [image.product, image.variant, cell.target.platform.description].filter { !$0.isEmpty }
    let name = Self.word(parts.joined(separator: "-"))
    return target[name] == nil ? name : "\(name)-\(cell.key.short)"
  }

  /// Bake's names are letters, digits, `_` and `-`.
  private static func word(_ text: String) -> String {
    String(text.map { $0.isASCII && ($0.isLetter || $0.isNumber) || $0 == "_" ? $0 : "-" })
  }

  package func text() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
  }
}
