import Foundation
import Model

extension StoreImport {
  // MARK: Manifests

  mutating func writeManifest(_ id: String, _ manifest: StoreValue) {
    let file = StorePath.manifests
    guard manifests.contains(id), let name = draft.name(id, file, id) else { return }
    let (path, folders) = parts(of: manifest)
    let fragments = folders.compactMap { folder in modules.first { $0.value.folder == folder.folder }?.key }
    guard let (templateID, template) = templates.first(where: { $0.value.file == path }) else { return }
    leaveUnknown(manifest, known: ["template", "modules", "base_image", "output"], file, "\(id).")
    leaveUnknown(manifest["template"] ?? .null, known: ["id", "version", "path"], file, "\(id).template.")
    for (index, module) in (manifest["modules"]?.items ?? []).enumerated() {
      leaveUnknown(module, known: ["name", "version", "path"], file, "\(id).modules[\(index)].")
    }
    if manifest["output"] != nil {
      draft.leave(
        file, "\(id).output", "no file is written beside the catalog", hint: "'kiln render \(name)' prints it")
    }
    guard let (image, argument) = base(of: manifest, id, template),
      let base = draft.base(image, file, "\(id).base_image")
    else { return }
    dropContradictions(among: fragments, in: template)
    var text = "name: \(name)\ntemplate: \(templateID)\nbase: \(CatalogDraft.quoted(base))\n"
    text += fragments.isEmpty ? "fragments: {}\n" : "fragments:\n"
    for fragment in fragments { text += "  \(fragment.name): \(CatalogDraft.quoted(fragment.version))\n" }
    let isUsed = fragments.contains { id in
      let text = modules[id]?.text ?? ""
      return DockerfileParser.parse(text, file: "", into: Diagnostics()).arguments.contains { $0.name == argument }
    }
    if let argument, isUsed { text += "args:\n  \(argument): \(CatalogDraft.quoted(image))\n" }
    draft.write("manifests/\(name).yml", text)
  }

  /// The image, and the template's argument for it where that says something else by itself.
  private mutating func base(
    of manifest: StoreValue, _ id: String, _ template: StoreTemplate
  ) -> (image: String, argument: String?)? {
    let said = manifest["base_image"]?.text
    switch template.base {
    case .literal(let image):
      if let said, said != image {
        draft.leave(
          StorePath.manifests, "\(id).base_image", "'\(said)' is not what FROM of \(template.file) says, '\(image)'")
      }
      return (image, nil)
    case .manifest where said != nil: return said.map { ($0, nil) }
    case .argument(let name, let standard) where said != nil || standard != nil:
      return (said ?? standard).map { ($0, $0 == standard ? nil : name) }
    default:
      draft.leave(StorePath.manifests, "\(id).base_image", "neither this nor the template says the base image")
      return nil
    }
  }

  /// `order` is checked against the template's; where the two differ, the template's is what counts.
  private mutating func dropContradictions(among fragments: [FragmentVersion], in template: StoreTemplate) {
    let markers = DockerfileParser.lines(of: template.text).compactMap { line in
      if case .start(let name, _)? = MarkerLine(line) { name } else { nil }
    }
    let ordered = markers.compactMap { marker in fragments.first { $0.name == marker } }
    for (below, above) in zip(ordered, ordered.dropFirst()) {
      guard let low = modules[below]?.order, let high = modules[above]?.order, low > high else { continue }
      for id in [below, above] {
        draft.leave(
          modules[id]?.file ?? "", "order", "contradicts the markers of \(template.file), whose order counts")
        modules[id]?.order = nil
      }
    }
  }

  // MARK: Templates

  /// Optional are the markers that some manifest does not fill.
  mutating func writeTemplate(_ id: FragmentVersion) {
    guard let template = templates[id] else { return }
    let uses = filled[id] ?? []
    var isFilled = false
    var text = ""
    let lines = DockerfileParser.lines(of: template.text)
    for (index, line) in lines.enumerated() {
      switch MarkerLine(line) {
      case .start(let marker, _):
        let name = draft.name(marker, template.file, "marker") ?? marker
        isFilled = uses.contains { $0.contains(name) }
        let optional = uses.isEmpty || !uses.allSatisfy { $0.contains(name) } ? "?" : ""
        text += "#--MODULE\(optional):\(name)--#\n"
      case .end:
        text += line + "\n"
        if isFilled, index < lines.count - 1 { text += "\n" }
      case .malformed, nil:
        if MarkerLine(line) == nil, line.contains("#--MODULE:") || line.contains("#--ENDMODULE--#") {
          draft.leave(template.file, "marker", "'\(line)': a marker has a line of its own in a catalog")
        }
        text += line + "\n"
      }
    }
    draft.write("templates/\(id.name)/\(id.version)/\(CatalogLoader.templateFile)", text)
  }

  // MARK: Products and test plans

