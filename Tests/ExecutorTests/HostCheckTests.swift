import Foundation
import Model
import Testing

@testable import KilnExecutor

@Suite struct HostCheckTests {
  private func found(
    _ platforms: [String] = ["linux/amd64", "linux/arm64"], store: Bool = true, free: Int64? = 100,
    accelerators: [InstalledAccelerator] = []
  ) -> HostCheck.Found {
    HostCheck.Found(
      engine: Engine.Facts(
        version: "26.1.5", builderVersion: "0.13.1", platforms: platforms.compactMap { Platform($0) },
        architecture: "amd64",
        usesContainerdStore: store, cpuCount: 2, localRoot: nil), freeBytes: free, accelerators: accelerators)
  }

  private func pool(_ platforms: [String] = ["linux/amd64"], change: (inout Pool) -> Void = { _ in }) -> Pool {
    var pool = Pool(name: PoolName(text: "p"), platforms: platforms.compactMap { Platform($0) })
    change(&pool)
    return pool
  }

  private let device = InstalledAccelerator(
    model: "NVIDIA H200", driver: "535.104.05", computeCapability: "9.0")

  @Test func aHostThatMeetsEverythingIsTaken() {
    #expect(HostCheck.unmet(pool(), found()).isEmpty)
    #expect(HostCheck.unmet(pool(["linux/386"]), found(["linux/amd64", "linux/386"])).isEmpty)
    #expect(HostCheck.unmet(pool(["linux/arm64"]) { $0.emulated = true }, found()).isEmpty)
    #expect(HostCheck.unmet(pool { $0.diskFloorBytes = 100 }, found(free: 100)).isEmpty)
    #expect(HostCheck.unmet(pool { $0.diskFloorBytes = 100 }, found(free: nil)).isEmpty)
    let gpu = Accelerator(vendor: "nvidia", minimumDriver: "535.54", computeCapability: "8.6", count: 1)
    #expect(HostCheck.unmet(pool { $0.accelerator = gpu }, found(accelerators: [device])).isEmpty)
  }

  @Test func everyUnmetDemandIsNamed() {
    let gpu = Accelerator(vendor: "nvidia")
    let reasons = HostCheck.unmet(
      pool(["linux/riscv64", "linux/arm64"]) {
        $0.accelerator = gpu
        $0.slots = 0
        $0.diskFloorBytes = 101
      }, found(store: false))
    #expect(
      reasons.map { String($0.prefix { $0 != ":" }) }
        == ["platforms", "emulated", "accelerator", "slots", "builder", "diskFloorBytes"], "\(reasons)")
    #expect(reasons[4].contains("containerd-snapshotter"))
  }

  @Test(arguments: [
    (
      Accelerator(vendor: "nvidia", minimumDriver: "550"), "1 with driver 550, here are: NVIDIA H200, driver 535.104.05"
    ),
    (Accelerator(vendor: "nvidia", computeCapability: "10.0"), "1 with compute capability 10.0"),
    (Accelerator(vendor: "nvidia", count: 2), "wants 2, here are"),
  ]) func anAcceleratorThatIsTooLittleIsRefused(_ wanted: Accelerator, _ reason: String) {
    let reasons = HostCheck.unmet(pool { $0.accelerator = wanted }, found(accelerators: [device]))
    #expect(reasons.count == 1 && reasons[0].contains(reason), "\(reasons)")
  }

  @Test func readsWhatProgramsSay() {
    #expect(Engine.builderVersion("github.com/docker/buildx 0.13.1+ds1 0.13.1+ds1-3") == "0.13.1+ds1")
    let inspection = "Name: x\nPlatforms:        linux/amd64*, linux/amd64/v2, linux/arm64\nLabels:\n"
    #expect(Engine.platforms(inspection).map(\.description) == ["linux/amd64", "linux/amd64/v2", "linux/arm64"])
    #expect(Engine.architecture("x86_64") == "amd64")
  }

  /// As the program prints it on hosts with and without what is asked for.
  @Test(
    arguments: [
      ("nvidia-smi-a6000.txt", "nvidia-smi-a6000-report.txt", ["NVIDIA RTX A6000 570.181 8.6 48 12.8"]),
      (
        "nvidia-smi-a100.txt", "nvidia-smi-a100-report.txt",
        ["NVIDIA A100-SXM4-40GB 535.129.03 8.0 40 12.2", "NVIDIA A100-SXM4-40GB 535.129.03 8.0 40 12.2"]
      ),
      // A module whose memory is the machine's, and a report that does not come.
      ("nvidia-smi-gb10.txt", nil, ["NVIDIA GB10 580.95.05 12.1 ? ?"]),
      // A device that fell off the bus, an old driver that does not know the question, no driver.
      ("nvidia-smi-lost.txt", nil, []), ("nvidia-smi-old.txt", nil, []), ("nvidia-smi-no-driver.txt", nil, []),
    ] as [(String, String?, [String])])
  func readsNvidiaSMI(_ devices: String, _ report: String?, _ expected: [String]) throws {
    let found = NvidiaSMI.parse(try text(devices), report: try report.map(text) ?? "")
    let words = found.map { device in
      let memory = device.memoryBytes.map { "\(Int((Double($0) / Double(1 << 30)).rounded()))" } ?? "?"
      return "\(device.model) \(device.driver) \(device.computeCapability) \(memory) \(device.cuda ?? "?")"
    }
    #expect(words == expected)
  }

  private func text(_ fixture: String) throws -> String {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Fixtures")
    return try String(contentsOf: folder.appendingPathComponent(fixture), encoding: .utf8)
  }
}
