import Foundation
import Model
import TestSupport
import Testing

@Suite struct RetryPolicyTests {
  @Test func delaysDoubleUpToTheirMaximum() {
    var policy = RetryPolicy()
    policy.infrastructure = RetryRule(attempts: 100, firstDelaySeconds: 5, maximumDelaySeconds: 300)
    let delays: [Int: Double] = [1: 5, 2: 10, 3: 20, 4: 40, 5: 80, 6: 160, 7: 300, 8: 300, 99: 300]
    for (attempt, delay) in delays {
      let least = policy.decide(.infrastructure, attempt: attempt, fraction: 0)
      #expect(least == .retry(afterSeconds: delay / 2), "attempt \(attempt)")
      let middle = policy.decide(.infrastructure, attempt: attempt, fraction: 0.5)
      #expect(middle == .retry(afterSeconds: delay * 0.75), "attempt \(attempt)")
    }
  }

  @Test func jitterStaysInTheUpperHalf() {
    let random = SeededRandom(seed: 3)
    var seen: Set<Double> = []
    for _ in 0..<1000 {
      guard case .retry(let delay) = RetryPolicy().decide(.infrastructure, attempt: 3, fraction: random.fraction())
      else {
        Issue.record("dead")
        return
      }
      #expect(delay >= 10)
      #expect(delay < 20)
      seen.insert(delay)
    }
    #expect(seen.count > 900)
  }

  @Test(arguments: [(.infrastructure, 5), (.build, 2), (.test, 2), (.policy, 1), (.input, 1)] as [(FailureClass, Int)])
  func attemptsAreCounted(_ failureClass: FailureClass, _ attempts: Int) {
    for attempt in 1...10 {
      let decision = RetryPolicy().decide(failureClass, attempt: attempt, fraction: 0)
      #expect((decision == .dead) == (attempt >= attempts), "attempt \(attempt)")
    }
  }
}

@Suite struct NameTests {
  @Test(arguments: [
    "a", "0", "core", "a.b", "a_b", "a__b", "a-b", "a---b", "a.b_c-d", String(repeating: "a", count: 63),
  ])
  func aName(_ text: String) {
    #expect(Name.isValid(text))
    #expect(Name.isRepository(text))
  }

