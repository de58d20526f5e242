import Model

/// A product's rule for a tag: text with places for what is known when it is planned.
package enum TagRule {
  package static let places = ["product", "revision", "variant", "version"]

  /// The tag, or nil where the rule is not understood. `{variant}` is empty for a product without a
  /// matrix; its pairs are written `fragment-version`, joined by `-`.
  package static func expand(_ rule: String, values: [String: String]) -> String? {
    var tag = ""
    var rest = rule[...]
    while let open = rest.firstIndex(of: "{") {
      tag += rest[..<open]
      guard let close = rest[open...].firstIndex(of: "}"),
        let value = values[String(rest[rest.index(after: open)..<close])]
      else { return nil }
      tag += value
      rest = rest[rest.index(after: close)...]
    }
    return tag + rest
  }

  static func mentionsVariant(_ rule: String) -> Bool { rule.contains("{variant}") }

  /// What is wrong with a rule whatever its values are.
  static func problem(with rule: String) -> (message: String, suggestion: Diagnostic.Suggestion?)? {
    var rest = rule[...]
    while let open = rest.firstIndex(of: "{") {
      guard let close = rest[open...].firstIndex(of: "}") else { return ("'{' without '}'", nil) }
      let place = String(rest[rest.index(after: open)..<close])
      guard places.contains(place) else {
        let list = places.map { "{\($0)}" }.joined(separator: ", ")
        return (
          "unknown place '{\(place)}'; there are \(list)", NearestName.suggestion(for: place, among: places)
        )
      }
      rest = rest[rest.index(after: close)...]
    }
    let sample = expand(rule, values: Dictionary(uniqueKeysWithValues: places.map { ($0, "0") }))
    guard let sample, Name.isTag(sample) else { return ("'\(rule)' gives no valid tag: \(Fields.versionRule)", nil) }
    return nil
  }
}

/// What may be a build argument.
enum ArgumentRule {
  /// Set by the builder, the same for every layer of a platform.
  static let predefined: Set<String> = ["TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT"]
  /// Their values, as the builder normalises platforms.
  static func values(of platform: Platform) -> [String: String] {
    let variant = platform.platformVariant ?? (platform.architecture == "arm" ? "v7" : "")
    return [
      "TARGETPLATFORM": "\(platform.os)/\(platform.architecture)" + (variant.isEmpty ? "" : "/\(variant)"),
      "TARGETOS": platform.os, "TARGETARCH": platform.architecture, "TARGETVARIANT": variant,
    ]
  }
  static let buildHost: Set<String> = ["BUILDPLATFORM", "BUILDOS", "BUILDARCH", "BUILDVARIANT"]
  static let epoch = "SOURCE_DATE_EPOCH"
  private static let proxies: Set<String> = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"]

  /// Why a definition must not give `name` a value; nil where it may.
  static func problem(with name: String) -> String? {
    if !Instruction.isVariableName(name) { return "'\(name)' is not an argument's name: letters, digits and '_'" }
    if name.hasPrefix("BUILDKIT_") { return "'\(name)' is a setting of the builder, not an argument" }
    if buildHost.contains(name) { return "'\(name)' differs from host to host" }
    if predefined.contains(name) || name == epoch { return "'\(name)' is set by the build itself" }
    if proxies.contains(name.uppercased()) { return "'\(name)' is a setting of the build host, not an argument" }
    return nil
  }
}
