import Model
import Yams

/// A value of a pool file that knows where it stands.
struct PoolValue {
  let node: Node
  let file: String
  let path: String

  func failure(_ message: String, hint: String? = nil) -> Failure {
    let line = node.mark.map { ":\($0.line)" } ?? ""
    return Failure(
      .input, code: "pool-file", "\(file)\(line): \(path.isEmpty ? "" : "\(path): ")\(message)", hint: hint)
  }

  func fields() throws -> PoolFields { try PoolFields(node, file: file, path: path) }

  func list() throws -> [PoolValue] {
    guard let sequence = node.sequence else { throw failure("must be a list") }
    return sequence.enumerated().map { PoolValue(node: $1, file: file, path: "\(path)[\($0)]") }
  }

  /// A number counts as text: `minimumDriver: 535` is meant so.
  func string() throws -> String {
    guard let scalar = node.scalar, !scalar.string.isEmpty else { throw failure("must be a text") }
    return scalar.string
  }

  func integer(in range: ClosedRange<Int>) throws -> Int {
    guard let number = node.int else { throw failure("must be a whole number") }
    guard range.contains(number) else {
      throw failure(
        "must be \(range.upperBound == Int.max ? "at least \(range.lowerBound)" : "\(range.lowerBound) to \(range.upperBound)"), not \(number)"
      )
    }
    return number
  }

  func seconds() throws -> Double {
    guard let number = node.float, number >= 0, number.isFinite else { throw failure("must be a number of seconds") }
    return number
  }

  func boolean() throws -> Bool {
    guard let value = node.bool else { throw failure("must be true or false") }
    return value
  }

  func choice<Choice>(_ choices: [(name: String, value: Choice)]) throws -> Choice {
    let text = try string()
    if let found = choices.first(where: { $0.name == text }) { return found.value }
    throw failure("'\(text)' is not one of \(choices.map(\.name).joined(separator: ", "))")
  }
}

/// A mapping of a pool file.
struct PoolFields {
  let whole: PoolValue
  private var values: [String: PoolValue] = [:]
  private var keys: [(name: String, key: PoolValue)] = []

  init(_ node: Node, file: String, path: String) throws {
    whole = PoolValue(node: node, file: file, path: path)
    guard let mapping = node.mapping else { throw whole.failure("must be fields with values") }
    for (key, value) in mapping {
      let name = key.string ?? ""
      let inner = path.isEmpty ? name : "\(path).\(name)"
      let here = PoolValue(node: key, file: file, path: inner)
      guard values[name] == nil else { throw here.failure("is said twice") }
      keys.append((name, here))
      values[name] = PoolValue(node: value, file: file, path: inner)
    }
  }

  subscript(name: String) -> PoolValue? { values[name] }

  func required(_ name: String) throws -> PoolValue {
    guard let value = values[name] else { throw whole.failure("'\(name)' is missing") }
    return value
  }

  func allow(_ known: [String]) throws {
    guard let unknown = keys.first(where: { !known.contains($0.name) }) else { return }
    let nearest = known.map { (name: $0, distance: Self.distance($0, unknown.name)) }.min { $0.distance < $1.distance }
    let hint = nearest.flatMap { $0.distance <= 3 ? "did you mean '\($0.name)'?" : nil }
    throw unknown.key.failure("is no field of a pool", hint: hint ?? "known are \(known.joined(separator: ", "))")
  }

  /// Levenshtein's.
  private static func distance(_ left: String, _ right: String) -> Int {
    let right = Array(right)
    var row = Array(0...right.count)
    for (i, a) in left.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, b) in right.enumerated() {
        let old = row[j + 1]
        row[j + 1] = a == b ? diagonal : min(diagonal, row[j], old) + 1
        diagonal = old
      }
    }
    return row[right.count]
  }
}
