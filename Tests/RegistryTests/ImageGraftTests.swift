import Foundation
import Model
import Testing

@testable import Registry

@Suite("Grafting")
struct ImageGraftTests {
  /// An image of the blobs that these names stand for.
  static func image(
    _ blobs: [String], diffs: [String]? = nil, history: [String]? = nil, docker: Bool = false, extra: String = "",
    containerConfig: String = #"{"Env":["A=b"]}"#, annotated: Bool = false, created: String = "1980-01-02T00:00:00Z"
  ) -> (manifest: Manifest, config: Data) {
    let ids = (diffs ?? blobs).map { "\"\(Digest(of: "diff " + $0))\"" }.joined(separator: ",")
    let steps = (history ?? blobs).map { #"{"created":"\#(created)","created_by":"\#($0)"}"# }.joined(separator: ",")
    let config = Data(
      """
      {"os":"linux","created":"\(created)","architecture":"amd64",\(extra)"config":\(containerConfig),
      "rootfs":{"diff_ids":[\(ids)],"type":"layers"},"history":[\(steps)]}
      """.utf8)
    let type =
      docker ? "application/vnd.docker.image.rootfs.diff.tar.gzip" : "application/vnd.oci.image.layer.v1.tar+gzip"
    let note = annotated ? #","annotations":{"rewritten":"yes"}"# : ""
    let layers = blobs.map {
      #"{"mediaType":"\#(type)","digest":"\#(Digest(of: $0))","size":\#($0.utf8.count)\#(note)}"#
    }
    let manifestType = docker ? MediaType.dockerManifest : MediaType.imageManifest
    let manifest = Data(
      """
      {"schemaVersion":2,"mediaType":"\(manifestType)","config":{"mediaType":"x","digest":"\(Digest(of: config))",
      "size":\(config.count)},"layers":[\(layers.joined(separator: ","))]}
      """.utf8)
    return (Manifest(mediaType: manifestType, bytes: manifest), config)
  }

  static func graft(_ child: (manifest: Manifest, config: Data), onto parent: (manifest: Manifest, config: Data)) throws
    -> ImageGraft.Result
  {
    try ImageGraft.child(
      ImageGraft.Image(child.manifest, config: child.config),
      of: ImageGraft.Image(parent.manifest, config: parent.config))
  }

  static func blobs(_ result: ImageGraft.Result) throws -> [Digest] {
    try ImageManifest(result.manifest).blobs.map(\.digest)
  }

  @Test("kept or rewritten, the parent's blobs come first and the result is the same")
  func prefix() throws {
    let parent = Self.image(["a", "b"])
    let kept = try Self.graft(Self.image(["a", "b", "c"]), onto: parent)
    let rewritten = try Self.graft(
      Self.image(["a'", "b'", "c"], history: ["a", "b", "c"], annotated: true), onto: parent)
    #expect(try Self.blobs(kept) == ["a", "b", "c"].map { Digest(of: $0) })
    #expect(kept.newBlobs.map(\.digest) == [Digest(of: "c")])
    #expect(kept.manifest == rewritten.manifest && kept.config == rewritten.config)
    let manifest = try ImageManifest(kept.manifest)
    #expect(manifest.config.digest == Digest(of: kept.config))
    #expect(manifest.config.blob.sizeBytes == Int64(kept.config.count))
    let config = try JSONValue.parse(kept.config, what: "config")
    #expect(
      config["rootfs"]?["diff_ids"] == .array(["a", "b", "c"].map { .string(Digest(of: "diff \($0)").description) }))
  }

  @Test("a child that adds nothing but config keeps all blobs")
  func configOnly() throws {
    let result = try Self.graft(
      Self.image(["a'"], history: ["a", "ENV X=y"], containerConfig: #"{"Env":["A=b","X=y"]}"#), onto: Self.image(["a"])
    )
    #expect(try Self.blobs(result) == [Digest(of: "a")] && result.newBlobs.isEmpty)
    let config = try JSONValue.parse(result.config, what: "config")
    #expect(config["config"]?["Env"] == .array([.string("A=b"), .string("X=y")]))
    #expect(config["history"]?.array?.count == 2)
  }

  @Test("the parent's own history stays, with its own times; the child's created time stays")
  func history() throws {
    let result = try Self.graft(
      Self.image(["a'", "c"], history: ["a", "c"], created: "1980-01-02T00:00:00Z"),
      onto: Self.image(["a"], created: "2024-05-05T00:00:00Z"))
    let config = try JSONValue.parse(result.config, what: "config")
    #expect(config["created"] == .string("1980-01-02T00:00:00Z"))
    #expect(
      config["history"]?.array?.compactMap { $0["created"]?.string } == [
        "2024-05-05T00:00:00Z", "1980-01-02T00:00:00Z",
      ])
  }

  @Test("the result is OCI's, also for a parent of Docker's")
  func mediaTypes() throws {
    let result = try Self.graft(Self.image(["a'", "c"], history: ["a", "c"]), onto: Self.image(["a"], docker: true))
    let plain = try Self.graft(Self.image(["a'", "c"], history: ["a", "c"]), onto: Self.image(["a"]))
    #expect(result.manifest == plain.manifest)
    #expect(!String(decoding: result.manifest.bytes, as: UTF8.self).contains("docker"))
  }

