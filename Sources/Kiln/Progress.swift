import Foundation
import Model
import RecordStore

/// Shows a build as it goes: a line for each change, and on a terminal a block below that is drawn
/// again and again.
struct Progress {
  private let isTerminal: Bool
  private var shown: [String: String] = [:]
  private var blockLines = 0

  init(isTerminal: Bool = Output.isTerminal) { self.isTerminal = isTerminal }

  mutating func show(_ build: BuildDetail) {
    eraseBlock()
    for layer in build.layers where !layer.reused { line("layer \(layer.key)", Self.text(layer, build)) }
    for layer in build.layers where layer.reused {
      line("layer \(layer.key)", "layer  \(layer.title) \(layer.platform): reused")
    }
    for cell in build.cells { line("cell \(cell.product) \(cell.variant) \(cell.key)", Self.text(cell, build)) }
    line("build", "build  \(build.summary.id): \(build.summary.state)\(build.summary.problem.map { " (\($0))" } ?? "")")
    if isTerminal, !build.summary.state.isSettled { drawBlock(build) }
  }

  private mutating func line(_ key: String, _ text: String) {
    guard shown[key] != text else { return }
    shown[key] = text
    Output.write(text + "\n")
  }

  private static func text(_ layer: LayerStatus, _ build: BuildDetail) -> String {
    var text = "layer  \(layer.title) \(layer.platform): \(layer.state)"
    guard let job = build.jobs.first(where: { $0.id == layer.job }) else { return text }
    switch layer.state {
    case .building, .failed: text += " (job \(job.id) \(describe(job)))"
    case .available: text += " \(layer.image.map { "\($0)" } ?? "")"
    default: break
    }
    return text
  }

  private static func text(_ cell: CellStatus, _ build: BuildDetail) -> String {
    let wanted = cell.target.accelerator.map { " with \($0)" } ?? ""
    let name =
      "cell   \(cell.product)\(cell.variant.isEmpty ? "" : " [\(cell.variant)]") \(cell.target.platform)\(wanted)"
    var text = "\(name): \(cell.state)"
    if cell.state == .finishing || cell.state == .failed, let job = build.jobs.first(where: { $0.id == cell.job }) {
      text += " (job \(job.id) \(describe(job)))"
    } else if let reason = cell.reason {
      text += " (\(reason))"
    }
    return text
  }

  private static func describe(_ job: JobSummary) -> String {
    var text = "\(job.state)"
    if job.state == .running, let executor = job.executor { text += " at \(executor)" }
    if job.lacksExecutor { text += ": no executor of pool \(job.pool) has been seen for a minute" }
    if job.failures > 0 { text += ", \(job.failures) failed" }
    if let failure = job.failure, job.state == .delayed || job.state == .dead { text += ": \(failure.message)" }
    return text
  }

  // MARK: The block on a terminal

  private mutating func drawBlock(_ build: BuildDetail) {
    let layers = build.layers.filter { !$0.reused }
    let running = build.jobs.filter { $0.state == .running }
    var lines = [
      "── layers \(layers.filter { $0.state == .available }.count)/\(layers.count)"
        + "  cells \(build.cells.filter(\.state.isGood).count)/\(build.cells.count)"
        + "  waiting \(build.jobs.filter { $0.state == .waiting }.count)"
        + "  queued \(build.jobs.filter { $0.state == .queued || $0.state == .ready }.count)"
    ]
    lines += running.prefix(8).map { "   ▸ \($0.title)" }
    blockLines = lines.count
    Output.write(lines.joined(separator: "\n") + "\n")
  }

  private mutating func eraseBlock() {
    guard blockLines > 0 else { return }
    Output.write("\u{1B}[\(blockLines)A\u{1B}[J")
    blockLines = 0
  }
}
