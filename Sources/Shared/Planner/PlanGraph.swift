import Foundation
package import Model

extension Plan {
  /// The layer graph for graphviz: bases, layers, and the cells that they end in. `note` says what
  /// will happen to a layer or a cell, by its key.
  package func dot(note: (String) -> String?) -> String {
    var text = "digraph kiln {\n  rankdir=LR\n  node [shape=box]\n"
    var bases: Set<BaseImage> = []
    func node(_ key: String, _ lines: [String?], _ shape: String?) {
      let label = lines.compactMap { $0.map(Self.quoted) }.joined(separator: "\\n")
      text += "  \"\(Self.quoted(key))\" [label=\"\(label)\"\(shape.map { ", shape=\($0)" } ?? "")]\n"
    }
    func edge(_ from: String, _ to: String) { text += "  \"\(Self.quoted(from))\" -> \"\(Self.quoted(to))\"\n" }
    for layer in layers {
      var below = layer.below.map(\.text)
      if case .base(let base) = layer.parent {
        below.insert(base.digest.description, at: 0)
        if bases.insert(base).inserted { node(below[0], [base.name, base.digest.short], "cylinder") }
      }
      node(layer.key.text, [layer.title, layer.platform.description, note(layer.key.text)], nil)
      for key in below { edge(key, layer.key.text) }
    }
    for cell in cells {
      let name = cell.product + (cell.variant.isEmpty ? "" : " [\(cell.variant)]")
      node(cell.key.text, [name, cell.target.platform.description, note(cell.key.text)], "ellipse")
      if let last = cell.path.last { edge(last.text, cell.key.text) }
    }
    return text + "}\n"
  }

  private static func quoted(_ text: String) -> String {
    text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
  }

  /// The cells as a job matrix of a GitHub workflow (`strategy.matrix: ${{ fromJSON(…) }}`).
  package func jobMatrix() throws -> String {
    struct Entry: Encodable {
      var product: String
      var version: String
      var variant: String
      var platform: String
      var accelerator: String?
      var required: Bool
      var image: String
      var tags: [String]
    }
    let entries = images.flatMap { image in
      image.cells.map { cell in
        Entry(
          product: image.product, version: image.productVersion, variant: image.variant,
          platform: cell.target.platform.description, accelerator: cell.target.accelerator?.vendor,
          required: cell.required, image: image.repository, tags: image.tags)
      }
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(["include": entries]), as: UTF8.self) + "\n"
  }
}