  @Test(arguments: [
    "", "-a", "a-", ".a", "a.", "a..b", "a___b", "a_.b", "a.-b", "A", "a b", "a/b", "ü", "a\n", "--option", "..",
    String(repeating: "a", count: 64),
  ])
  func noName(_ text: String) { #expect(!Name.isValid(text)) }

  @Test(arguments: [
    ("a/b", true), ("a/b-c/d__e", true), ("", false), ("/a", false), ("a/", false), ("a//b", false),
    ("a/../b", false), ("a/B", false), ("host:5000/a", false),
    (String(repeating: "a", count: 255), true), (String(repeating: "a", count: 256), false),
  ])
  func repositories(_ text: String, _ valid: Bool) { #expect(Name.isRepository(text) == valid) }

  @Test(arguments: [
    ("1.0.0", true), ("_a", true), ("A-b.C", true), ("", false), (".a", false), ("-a", false), ("a/b", false),
    ("a:b", false), ("a b", false), ("1+2", false),
    (String(repeating: "a", count: 128), true), (String(repeating: "a", count: 129), false),
  ])
  func tags(_ text: String, _ valid: Bool) { #expect(Name.isTag(text) == valid) }
}

@Suite struct PlatformTests {
  @Test(arguments: [
    ("linux/amd64", "linux/amd64"), ("linux/x86_64", "linux/amd64"), ("linux/x86-64", "linux/amd64"),
    ("linux/aarch64", "linux/arm64"), ("linux/arm64/v8", "linux/arm64"), ("linux/aarch64/v8", "linux/arm64"),
    ("linux/arm64/v9", "linux/arm64/v9"), ("linux/arm/v7", "linux/arm/v7"), ("linux/arm/v8", "linux/arm/v8"),
    ("linux/amd64/v3", "linux/amd64/v3"),
  ])
  func normalForm(_ text: String, _ normal: String) {
    #expect(Platform(text)?.description == normal)
    #expect(Platform(text) == Platform(normal))
  }

  @Test(arguments: ["", "linux", "linux/", "/amd64", "linux//v7", "linux/arm/v7/x", "Linux/amd64", "linux/arm 64"])
  func noPlatform(_ text: String) { #expect(Platform(text) == nil) }

  @Test func isTextInJSON() throws {
    let platform = try #require(Platform("linux/arm/v7"))
    let data = try JSONEncoder().encode([platform])
    let back = try JSONDecoder().decode([Platform].self, from: data)
    #expect(back == [platform])
    let normal = try JSONDecoder().decode([Platform].self, from: Data(#"["linux/aarch64"]"#.utf8))
    #expect(normal.map(\.description) == ["linux/arm64"])
    #expect(throws: DecodingError.self) {
      try JSONDecoder().decode([Platform].self, from: Data(#"["linux"]"#.utf8))
    }
  }
}

@Suite struct DigestTests {
  static let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

  @Test func ofBytesAndText() {
    #expect(Digest(of: "abc").hex == Self.abc)
    #expect(Digest(of: Data("abc".utf8)).description == "sha256:\(Self.abc)")
    #expect(Digest(of: "").hex == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    #expect(Digest(of: "abc").short == "ba7816bf8f01")
  }

  @Test func inPieces() {
    var stream = DigestStream()
    stream.update([UInt8]("a".utf8))
    stream.update([UInt8]("bc".utf8))
    #expect(stream.size == 3)
    #expect(stream.digest() == Digest(of: "abc"))
  }

  @Test func isReadStrictly() throws {
    let digest = Digest(of: "abc")
    #expect(Digest("sha256:\(Self.abc)") == digest)
    #expect(Digest(hex: Self.abc) == digest)
    for text in [
      "", Self.abc, "sha256:", "sha256:\(Self.abc.uppercased())", "sha256:\(Self.abc.dropLast())",
      "sha256:\(Self.abc)0", "sha512:\(Self.abc)", "sha256:\(Self.abc.dropLast())g", "sha256:\(Self.abc)\n",
    ] {
      #expect(Digest(text) == nil, "\(text)")
    }
    let data = try JSONEncoder().encode([digest])
    #expect(String(decoding: data, as: UTF8.self) == "[\"sha256:\(Self.abc)\"]")
    let back = try JSONDecoder().decode([Digest].self, from: data)
    #expect(back == [digest])
    #expect(throws: DecodingError.self) { try JSONDecoder().decode([Digest].self, from: Data(#"["sha256:0"]"#.utf8)) }
  }
}

@Suite struct EffectsTests {
  @Test func identifiersSortByAge() {
    let time = ManualTime()
    let effects = Effects(time: time, random: SeededRandom(seed: 11))
    var identifiers: [String] = []
    for step in 0..<200 {
      identifiers.append(effects.identifier())
      time.advance(seconds: step % 2 == 0 ? 0.001 : 3600)
    }
    #expect(identifiers == identifiers.sorted())
    #expect(Set(identifiers).count == identifiers.count)
    #expect(identifiers.allSatisfy { $0.utf8.count == 26 })
    let alphabet = Set("0123456789abcdefghjkmnpqrstvwxyz")
    #expect(identifiers.allSatisfy { text in text.allSatisfy { alphabet.contains($0) } })
  }

  @Test func identifiersOfTheSameMomentDiffer() {
    let effects = Effects(time: ManualTime(), random: SeededRandom(seed: 12))
    let identifiers = (0..<1000).map { _ in effects.identifier() }
    #expect(Set(identifiers).count == 1000)
    #expect(Set(identifiers.map { $0.prefix(10) }).count == 1)
  }

  @Test func theSameSeedGivesTheSameIdentifiers() {
    let identifiers = (0..<2).map { _ in
      let effects = Effects(time: ManualTime(), random: SeededRandom(seed: 13))
      return (0..<3).map { _ in effects.identifier() }
    }
    #expect(identifiers[0] == identifiers[1])
  }

  @Test func fractionsAreBelowOne() {
    struct Ones: RandomSource { func next() -> UInt64 { .max } }
    struct Zeros: RandomSource { func next() -> UInt64 { 0 } }
    #expect(Ones().fraction() < 1)
    #expect(Zeros().fraction() == 0)
  }

  /// Work goes to a pool only where the pool's file promises what the work needs.
  @Test(arguments: [
    (Accelerator(vendor: "nvidia"), true), (Accelerator(vendor: "amd"), false),
    (Accelerator(vendor: "nvidia", minimumDriver: "525.60"), true),
    (Accelerator(vendor: "nvidia", minimumDriver: "535.1"), true),
    (Accelerator(vendor: "nvidia", minimumDriver: "535.10"), false),
    (Accelerator(vendor: "nvidia", computeCapability: "8.0"), false),
    (Accelerator(vendor: "nvidia", count: 2), true), (Accelerator(vendor: "nvidia", count: 3), false),
  ])
  func aPoolTakesWhatItsHostsHaveForCertain(_ wanted: Accelerator, _ isTaken: Bool) throws {
    let platform = try #require(Platform("linux/amd64"))
    var pool = Pool(name: PoolName(text: "gpu"), platforms: [platform])
    #expect(!pool.accepts(platform, accelerator: wanted))
    pool.accelerator = Accelerator(vendor: "nvidia", minimumDriver: "535.2", count: 2)
    #expect(pool.accepts(platform, accelerator: wanted) == isTaken)
    #expect(!pool.accepts(platform, accelerator: nil))
  }
}