  @Test("fields that nobody here knows are kept: the child's, and those of the parent that the builder drops")
  func unknown() throws {
    let result = try Self.graft(
      Self.image(["a", "c"], extra: #""childs":{"n":[1,2.5,null,true]},"#, containerConfig: #"{"Env":[],"New":1}"#),
      onto: Self.image(
        ["a"], extra: #""parents":"kept","childs":"older","#, containerConfig: #"{"Odd":["x"],"Cmd":["gone"]}"#))
    let config = try JSONValue.parse(result.config, what: "config")
    #expect(config["childs"] == .object(["n": .array([.integer(1), .number(2.5), .null, .bool(true)])]))
    #expect(config["parents"] == .string("kept"))
    #expect(config["config"]?["Odd"] == .array([.string("x")]) && config["config"]?["New"] == .integer(1))
    #expect(config["config"]?["Cmd"] == nil, "what the builder knows and left out was removed on purpose")
  }

  @Test(
    "what was not built on its parent is refused",
    arguments: [
      (["a"], nil as [String]?, nil as [String]?, "not-a-child"),
      (["a", "x", "c"], nil, ["a", "x", "c"], "not-a-child"),
      (["a", "b", "c"], nil, ["a"], "not-a-child"),
      (["a", "b", "c"], ["a", "b"], nil, "bad-image"),
    ])
  func refused(_ blobs: [String], _ diffs: [String]?, _ history: [String]?, _ code: String) async throws {
    let found = try await failureCode {
      _ = try Self.graft(Self.image(blobs, diffs: diffs, history: history), onto: Self.image(["a", "b"]))
    }
    #expect(found == code)
  }

  // MARK: Independent

  private func independent(
    _ own: String, on parent: String, blobs: [String] = ["x"]
  ) throws -> (config: [String: JSONValue], result: ImageGraft.Result) {
    let image = Self.image(["a", "b"], extra: #""kept":1,"#, containerConfig: parent)
    let grafted = Self.image(blobs, containerConfig: own, created: "1980-01-03T00:00:00Z")
    let result = try ImageGraft.independent(
      ImageGraft.Image(grafted.manifest, config: grafted.config),
      on: ImageGraft.Image(image.manifest, config: image.config), arguments: ["ONE", "TWO"], title: "app")
    let config = try JSONValue.parse(result.config, what: "config")
    #expect(config["kept"] == .integer(1), "what nobody knows stays")
    return (config["config"]?.object ?? [:], result)
  }

  @Test("what was built on nothing comes to stand on a parent")
  func onAParent() throws {
    let result = try independent("{}", on: "{}", blobs: ["x", "y"]).result
    #expect(try Self.blobs(result) == ["a", "b", "x", "y"].map { Digest(of: $0) })
    #expect(result.newBlobs.map(\.digest) == ["x", "y"].map { Digest(of: $0) })
    let config = try JSONValue.parse(result.config, what: "config")
    #expect(
      config["rootfs"]?["diff_ids"]?.array
        == ["a", "b", "x", "y"].map { .string("\(Digest(of: "diff " + $0))") })
    #expect(config["history"]?.array?.compactMap { $0["created_by"]?.string } == ["a", "b", "x", "y"])
    #expect(config["created"]?.string == "1980-01-03T00:00:00Z")
    #expect(try ImageManifest(result.manifest).config.digest == Digest(of: result.config))
  }

  @Test("a parent that sets an argument by ENV would mean something else")
  func hiddenArgument() throws {
    let failure = #expect(throws: Failure.self) { try independent("{}", on: #"{"Env":["ONES=1","TWO=2"]}"#) }
    #expect(failure?.code == "not-independent" && failure?.message.contains("app: the image below sets 'TWO'") == true)
  }

  @Test(
    "config is merged as a builder does it",
    arguments: [
      // Own, parent, what comes of it.
      (
        #"{"Env":["PATH=/bin","A=2","C=3"]}"#, #"{"Env":["PATH=/opt","A=1","B=1"]}"#,
        #"{"Env":["PATH=/opt","A=2","B=1","C=3"]}"#
      ),
      (#"{"Env":["PATH=/bin"]}"#, "{}", "{}"),
      (#"{"Labels":{"a":"2","b":""}}"#, #"{"Labels":{"a":"1","c":"3"}}"#, #"{"Labels":{"a":"2","b":"","c":"3"}}"#),
      (
        #"{"ExposedPorts":{"80/tcp":{}},"Volumes":{"/v":{}}}"#, #"{"ExposedPorts":{"53/udp":{}}}"#,
        #"{"ExposedPorts":{"53/udp":{},"80/tcp":{}},"Volumes":{"/v":{}}}"#
      ),
      (#"{"Entrypoint":["/e"]}"#, #"{"Cmd":["c"],"Entrypoint":["d"]}"#, #"{"Entrypoint":["/e"]}"#),
      (#"{"Entrypoint":["/e"],"Cmd":["n"]}"#, #"{"Cmd":["c"]}"#, #"{"Cmd":["n"],"Entrypoint":["/e"]}"#),
      (
        #"{"Cmd":["n"],"ArgsEscaped":true}"#, #"{"Cmd":["c"],"Entrypoint":["d"]}"#,
        #"{"ArgsEscaped":true,"Cmd":["n"],"Entrypoint":["d"]}"#
      ),
      (
        #"{"User":"5","StopSignal":"SIGINT","WorkingDir":"/"}"#, #"{"User":"1","WorkingDir":"/w"}"#,
        #"{"StopSignal":"SIGINT","User":"5","WorkingDir":"/w"}"#
      ),
      (
        #"{"Healthcheck":{"Test":["NONE"]}}"#, #"{"Healthcheck":{"Test":["CMD","x"]},"OnBuild":["RUN x"]}"#,
        #"{"Healthcheck":{"Test":["NONE"]},"OnBuild":["RUN x"]}"#
      ),
    ]) func merged(own: String, parent: String, expected: String) throws
  {
    let config = try independent(own, on: parent).config
    #expect(String(decoding: JSONValue.object(config).canonicalBytes, as: UTF8.self) == expected)
  }
}
