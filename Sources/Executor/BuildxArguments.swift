import Foundation
import Model
import Registry

/// The command line of one layer's build. Pure.
enum BuildxArguments {
  /// What `docker` is called with, and the Dockerfile that goes with it.
  struct Command: Equatable {
    var arguments: [String]
    var dockerfile: String
  }

  static func command(for request: LayerBuildRequest, layout: URL, metadataFile: URL) -> Command {
    var dockerfile = request.layer.dockerfile
    var arguments = ["buildx", "build", "--file", ContextArchive.dockerfileName]
    if case .registry(let reference) = request.parent?.location, let named = naming(reference, in: dockerfile) {
      // BuildKit leaves the blobs of a FROM by digest alone; those of a named context it rewrites.
      dockerfile = named
    } else if let parent = request.parent {
      arguments += ["--build-context", "\(Recipe.parentContextName)=\(parent.location.buildContext)"]
    }
    arguments += ["--platform", "\(request.layer.platform)", "--network", request.network.rawValue]
    var values = request.layer.arguments
    values["SOURCE_DATE_EPOCH"] = "\(Recipe.sourceDateEpochSeconds)"
    for (name, value) in values.sorted(by: { $0.key < $1.key }) { arguments += ["--build-arg", "\(name)=\(value)"] }
    for (id, file) in request.secretFiles.sorted(by: { $0.key < $1.key }) where request.layer.secrets[id] != nil {
      arguments += ["--secret", fields(["id=\(id)", "src=\(file.path)"])]
    }
    if !request.usesCache { arguments.append("--no-cache") }
    // An attestation would make an index of it, other in each run.
    arguments += ["--provenance=false", "--sbom=false", "--progress", "rawjson"]
    arguments += ["--output", output(to: layout), "--metadata-file", metadataFile.path, "-"]
    return Command(arguments: arguments, dockerfile: dockerfile)
  }

  static func output(to layout: URL) -> String {
    fields(["type=oci", "dest=\(layout.path)", "tar=false", "rewrite-timestamp=true"])
  }

  /// The Dockerfile with its last `FROM kiln-parent` naming the image itself; nil if there is no such
  /// line, or if something else refers to the parent by that name.
  static func naming(_ reference: String, in dockerfile: String) -> String? {
    var lines = dockerfile.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    let from = /^(\s*FROM\s+(?:--platform=\S+\s+)?)kiln-parent(\s.*)?$/.ignoresCase()
    let found = lines.indices.filter { lines[$0].contains(Recipe.parentContextName) }
    guard found.count == 1, let match = lines[found[0]].wholeMatch(of: from) else { return nil }
    lines[found[0]] = "\(match.1)\(reference)\(match.2 ?? "")"
    return lines.joined(separator: "\n")
  }

  /// Fields as buildx reads them: comma separated values.
  private static func fields(_ fields: [String]) -> String {
    fields.map { field in
      guard field.contains(where: { ",\"\n".contains($0) }) else { return field }
      return "\"\(field.replacingOccurrences(of: "\"", with: "\"\""))\""
    }.joined(separator: ",")
  }
}
