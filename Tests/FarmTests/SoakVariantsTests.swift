import Foundation
import Model
import RecordStore
import TestSupport
import Testing

/// `make soak`: thirty variants on two platforms, with buildx on two engines. What the farm says
/// beforehand is what it then builds, exactly.
@Suite("Soak: variants", .serialized)
struct SoakVariantsTests {
  static let platforms = ["linux/amd64", "linux/arm64"]

  @Test("built; then a line in the app, a line in the bottom, another base: the forecast is what is built")
  func forecastIsWhatIsBuilt() async throws {
    let farm = try await TestFarm(run: "many", platforms: Self.platforms, attempts: 100)
    do {
      try farm.catalog.becomeVariants(middles: 3, apps: 10, platforms: Self.platforms, port: farm.counter.port)
      try await run(farm)
    } catch {
      await farm.end(failed: true)
      throw error
    }
    await farm.end(failed: false)
  }

  private func run(_ farm: TestFarm) async throws {
    _ = try farm.startCoordinator("c1", port: farm.ports[0])
    _ = try farm.startCoordinator("c2", port: farm.ports[1])
    try await farm.waitForCoordinators()
    for (name, pool) in [("amd64-1", "amd64"), ("amd64-2", "amd64"), ("arm64-1", "arm64")] {
      _ = try farm.startExecutor(name, pool: pool, engine: name == "amd64-1" ? farm.engineA : farm.engineB)
    }
    // Bottom, middles, and an app on each of them; on two platforms.
    let all = 2 * (1 + 3 + 30)
    try await expect(farm, layers: all, steps: 2 * (1 + 3))
    try farm.catalog.write("fragments/app/1.0.4/app.txt", "another line\n")
    try await expect(farm, layers: 2 * 3, steps: 0)
    let bottom = "fragments/bottom/1.0.0/Dockerfile.fragment"
    let text = try String(contentsOf: farm.catalog.folder.appendingPathComponent(bottom), encoding: .utf8)
    try farm.catalog.write(bottom, "RUN true\n" + text)
    try await expect(farm, layers: all, steps: 2 * (1 + 3))
    try await farm.moveBase()
    try await expect(farm, layers: all, steps: 2 * (1 + 3))
    try await expect(farm, layers: 0, steps: 0)
  }

  private func expect(_ farm: TestFarm, layers: Int, steps: Int) async throws {
    let before = farm.counter.all.values.reduce(0, +)
    let forecast = try await farm.forecast(farm.catalog)
    #expect(forecast.count == layers)
    let build: BuildDetail = try await farm.submit()
    #expect(build.summary.state == .passed && build.cells.count == 60)
    #expect(try await farm.builtLayers(build) == forecast)
    #expect(farm.counter.all.values.reduce(0, +) - before == steps)
  }
}
