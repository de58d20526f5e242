import Foundation
import Model

/// What NVIDIA's own program tells about this machine's GPUs.
enum NvidiaSMI {
  static let query = ["--query-gpu=name,driver_version,compute_cap,memory.total", "--format=csv,noheader,nounits"]

  /// Nothing where the program is not there, or fails: then there is nothing to use.
  static func accelerators(_ engine: Engine) async -> [InstalledAccelerator] {
    guard let devices = await run(query, engine) else { return [] }
    return parse(devices, report: await run(["--query"], engine) ?? "")
  }

  private static func run(_ arguments: [String], _ engine: Engine) async -> String? {
    let program = Program("nvidia-smi", arguments, environment: engine.docker.environment, deadlineSeconds: 20)
    guard let result = try? await program.run(time: engine.docker.time), result.succeeded else { return nil }
    return result.outputText
  }

  /// - Parameters:
  ///   - devices: one line for each GPU; memory in MiB.
  ///   - report: the long one, whose head tells which CUDA the driver serves.
  static func parse(_ devices: String, report: String) -> [InstalledAccelerator] {
    let cuda = report.split(whereSeparator: \.isNewline).lazy.compactMap { line -> String? in
      let pair = line.split(separator: ":", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
      guard pair.count == 2, pair[0] == "CUDA Version", pair[1].first?.isNumber == true else { return nil }
      return pair[1]
    }.first
    return devices.split(whereSeparator: \.isNewline).compactMap { line in
      // A model's name has no comma; what cannot be told is "[N/A]" or "[Not Supported]".
      let fields = line.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
      guard fields.count == 4, fields[1].first?.isNumber == true, fields[2].first?.isNumber == true else { return nil }
      return InstalledAccelerator(
        model: fields[0], driver: fields[1], computeCapability: fields[2],
        memoryBytes: Int64(fields[3]).map { $0 << 20 }, cuda: cuda)
    }
  }
}
