package import Model

/// One thing that is wrong with a catalog, where it is, and what was probably meant.
package struct Diagnostic: Sendable, Hashable, Comparable, CustomStringConvertible {
  /// Relative to the catalog.
  package var file: String
  /// From 1; nil where it is about the whole file.
  package var line: Int?
  /// As a path from the file's root: `targets[1].platform`.
  package var field: String?
  package var message: String
  /// A valid name close to what was written, or what to do.
  package var suggestion: Suggestion?

  package enum Suggestion: Sendable, Hashable {
    case didYouMean(String)
    case hint(String)

    package static func nearest(to name: String, among candidates: [String]) -> Suggestion? {
      NearestName.suggestion(for: name, among: candidates)
    }
  }

  package init(
    file: String, line: Int? = nil, field: String? = nil, _ message: String, suggestion: Suggestion? = nil
  ) {
    self.file = file
    self.line = line
    self.field = field
    self.message = message
    self.suggestion = suggestion
  }

  /// `products/hello.yml:12: field 'fragmnets': unknown field; did you mean 'fragments'?`
  package var description: String {
    var text = line.map { "\(file):\($0): " } ?? "\(file): "
    if let field { text += "field '\(field)': " }
    text += message
    switch suggestion {
    case .didYouMean(let name): text += "; did you mean '\(name)'?"
    case .hint(let hint): text += "; \(hint)"
    case nil: break
    }
    return text
  }

  package static func < (left: Diagnostic, right: Diagnostic) -> Bool {
    if left.file != right.file { return left.file < right.file }
    if left.line != right.line { return left.line ?? 0 < right.line ?? 0 }
    return left.description < right.description
  }
}

/// All that is wrong with a catalog, sorted by file and line; never empty.
package struct CatalogErrors: Error, Sendable, Hashable, CustomStringConvertible {
  package let diagnostics: [Diagnostic]

  package init(_ diagnostics: [Diagnostic]) { self.diagnostics = Set(diagnostics).sorted() }

  /// One line for each.
  package var description: String { diagnostics.map(\.description).joined(separator: "\n") }

  /// As the error of a build that was asked for with this catalog.
  package var failure: Failure { Failure(.input, code: "bad-catalog", description) }
}

/// Where the checks of one load put what they find.
final class Diagnostics {
  private(set) var found: [Diagnostic] = []
  /// A catalog with more errors than this has one cause; the rest is noise.
  static let maxCount = 1000

  var count: Int { found.count }

  func add(_ diagnostic: Diagnostic) {
    if found.count < Self.maxCount { found.append(diagnostic) }
  }

  func add(
    _ file: String, _ line: Int?, field: String? = nil, _ message: String, suggestion: Diagnostic.Suggestion? = nil
  ) {
    add(Diagnostic(file: file, line: line, field: field, message, suggestion: suggestion))
  }

  func throwIfAny() throws(CatalogErrors) {
    if !found.isEmpty { throw CatalogErrors(found) }
  }
}

/// Suggestions for names that do not exist.
enum NearestName {
  /// The candidate with the least edit distance, if it is close enough to be what was meant.
  static func suggestion(for name: String, among candidates: some Sequence<String>) -> Diagnostic.Suggestion? {
    let typed = Array(name.lowercased().utf8.prefix(64))
    let best =
      candidates
      .map { (distance: distance(typed, Array($0.lowercased().utf8.prefix(64))), name: $0) }
      .min { ($0.distance, $0.name) < ($1.distance, $1.name) }
    guard let best, best.distance <= max(1, typed.count / 3) else { return nil }
    return .didYouMean(best.name)
  }

  /// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
  static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
    var beforeLast: [Int] = []
    var last = Array(0...right.count)
    for row in 0..<left.count {
      var current = [row + 1]
      for column in 0..<right.count {
        var best = min(
          last[column + 1] + 1, current[column] + 1, last[column] + (left[row] == right[column] ? 0 : 1))
        if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
          best = min(best, beforeLast[column - 1] + 1)
        }
        current.append(best)
      }
      (beforeLast, last) = (last, current)
    }
    return last[right.count]
  }
}
