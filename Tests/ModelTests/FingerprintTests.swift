import Model
import Testing

@Suite(.timeLimit(.minutes(1))) struct FingerprintTests {
  private static func failure(
    _ message: String, step: String? = nil, exit: Int? = nil, tail: String? = nil
  ) -> Failure {
    Failure(.build, code: "step-failed", message, step: step, exitCode: exit, logTail: tail)
  }

  /// Each pair is one cause, met twice.
  @Test(arguments: [
    (
      failure("core@0.2.0: a step exited with 1", step: "[2/3] RUN make", exit: 1, tail: "a\nmake: *** [x] Error 2\n"),
      failure("app@1.0.0: a step exited with 1", step: "[4/9] RUN make", exit: 1, tail: "b\nmake: *** [x] Error 2")
    ),
    (
      failure("x", tail: "cannot open /tmp/build-8f3a91cc/out.txt after 12.5 s"),
      failure("x", tail: "cannot open /var/lib/job77/out.txt after 3 s")
    ),
    (
      failure("layer sha256:\(String(repeating: "a1", count: 32)) is gone at 2026-11-21T04:44:06.36Z"),
      failure("layer sha256:\(String(repeating: "b2", count: 32)) is gone at 2027-01-02T14:04:59.1Z")
    ),
    (failure("10.0.0.7:5000 answered 503"), failure("10.1.0.12:5001 answered 503")),
    (failure("GET http://one.example:80/v2/x: 503"), failure("GET http://two.example/v2/x: 503")),
    (
      failure("x", tail: "<Connection object at 0x7f3a2c1b9d30>"),
      failure("x", tail: "<Connection object at 0x7e3a2c1bffff>")
    ),
    (failure("x", tail: "cannot write /tmp/tmp.aB3xYzQw"), failure("x", tail: "cannot write /tmp/tmp.Zz9xYzQ1")),
    (failure("hello@1.0.0 linux/amd64 (graft): no"), failure("bye@2.1.0-rc1 linux/arm64/v8 (graft): no")),
    (
      failure("job 01890a5d-ac96-774b-bcce-b302099a8057 ended"),
      failure("job 7c9e6679-7425-40de-944b-e07fc1f90ae7 ended")
    ),
    (
      failure("executor ada-amd64 did not renew its lease on attempt 3"),
      failure("executor bob.example-arm64 did not renew its lease on attempt 5")
    ),
    (failure("\u{1B}[31mno\u{1B}[0m luck"), failure("no luck")),
  ])
  func oneCauseIsOneFingerprint(_ one: Failure, _ other: Failure) {
    #expect(one.fingerprint == other.fingerprint)
    #expect(one.fingerprint.count == 12)
  }

  @Test(arguments: [
    (failure("x", step: "RUN make", exit: 1), failure("x", step: "RUN make", exit: 2)),
    (failure("x", step: "RUN make"), failure("x", step: "RUN make install")),
    (failure("x", tail: "no such file: /a/one.txt"), failure("x", tail: "no such file: /a/two.txt")),
    (failure("x", tail: "error: alpha"), failure("x", tail: "error: beta")),
    (failure("x", tail: "main.c:12: no"), failure("x", tail: "other.c:12: no")),
    (Failure(.test, code: "test-failed", "x"), Failure(.build, code: "test-failed", "x")),
    (Failure(.build, code: "a", "x"), Failure(.build, code: "b", "x")),
  ])
  func otherCausesAreOthers(_ one: Failure, _ other: Failure) {
    #expect(one.fingerprint != other.fingerprint)
  }

  /// However long the line: the clock is in the suite's limit.
  @Test func aLongLineIsCut() {
    for piece in ["a", "a.", "/a", "1.", "a-"] {
      let line = String(repeating: piece, count: 1 << 16)
      #expect(Self.failure(line, step: line, tail: line).fingerprint.count == 12)
    }
  }
}
