// swift-tools-version: 6.2
import PackageDescription

/// Every target is held to the same laws: warnings are errors, imports are internal unless an
/// interface needs them, and an existential is always spelled `any`.
let settings: [SwiftSetting] = [
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

func product(_ name: String, _ package: String) -> Target.Dependency { .product(name: name, package: package) }
let argumentParser = product("ArgumentParser", "swift-argument-parser")
let crypto = product("Crypto", "swift-crypto")
let grdb = product("GRDB", "GRDB.swift")
let hummingbird = product("Hummingbird", "hummingbird")
let lifecycle = product("ServiceLifecycle", "swift-service-lifecycle")
let logging = product("Logging", "swift-log")
let unixSignals = product("UnixSignals", "swift-service-lifecycle")
let subprocess = product("Subprocess", "swift-subprocess")
let yams = product("Yams", "Yams")

/// What the simulator runs: a thousand farms are simulated with each test run, and unoptimised that takes
/// three times as long.
let simulated = settings + [.unsafeFlags(["-O"], .when(configuration: .debug))]

func shared(_ name: String, _ dependencies: [Target.Dependency] = [], settings: [SwiftSetting] = settings) -> Target {
  .target(name: name, dependencies: dependencies, path: "Sources/Shared/\(name)", swiftSettings: settings)
}

func systemLibrary(_ name: String, pkgConfig: String, apt: String) -> Target {
  .systemLibrary(name: name, path: "Sources/Shared/\(name)", pkgConfig: pkgConfig, providers: [.apt([apt])])
}

func tests(_ name: String, _ dependencies: [Target.Dependency], fixtures: [String] = []) -> Target {
  .testTarget(
    name: name, dependencies: dependencies, path: "Tests/\(name)", exclude: fixtures, swiftSettings: settings)
}

let package = Package(
  name: "kiln",
  platforms: [.macOS(.v15)],
  products: [.executable(name: "kiln", targets: ["kiln"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
  ],
  targets: [
    // C libraries: headers and the few shims that Swift cannot do without, nothing else.
    systemLibrary("CCurl", pkgConfig: "libcurl", apt: "libcurl4-openssl-dev"),
    systemLibrary("CPostgres", pkgConfig: "libpq", apt: "libpq-dev"),
    systemLibrary("CRabbitMQ", pkgConfig: "librabbitmq", apt: "librabbitmq-dev"),

    // Pure: no network, no process.
    shared("Model", [crypto], settings: simulated),
    shared("Catalog", ["Model", yams]),
    shared("Planner", ["Model", "Catalog"]),

    // The seams and their drivers.
    shared("BlockingThread"),
    shared("JobQueue", ["Model"], settings: simulated),
    shared("JobQueueAMQP", ["JobQueue", "Model", "BlockingThread", "CRabbitMQ", logging]),
    shared("RecordStore", ["Model"], settings: simulated),
    shared("RecordStorePostgres", ["RecordStore", "Model", "BlockingThread", "CPostgres", logging]),
    shared("RecordStoreSQLite", ["RecordStore", "Model", grdb], settings: simulated),

    // Images and the wire.
    shared("HTTPClient", ["BlockingThread", "CCurl"]),
    shared("Registry", ["Model", "HTTPClient", "BlockingThread"], settings: simulated),

    // The two halves of the farm, which never import each other.
    .target(
      name: "KilnCoordinator",
      dependencies: [
        "Model", "Catalog", "Planner", "JobQueue", "RecordStore", "Registry", hummingbird, lifecycle, logging,
      ],
      path: "Sources/Coordinator", swiftSettings: simulated),
    .target(
      name: "KilnExecutor",
      dependencies: ["Model", "JobQueue", "RecordStore", "Registry", yams, subprocess, lifecycle, logging],
      path: "Sources/Executor", swiftSettings: simulated),

    .executableTarget(
      name: "kiln",
      dependencies: [
        "Model", "Catalog", "Planner", "JobQueue", "JobQueueAMQP", "RecordStore", "RecordStorePostgres",
        "RecordStoreSQLite", "HTTPClient", "Registry", "KilnCoordinator", "KilnExecutor", argumentParser, lifecycle,
        unixSignals, logging,
      ],
      path: "Sources/Kiln", swiftSettings: settings),

    // What tests share: conformance suites of the seams, fixtures, the real services' addresses.
    .target(
      name: "TestSupport",
      dependencies: ["Model", "JobQueue", "RecordStore", "Registry", hummingbird, lifecycle, logging, subprocess],
      path: "Tests/Support", swiftSettings: settings),
    tests("ModelTests", ["Model", "TestSupport"]),
    tests("CatalogTests", ["Catalog", "Model", "TestSupport"]),
    tests("PlannerTests", ["Planner", "Catalog", "Model", "TestSupport"]),
    tests("BlockingThreadTests", ["BlockingThread", "TestSupport"]),
    tests("JobQueueTests", ["JobQueue", "Model", "TestSupport"]),
    tests("JobQueueAMQPTests", ["JobQueueAMQP", "JobQueue", "Model", "TestSupport", logging]),
    tests("RecordStorePostgresTests", ["RecordStorePostgres", "RecordStore", "Model", "TestSupport"]),
    tests("RecordStoreSQLiteTests", ["RecordStoreSQLite", "RecordStore", "Model", "TestSupport"]),
    tests("HTTPClientTests", ["HTTPClient", "TestSupport", hummingbird]),
    tests("RegistryTests", ["Registry", "HTTPClient", "Model", "TestSupport", hummingbird]),
    tests(
      "CoordinatorTests",
      [
        "KilnCoordinator", "JobQueue", "RecordStore", "RecordStoreSQLite", "HTTPClient", "Registry", "Catalog",
        "Planner", "Model", "TestSupport", hummingbird, lifecycle, logging,
      ]),
    tests(
      "ExecutorTests",
      [
        "KilnExecutor", "JobQueue", "RecordStore", "RecordStoreSQLite", "HTTPClient", "Registry", "Catalog", "Planner",
        "Model", "TestSupport", hummingbird, lifecycle, logging,
      ], fixtures: ["Fixtures"]),
    // `make bench`: how fast it is, on real services. See docs/bench.md.
    .executableTarget(
      name: "kiln-bench",
      dependencies: [
        "Model", "Catalog", "Planner", "JobQueue", "JobQueueAMQP", "RecordStore", "RecordStorePostgres",
        "RecordStoreSQLite", "HTTPClient", "Registry", "KilnCoordinator", "KilnExecutor", argumentParser, lifecycle,
        logging,
      ],
      path: "Tests/Bench", exclude: ["amqp-loop.c"], swiftSettings: settings),
    tests(
      "FarmTests",
      [
        "kiln", "JobQueue", "JobQueueAMQP", "KilnCoordinator", "Model", "Invariants", "RecordStore", "TestSupport",
        logging,
      ]),
    // What must be true of the store whatever is killed.
    .target(name: "Invariants", dependencies: ["Model"], path: "Tests/Invariants", swiftSettings: settings),
    // `make simulate`: coordinators, executors and embedded drivers on virtual time. See docs/simulation.md.
    .executableTarget(
      name: "kiln-simulate",
      dependencies: [
        "Model", "Catalog", "Planner", "JobQueue", "RecordStore", "RecordStoreSQLite", "Registry", "KilnCoordinator",
        "KilnExecutor", "Invariants", argumentParser, lifecycle, logging,
      ],
      path: "Tests/Simulation", swiftSettings: simulated),
    tests("KilnTests", ["kiln", "Model", "RecordStore", "RecordStoreSQLite", "TestSupport"], fixtures: ["Corpus"]),
  ]
)
