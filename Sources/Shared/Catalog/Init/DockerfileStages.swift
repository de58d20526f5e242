/// A Dockerfile by its stages.
struct DockerfileStages {
  struct Stage {
    var index: Int
    /// As it is written; nil where it has none.
    var name: String?
    var from: Instruction
    /// Each with its line.
    var items: [(item: DockerfileText.Item, line: Int)] = []

    var instructions: [Instruction] {
      items.compactMap { if case .instruction(let instruction) = $0.item { instruction } else { nil } }
    }
    /// For messages.
    var title: String { name.map { "'\($0)'" } ?? "number \(index)" }
  }

  let file: String
  /// Before the first FROM.
  private(set) var head: [(item: DockerfileText.Item, line: Int)] = []
  private(set) var stages: [Stage] = []

  init(_ text: DockerfileText) {
    file = text.file
    var line = 1
    var items: [(item: DockerfileText.Item, line: Int)] = []
    // Comments before a FROM are about what it begins; a marker is not.
    func takeComments() -> [(item: DockerfileText.Item, line: Int)] {
      let count = items.reversed().prefix { entry in
        if case .other(let raw) = entry.item { MarkerLine(String(raw.dropLast())) == nil } else { false }
      }.count
      let comments = Array(items.suffix(count))
      items.removeLast(count)
      return comments
    }
    func close(_ stages: inout [Stage], _ head: inout [(item: DockerfileText.Item, line: Int)]) {
      if stages.isEmpty { head = items } else { stages[stages.count - 1].items = items }
    }
    for item in text.items {
      switch item {
      case .other: items.append((item, line))
      case .instruction(let from) where from.keyword == "FROM":
        let comments = stages.isEmpty ? [] : takeComments()
        close(&stages, &head)
        let words = from.plainWords
        let name = words.count == 3 && words[1].uppercased() == "AS" ? words[2] : nil
        stages.append(Stage(index: stages.count, name: name, from: from))
        items = comments
      case .instruction: items.append((item, line))
      }
      switch item {
      case .other: line += 1
      case .instruction(let instruction): line += instruction.raw.utf8.count { $0 == 10 }
      }
    }
    close(&stages, &head)
  }

  /// The stage that `reference` means in stage `index`, or after all of them: by name, whose case does not
  /// matter, or (in `--from` alone) by number.
  func stage(_ reference: String, before index: Int, byNumber: Bool = false) -> Stage? {
    if let stage = stages.prefix(index).last(where: { $0.name?.lowercased() == reference.lowercased() }) {
      return stage
    }
    guard byNumber, let number = Int(reference), (0..<index).contains(number) else { return nil }
    return stages[number]
  }
}