  mutating func writeProduct(_ id: String, _ product: StoreValue) {
    let file = StorePath.products
    leaveUnknown(
      product, known: ["name", "description", "docker_image_name", "docker_tag", "metadata"], file, "\(id).")
    let metadata = product["metadata"] ?? .null
    leaveUnknown(metadata, known: ["manifest_id", "build_platform"], file, "\(id).metadata.")
    guard let name = draft.name(id, file, id),
      let manifest = manifest(metadata["manifest_id"], file, "\(id).metadata.manifest_id")
    else { return }
    guard let said = product["docker_image_name"]?.text, let image = ImageName(said),
      Name.isRepository(image.repository)
    else {
      draft.leave(file, "\(id).docker_image_name", "is not an image's name; the product is left out")
      return
    }
    if let host = image.host {
      draft.leave(
        file, "\(id).docker_image_name", "the registry '\(host)': a product names only the repository",
        hint: "say 'registry: \(host)' in catalog.yml, or --push at the build")
    }
    let tag = product["docker_tag"]?.text ?? image.tag ?? "latest"
    guard Name.isTag(tag) else {
      draft.leave(file, "\(id).docker_tag", "'\(tag)' is not a tag; the product is left out")
      return
    }
    let title = product["name"]?.text.flatMap { $0 == id ? nil : $0 }
    let description = [title, product["description"]?.text].compactMap(\.self).joined(separator: ": ")
    var text = "name: \(name)\n"
    if !description.isEmpty { text += "description: \(CatalogDraft.quoted(description))\n" }
    text += "image: \(CatalogDraft.quoted(image.repository))\nversion: \(CatalogDraft.quoted(tag))\n"
    text += "manifest: \(manifest)\ntags: [\"{version}\"]\ntargets:\n"
    for platform in platforms(metadata["build_platform"], "\(id).metadata.build_platform") {
      text += "  - platform: \(CatalogDraft.quoted(platform))\n"
    }
    draft.write("products/\(name).yml", text)
  }

  private mutating func platforms(_ value: StoreValue?, _ field: String) -> [String] {
    let said = value?.items?.compactMap(\.text) ?? value?.text?.split { $0 == "," || $0 == " " }.map(String.init) ?? []
    var platforms: [String] = []
    for text in said {
      guard let platform = Platform(text)?.description, CatalogLoader.knownPlatforms.contains(platform) else {
        draft.leave(StorePath.products, field, "'\(text)' is not a platform that Kiln knows")
        continue
      }
      if !platforms.contains(platform) { platforms.append(platform) }
    }
    if platforms.isEmpty {
      draft.leave(StorePath.products, field, "says no platform; linux/amd64 is taken")
      return ["linux/amd64"]
    }
    return platforms
  }

  private mutating func manifest(_ value: StoreValue?, _ file: String, _ field: String) -> String? {
    guard let id = value?.text, manifests.contains(id), let name = draft.name(id, file, field),
      draft.files["manifests/\(name).yml"] != nil
    else {
      draft.leave(file, field, "there is no such manifest in the catalog; what names it is left out")
      return nil
    }
    return name
  }

  mutating func writePlan(_ id: String, _ plan: StoreValue) {
    let file = StorePath.plans
    leaveUnknown(
      plan, known: ["name", "description", "product_id", "manifest_id", "fixed", "matrix"], file, "\(id).")
    guard let name = draft.name(id, file, id) else { return }
    guard let product = plan["product_id"]?.text, let productName = draft.name(product, file, "\(id).product_id"),
      draft.files["products/\(productName).yml"] != nil
    else {
      draft.leave(file, "\(id).product_id", "there is no such product in the catalog; the plan is left out")
      return
    }
    let title = plan["name"]?.text.flatMap { $0 == id ? nil : $0 }
    let description = [title, plan["description"]?.text].compactMap(\.self).joined(separator: ": ")
    var text = "name: \(name)\n"
    if !description.isEmpty { text += "description: \(CatalogDraft.quoted(description))\n" }
    text += "product: \(productName)\n"
    if plan["manifest_id"] != nil {
      guard let manifest = manifest(plan["manifest_id"], file, "\(id).manifest_id") else { return }
      text += "manifest: \(manifest)\n"
    }
    let fixed = (plan["fixed"]?.fields ?? [:]).sorted { $0.key < $1.key }
    let pairs = fixed.compactMap { module, version -> String? in
      guard let name = draft.name(module, file, "\(id).fixed"), let version = version.text else { return nil }
      return "  \(name): \(CatalogDraft.quoted(version))\n"
    }
    if !pairs.isEmpty { text += "fixed:\n" + pairs.joined() }
    let axes = (plan["matrix"]?.fields ?? [:]).sorted { $0.key < $1.key }
    let lines = axes.compactMap { module, versions -> String? in
      guard let name = draft.name(module, file, "\(id).matrix") else { return nil }
      return "  \(name): \(CatalogDraft.list((versions.items ?? []).compactMap(\.text)))\n"
    }
    if !lines.isEmpty { text += "matrix:\n" + lines.joined() }
    draft.write("plans/\(name).yml", text)
  }
}
