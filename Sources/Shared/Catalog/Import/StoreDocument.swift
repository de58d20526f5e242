import Foundation

/// A JSON document of the prototype's store.
enum StoreValue: Decodable {
  case null
  case bool(Bool)
  case number(Double)
  case text(String)
  case list([StoreValue])
  case object([String: StoreValue])

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let value = try? container.decode(Bool.self) {
      self = .bool(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else if let value = try? container.decode(String.self) {
      self = .text(value)
    } else if let value = try? container.decode([StoreValue].self) {
      self = .list(value)
    } else {
      self = .object(try container.decode([String: StoreValue].self))
    }
  }

  static func parse(_ content: CatalogTree.Content?) -> StoreValue? {
    CatalogDraft.plainText(content).flatMap { try? JSONDecoder().decode(StoreValue.self, from: Data($0.utf8)) }
  }

  subscript(field: String) -> StoreValue? {
    if case .object(let fields) = self, let value = fields[field], !value.isNull { value } else { nil }
  }

  var isNull: Bool { if case .null = self { true } else { false } }
  var text: String? { if case .text(let text) = self { text } else { nil } }
  var items: [StoreValue]? { if case .list(let items) = self { items } else { nil } }
  var fields: [String: StoreValue]? { if case .object(let fields) = self { fields } else { nil } }
  /// A whole number, or a text that is one.
  var integer: Int? {
    switch self {
    case .number(let number): Int(exactly: number)
    case .text(let text): Int(text)
    default: nil
    }
  }
}

/// Where things are in the prototype's store.
enum StorePath {
  static let data = "control_plane/data"
  static let manifests = "\(data)/manifest.json"
  static let products = "\(data)/product.json"
  static let plans = "\(data)/test_plan.json"
  static let modules = "\(data)/modules"
  static let templates = "dockerfiles/templates"
  static let template = "Dockerfile.tpl"
  static let module = "module.json"
  static let fragment = "Dockerfile.fragment"

  /// As it is in the store's files: no `./`, no `/` at its end; nil where it leads out of it.
  static func plain(_ path: String) -> String? {
    let parts = path.split(separator: "/").filter { $0 != "." }
    return path.hasPrefix("/") || parts.contains("..") || parts.isEmpty ? nil : parts.joined(separator: "/")
  }
}
