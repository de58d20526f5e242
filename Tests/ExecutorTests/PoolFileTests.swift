import Foundation
import KilnExecutor
import Model
import Testing

@Suite struct PoolFileTests {
  static let whole = """
    name: gpu
    platforms: [linux/amd64, linux/arm64/v8]
    accelerator: {vendor: nvidia, minimumDriver: 535, computeCapability: "8.0", count: 2}
    slots: 3
    builder: {host: "unix:///run/engine.sock"}
    emulated: true
    network: none
    diskFloorBytes: 1000
    limits: {layerSeconds: 10, finishSeconds: 11, noOutputSeconds: 12}
    retries:
      build: {attempts: 7, firstDelaySeconds: 0.5, maximumDelaySeconds: 9}
    """

  @Test func readsEveryField() throws {
    let pool = try PoolFile.parse(Self.whole, name: "gpu.yml")
    var expected = Pool(
      name: PoolName(text: "gpu"), platforms: [Platform("linux/amd64"), Platform("linux/arm64")].compactMap { $0 },
      accelerator: Accelerator(vendor: "nvidia", minimumDriver: "535", computeCapability: "8.0", count: 2), slots: 3,
      builder: Pool.Builder(host: "unix:///run/engine.sock"), emulated: true, network: .none, diskFloorBytes: 1000)
    expected.limits.layerSeconds = 10
    expected.limits.finishSeconds = 11
    expected.limits.noOutputSeconds = 12
    expected.retries.build = RetryRule(attempts: 7, firstDelaySeconds: 0.5, maximumDelaySeconds: 9)
    #expect(pool == expected)
  }

  @Test func whatIsNotSaidHasDefaults() throws {
    let pool = try PoolFile.parse("name: a\nplatforms: [linux/amd64]\n", name: "a.yml")
    #expect(pool == Pool(name: PoolName(text: "a"), platforms: try [present(Platform("linux/amd64"))]))
  }

  @Test(arguments: [
    ("platforms: [linux/amd64]", "a.yml:1: 'name' is missing"),
    ("name: a\nplatforms: [linux/amd64]\nslot: 2", "a.yml:3: slot: is no field of a pool. did you mean 'slots'?"),
    ("name: a\nplatforms: [linux]", "a.yml:2: platforms[0]: 'linux' is no platform such as linux/amd64"),
    ("name: a\nplatforms: []", "a.yml:2: platforms: names no platform"),
    ("name: A B\nplatforms: [linux/amd64]", "a.yml:1: name: 'A B' is no valid name"),
    ("name: a\nplatforms: [linux/amd64]\nslots: 0", "a.yml:3: slots: must be 1 to 1024, not 0"),
    ("name: a\nplatforms: [linux/amd64]\nslots: many", "a.yml:3: slots: must be a whole number"),
    ("name: a\nplatforms: [linux/amd64]\nemulated: perhaps", "a.yml:3: emulated: must be true or false"),
    (
      "name: a\nplatforms: [linux/amd64]\nnetwork: bridge",
      "a.yml:3: network: 'bridge' is not one of default, host, none"
    ),
    (
      "name: a\nplatforms: [linux/amd64]\nbuilder: {context: x, host: y}",
      "builder.host: give a context or a host, not both"
    ),
    (
      "name: a\nplatforms: [linux/amd64]\nlimits:\n  layerSecond: 3",
      "a.yml:4: limits.layerSecond: is no field of a pool. did you mean 'layerSeconds'?"
    ),
    (
      "name: a\nplatforms: [linux/amd64]\naccelerator: {vendor: other}",
      "accelerator.vendor: 'other' is not one of nvidia"
    ),
    ("name: a\nname: b\nplatforms: [linux/amd64]", "a.yml:"),
    ("- a", "a.yml:1: must be fields with values"),
    ("", "a.yml is empty"),
    ("name: [", "a.yml: "),
  ]) func refusesWithFileLineAndField(_ text: String, _ message: String) {
    let failure = #expect(throws: Failure.self) { try PoolFile.parse(text, name: "a.yml") }
    #expect(failure?.failureClass == .input)
    #expect(failure?.description.contains(message) == true, "\(String(describing: failure))")
  }

  @Test func theProjectsOwnPoolsAreValid() throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../pools")
      .standardized
    let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
      .filter { $0.pathExtension == "yml" }
    #expect(!files.isEmpty)
    for file in files {
      #expect(try PoolFile.load(file).name.text == file.deletingPathExtension().lastPathComponent)
    }
  }
}
