import Foundation

/// Aligned columns: the first to the left, the others, which are numbers, to the right.
struct Table {
  let title: String
  var rows: [[String]]

  init(_ title: String, _ headings: [String]) {
    self.title = title
    rows = [[title] + headings]
  }

  mutating func add(_ name: String, _ cells: [String]) { rows.append([name] + cells) }

  func print() {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
    var text = ""
    for row in rows {
      let cells = row.enumerated().map { column, cell in
        let padding = String(repeating: " ", count: widths[column] - cell.count)
        return column == 0 ? cell + padding : padding + cell
      }
      text += cells.joined(separator: "  ") + "\n"
    }
    FileHandle.standardOutput.write(Data((text + "\n").utf8))
  }
}

/// A number as people read it: three digits that count.
func short(_ value: Double) -> String {
  if abs(value) >= 1000 { return grouped(Int(value.rounded())) }
  if abs(value) >= 100 { return "\(Int(value.rounded()))" }
  let scale = abs(value) >= 10 ? 10.0 : 100.0
  return "\((value * scale).rounded() / scale)"
}

/// `20,000`
func grouped(_ value: Int) -> String {
  var digits = String(abs(value))
  var groups: [String] = []
  while digits.count > 3 {
    groups.insert(String(digits.suffix(3)), at: 0)
    digits.removeLast(3)
  }
  return (value < 0 ? "-" : "") + ([digits] + groups).joined(separator: ",")
}

/// `31,200 (29,800–32,000)`
func spread(_ samples: Samples) -> String {
  "\(short(samples.median)) (\(short(samples.least))–\(short(samples.most)))"
}
