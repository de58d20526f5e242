import Foundation

/// Where the SBOM program is.
enum Syft {
  /// KILN_SYFT, else the first `syft` on PATH; nil: no SBOM is made, and records have none.
  static var path: String? {
    if let path = Environment.value("KILN_SYFT") { return path }
    let folders = (Environment.value("PATH") ?? "").split(separator: ":")
    return folders.map { "\($0)/syft" }.first { FileManager.default.isExecutableFile(atPath: $0) }
  }
}
