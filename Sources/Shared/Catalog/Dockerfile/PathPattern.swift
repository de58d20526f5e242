/// A pattern for paths: Go's `filepath.Match`, and what .dockerignore adds to it. Takes time in
/// proportion to the pattern's length times the path's, whatever they are.
struct PathPattern: Sendable, Hashable {
  enum Token: Sendable, Hashable {
    case literal(Unicode.Scalar)
    /// `?`
    case one
    /// `*`
    case many
    case set(negated: Bool, [ClosedRange<UInt32>])
    /// Also slashes.
    case anything
    /// Nothing, or whatever ends with a slash: `**/` between other things.
    case folders
  }

  let tokens: [Token]

  init(_ tokens: [Token]) { self.tokens = tokens }

  /// Of one part of a path, as `filepath.Match` reads it; nil where that is malformed.
  init?(part: String) {
    var reader = Reader(part)
    var tokens: [Token] = []
    while !reader.isAtEnd {
      guard let token = reader.token() else { return nil }
      tokens.append(token)
    }
    self.tokens = tokens
  }

  /// Does `filepath.Match` read more than letters in it?
  static func isPattern(_ part: String) -> Bool {
    var isEscaped = false
    for scalar in part.unicodeScalars {
      if isEscaped {
        isEscaped = false
      } else if scalar == "\\" {
        isEscaped = true
      } else if scalar == "*" || scalar == "?" || scalar == "[" {
        return true
      }
    }
    return false
  }

  func matches(_ text: String) -> Bool { matches(Array(text.unicodeScalars)[...]) }

  func matches(_ text: ArraySlice<Unicode.Scalar>) -> Bool {
    // Two places for each token: before it, and (of `folders` alone) in the middle of it.
    var places = Set([0])
    func close(_ places: inout Set<Int>) {
      for place in places.sorted() where place % 2 == 0 {
        var token = place / 2
        skipping: while token < tokens.count {
          switch tokens[token] {
          case .folders:
            places.insert(2 * token + 1)
            places.insert(2 * (token + 1))
          case .many, .anything: places.insert(2 * (token + 1))
          default: break skipping
          }
          token += 1
        }
      }
    }
    close(&places)
    for scalar in text {
      var after: Set<Int> = []
      for place in places {
        let token = place / 2
        guard token < tokens.count else { continue }
        switch tokens[token] {
        case .literal(let wanted): if scalar == wanted { after.insert(place + 2) }
        case .one: if scalar != "/" { after.insert(place + 2) }
        case .many: if scalar != "/" { after.insert(place) }
        case .anything: after.insert(place)
        case .set(let negated, let ranges):
          if ranges.contains(where: { $0.contains(scalar.value) }) != negated { after.insert(place + 2) }
        case .folders where place % 2 == 1:
          after.insert(place)
          if scalar == "/" { after.insert(place + 1) }
        case .folders: break
        }
      }
      close(&after)
      if after.isEmpty { return false }
      places = after
    }
    return places.contains(2 * tokens.count)
  }

  /// Reads what `filepath.Match` knows.
  struct Reader {
    private let scalars: [Unicode.Scalar]
    private(set) var position = 0

    init(_ text: String) { scalars = Array(text.unicodeScalars) }

    var isAtEnd: Bool { position == scalars.count }
    var next: Unicode.Scalar? { isAtEnd ? nil : scalars[position] }
    mutating func skip() { position += 1 }

    mutating func token() -> Token? {
      switch next {
      case nil: return nil
      case "*":
        skip()
        return .many
      case "?":
        skip()
        return .one
      case "[": return set()
      case "\\":
        skip()
        guard let escaped = next else { return nil }
        skip()
        return .literal(escaped)
      case .some(let scalar):
        skip()
        return .literal(scalar)
      }
    }

    private mutating func set() -> Token? {
      skip()
      let negated = next == "^"
      if negated { skip() }
      var ranges: [ClosedRange<UInt32>] = []
      while next != "]" || ranges.isEmpty {
        guard let low = member() else { return nil }
        var high = low
        if next == "-" {
          skip()
          guard let end = member(), end.value >= low.value else { return nil }
          high = end
        }
        ranges.append(low.value...high.value)
      }
      skip()
      return .set(negated: negated, ranges)
    }

    private mutating func member() -> Unicode.Scalar? {
      guard let scalar = next, scalar != "-", scalar != "]" else { return nil }
      skip()
      guard scalar == "\\" else { return scalar }
      guard let escaped = next else { return nil }
      skip()
      return escaped
    }
  }
}
