import Foundation
import KilnExecutor
import Model
import Testing

@Suite struct BuildProgressTests {
  @Test(arguments: [1, 7, 1000, 1 << 20]) func readsPiecesOfAnySize(_ size: Int) throws {
    let (progress, outputs) = try Fixture.read("run-failed", pieceBytes: size)
    let whole = try Fixture.read("run-failed", pieceBytes: 1 << 24)
    #expect(outputs == whole.outputs)
    #expect(progress.text.hasSuffix("did not complete successfully: exit code: 7\n"))
    #expect(progress.steps.count == whole.progress.steps.count)
  }

  @Test func logsComeInWholeLinesWithTheirStep() throws {
    let (_, outputs) = try Fixture.read("run-failed")
    let log = text(outputs)
    #expect(
      log.contains("#6 [2/3] RUN echo before; echo problem >&2; exit 7\n#6 before\n#6 problem\n#6 ERROR: process "),
      "\(log)")
    #expect(log.hasSuffix("exit code: 7\n"))
  }

  @Test func timesStepsAndSeesTheCache() throws {
    let fresh = try Fixture.progress("good").timings
    let step = try #require(fresh.first { $0.name.contains("RUN echo hello") })
    #expect(!step.cached)
    #expect(step.seconds > 0.01 && step.seconds < 10)
    let again = try Fixture.progress("good-cached").timings
    #expect(try #require(again.first { $0.name.contains("RUN echo hello") }).cached)
    #expect(try #require(again.first { $0.name.contains("WORKDIR") }).cached)
    #expect(!(try #require(again.first { $0.name.contains("exporting") }).cached))
  }

  @Test func tellsEachStepOnce() throws {
    let (_, outputs) = try Fixture.read("good")
    let names = outputs.compactMap { if case .step(let timing) = $0 { timing.name } else { nil } }
    #expect(names.count == Set(names).count)
    #expect(names.contains { $0.contains("RUN echo hello") })
  }

  @Test func aLineWithoutAnEndIsNotLost() {
    let (progress, outputs) = play(#"{"logs":[{"vertex":"a","data":"\#(Data("half".utf8).base64EncodedString())"}]}"#)
    #expect(text(outputs) == "#1 half\n")
    #expect(progress.steps.first?.tail == Array("half".utf8))
  }

  @Test func noticesClippedOutput() {
    let clipped = Data("[output clipped, log limit 2MiB reached]\n".utf8).base64EncodedString()
    #expect(play(#"{"logs":[{"vertex":"a","data":"\#(clipped)"}]}"#).progress.isClipped)
    #expect(!play(#"{"vertexes":[{"digest":"a","name":"x"}]}"#).progress.isClipped)
  }

  @Test func textThatLooksLikeAnObjectStaysText() {
    let (progress, _) = play("{\nnot json\n}\nERROR: {\"code\":500}\n{\"errors\":[\n")
    #expect(progress.text == "{\nnot json\n}\nERROR: {\"code\":500}\n{\"errors\":[\n")
  }

  @Test func aStepKeepsOnlyTheEndOfItsOutput() {
    let line = Data((String(repeating: "x", count: 999) + "\n").utf8).base64EncodedString()
    let many = String(repeating: #"{"logs":[{"vertex":"a","data":"\#(line)"}]}"# + "\n", count: 40)
    #expect(play(many).progress.steps.first?.tail.count == BuildProgress.maxStepTailBytes)
  }

  private func play(_ text: String) -> (progress: BuildProgress, outputs: [BuildProgress.Output]) {
    var raw = RawProgress()
    var progress = BuildProgress()
    var outputs: [BuildProgress.Output] = []
    for event in raw.feed(text.utf8) + raw.finish() { outputs += progress.apply(event) }
    return (progress, outputs + progress.finish())
  }

  private func text(_ outputs: [BuildProgress.Output]) -> String {
    outputs.reduce(into: "") { if case .log(let bytes) = $1 { $0 += String(decoding: bytes, as: UTF8.self) } }
  }
}
