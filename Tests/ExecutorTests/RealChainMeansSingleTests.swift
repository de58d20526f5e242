import Foundation
import Model
import Registry
import Testing

@testable import KilnExecutor

/// The image from a chain of layers is the one that a single Dockerfile gives: the same diff IDs, the
/// same config. For every instruction, on a real engine.
@Suite struct RealChainMeansSingle {
  struct Case: Sendable, CustomTestStringConvertible {
    var testDescription: String
    /// One text for each layer.
    var fragments: [String]
    var arguments: [String: String] = [:]

    init(_ name: String, _ fragments: [String], arguments: [String: String] = [:]) {
      testDescription = name
      self.fragments = fragments
      self.arguments = arguments
    }
  }

  static let cases = [
    Case("ADD", ["ADD a.txt /x/", "ADD --chmod=0700 a.txt d/ /y/\nADD --chown=1:2 d /z"]),
    Case(
      "ARG", ["ARG ONE=1\nRUN echo $ONE > /one", "ARG TWO\nENV KEPT=$TWO\nRUN echo $TWO $KEPT > /two"],
      arguments: ["TWO": "second"]),
    Case("CMD", [#"CMD ["echo", "a"]"#, "CMD echo b"]),
    Case("COPY", ["COPY a.txt d/ /x/", "COPY --chown=3:4 a.txt /y\nCOPY --link d /z", "COPY d* /all/"]),
    Case("COPY heredoc", ["COPY <<A /a\none\ntwo\nA", "COPY <<B <<C /dir/\nb\nB\nc\nC"]),
    Case("ENTRYPOINT", [#"ENTRYPOINT ["echo"]"#, #"ENTRYPOINT ["cat"]\#nCMD ["/etc/passwd"]"#]),
    Case("ENV", ["ENV A=1 B=\"two words\"", "ENV C=$A-$B PATH=/opt/bin:$PATH", "RUN echo $A $B $C $PATH > /e"]),
    Case("EXPOSE", ["EXPOSE 80", "EXPOSE 53/udp 443/tcp"]),
    Case("HEALTHCHECK", ["HEALTHCHECK --interval=5s --retries=3 CMD true", "RUN true", "HEALTHCHECK NONE"]),
    Case("LABEL", ["LABEL a=1", "LABEL a=2 b=\"x y\""]),
    Case("MAINTAINER", ["MAINTAINER somebody", "RUN true"]),
    Case(
      "RUN",
      [
        "RUN mkdir /r && echo 1 > /r/1", "RUN rm /r/1 && \\\n  echo 2 > /r/2 && \\\n  ln -s 2 /r/3",
        #"RUN ["touch", "/r/4"]"#,
      ]),
    Case("RUN heredoc", ["RUN <<E\nset -e\necho a > /h\nE", "RUN <<E sh -x\necho b >> /h\nE"]),
    Case(
      "RUN mount",
      ["RUN --mount=type=bind,source=a.txt,target=/m cat /m > /copy", "RUN --mount=type=tmpfs,target=/t echo x > /t/x"]),
    Case("SHELL", [#"SHELL ["/bin/sh", "-e", "-c"]"#, "RUN echo 1 > /s", "CMD echo shell"]),
    Case("STOPSIGNAL", ["STOPSIGNAL SIGINT", "STOPSIGNAL 9"]),
    Case(
      "USER",
      [
        "RUN echo u:x:7:8::/:/bin/sh >> /etc/passwd && mkdir -m 777 /u", "USER u", "RUN touch /u/mine", "USER 5:6",
        "RUN touch /u/theirs",
      ]),
    Case("VOLUME", ["RUN mkdir /v", "VOLUME /v /w", "RUN echo kept > /v/f"]),
    Case("WORKDIR", ["WORKDIR /w", "WORKDIR deep", "RUN pwd > here", "COPY a.txt ./"]),
    Case("white-outs", ["RUN mkdir -p /o/p && touch /o/p/q /o/r", "RUN rm -r /o/p && mkdir /o/p && touch /o/p/s"]),
  ]

  static let context = [
    TarArchive.Entry(path: "a.txt", content: .file(Data("a\n".utf8), executable: false)),
    TarArchive.Entry(path: "d/run.sh", content: .file(Data("#!/bin/sh\n".utf8), executable: true)),
    TarArchive.Entry(path: "d/link", content: .symlink(target: "run.sh")),
  ]

  @Test(arguments: cases) func equals(_ example: Case) async throws {
    try await Self.expectEqual(example, "linux/amd64")
  }

  static func expectEqual(_ example: Case, _ platform: String) async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let base = try TestImage.base(platform)
    let head = "FROM kiln-parent\nARG SOURCE_DATE_EPOCH\n"
    var chain = base
    for fragment in example.fragments {
      let built = try await host.build(
        head + fragment + "\n", on: chain, context: Self.context, arguments: example.arguments)
      chain = try chain.adding(built, in: host.folder)
    }
    try await host.expect(chain, isOneBuildOf: example, on: base)
  }

  // MARK: Independent fragments

  /// The last fragment is independent.
  static let independent = [
    Case("ADD and COPY", ["RUN mkdir /x && ln -s x /y", "ADD --link a.txt /x/\nCOPY --link --chown=3:4 d /y/deep/"]),
    Case(
      "COPY over what is there", ["RUN mkdir -p -m 700 /x/d && echo old > /x/a.txt", "COPY --link a.txt d /x/"]),
    Case("COPY heredoc", ["RUN true", "COPY --link --chmod=0640 <<A <<B /dir/\none\nA\ntwo\nB"]),
    Case(
      "ARG and ENV",
      ["ENV A=0 Z=1", "ARG ONE\nENV A=$ONE B=\"two words\"\nENV C=$A\nLABEL one=$ONE\nCOPY --link a.txt /$ONE"],
      arguments: ["ONE": "first"]),
    Case("config alone", ["LABEL a=1 b=1\nEXPOSE 80\nVOLUME /v", "LABEL a=2 c=\"x y\"\nEXPOSE 53/udp\nVOLUME /w"]),
    Case("CMD", [#"CMD echo shell"#, #"CMD ["echo", "b"]"#]),
    Case("ENTRYPOINT", [#"ENTRYPOINT ["a"]"#, #"ENTRYPOINT ["echo"]\#nCMD ["b"]"#]),
    Case(
      "USER, STOPSIGNAL, HEALTHCHECK",
      ["USER 1\nHEALTHCHECK CMD true\nWORKDIR /w", "USER 5:6\nSTOPSIGNAL SIGINT\nHEALTHCHECK --interval=5s CMD echo"]),
    Case("HEALTHCHECK NONE", ["HEALTHCHECK CMD true", "HEALTHCHECK NONE\nCOPY --link a.txt /a"]),
  ]

  @Test(arguments: independent) func graftedEquals(_ example: Case) async throws {
    let host = try await TestHost()
    defer { host.remove() }
    let base = try TestImage.base("linux/amd64")
    let head = "FROM kiln-parent\nARG SOURCE_DATE_EPOCH\n"
    let (below, last) = (example.fragments[0], example.fragments[1])
    let built = try await host.build(head + below + "\n", on: base, context: Self.context)
    let parent = try base.adding(built, in: host.folder)
    let own = try await host.build(
      "FROM scratch\nARG SOURCE_DATE_EPOCH\n\(last)\n", on: base, standing: false, context: Self.context,
      arguments: example.arguments)
    let result = try ImageGraft.independent(
      ImageGraft.Image(own.manifest, config: own.config),
      on: ImageGraft.Image(parent.image.manifest, config: parent.image.config), arguments: [], title: "app")
    #expect(result.newBlobs.map(\.blob) == own.newBlobs.map(\.blob))
    let grafted = BuiltLayer(
      manifest: result.manifest, config: result.config, newBlobs: own.newBlobs, steps: [], engineVersion: "")
    try await host.expect(try parent.adding(grafted, in: host.folder), isOneBuildOf: example, on: base)
  }
}

extension TestHost {
  /// A single Dockerfile gives the same image.
  fileprivate func expect(_ chain: TestImage, isOneBuildOf example: RealChainMeansSingle.Case, on base: TestImage)
    async throws
  {
    let whole =
      "FROM kiln-parent\nARG SOURCE_DATE_EPOCH\n" + example.fragments.joined(separator: "\n") + "\n"
    let built = try await build(
      whole, on: base, context: RealChainMeansSingle.context, arguments: example.arguments)
    let single = try base.adding(built, in: folder)
    #expect(try chain.blobs == single.blobs)
    #expect(try Self.withoutHistory(chain) == Self.withoutHistory(single))
    #expect(
      try chain.configuration.object(forKey: "rootfs") as? NSDictionary == single.configuration.object(forKey: "rootfs")
        as? NSDictionary)
  }

  /// The history tells the steps, among them each layer's own ARG lines.
  private static func withoutHistory(_ image: TestImage) throws -> NSDictionary {
    let copy = NSMutableDictionary(dictionary: try image.configuration as! [AnyHashable: Any])
    copy.removeObject(forKey: "history")
    return copy
  }
}

/// `make soak`: the same where every step is emulated.
@Suite struct SoakChainMeansSingle {
  @Test(arguments: RealChainMeansSingle.cases) func equals(_ example: RealChainMeansSingle.Case) async throws {
    try await RealChainMeansSingle.expectEqual(example, "linux/arm64")
  }
}
