import Catalog
import Foundation
import Model

/// One planning run: products → variants → cells → layers.
struct Expansion {
  let catalog: Catalog
  let lock: Lock
  let request: PlanRequest
  let revision: String?
  private let catalogDigest: Digest

  private var images: [PlannedImage] = []
  private var cells: [CellKey: PlannedCell] = [:]
  private var layers: [LayerKey: PlannedLayer] = [:]
  /// How many layers are below; parents have fewer.
  private var depths: [LayerKey: Int] = [:]
  private var contexts: [Digest: Data] = [:]
  private var impossible: [PlannedWork.Impossible] = []
  private var wrong: [Diagnostic] = []
  /// What a composition comes to on a platform; several targets and products share it.
  private var paths: [PathInput: [LayerKey]?] = [:]

  private var contextCache = ContextCache()

  private struct PathInput: Hashable {
    var manifest: String
    var choice: Matrix.Choice
    var platform: Platform
  }

  init(catalog: Catalog, lock: Lock, request: PlanRequest, revision: String?) {
    self.catalog = catalog
    self.lock = lock
    self.request = request
    self.revision = revision
    catalogDigest = catalog.tree.digest
  }

  mutating func run() throws(CatalogErrors) -> PlannedWork {
    wrong += catalog.unlockedCatalogs(lock)
    for product in wantedProducts() { try expand(product) }
    checkTags()
    guard wrong.isEmpty else { throw CatalogErrors(wrong) }
    let sortedLayers = layers.values.sorted { left, right in
      (depths[left.key] ?? 0, left.key) < (depths[right.key] ?? 0, right.key)
    }
    let plan = Plan(
      catalogRevision: revision, catalogDigest: catalogDigest,
      images: images.sorted { ($0.product, $0.variant) < ($1.product, $1.variant) },
      cells: cells.values.sorted { $0.key < $1.key }, layers: sortedLayers)
    return PlannedWork(plan: plan, contexts: contexts, impossible: impossible)
  }

  private mutating func wantedProducts() -> [Product] {
    if let name = request.testPlan {
      if let plan = catalog.testPlans[name] { return catalog.product(of: plan).map { [$0] } ?? [] }
      wrong.append(catalog.unknownTestPlan(name))
      return []
    }
    for name in request.products where catalog.products[name] == nil {
      wrong.append(catalog.unknownProduct(name))
    }
    let names = request.products.isEmpty ? Array(catalog.products.keys) : request.products
    return Set(names).sorted().compactMap { catalog.products[$0] }
  }

  private mutating func expand(_ product: Product) throws(CatalogErrors) {
    let targets = product.targets.filter {
      request.platforms.isEmpty || request.platforms.contains($0.target.platform)
    }
    guard !targets.isEmpty else {
      let asked = request.platforms.map(\.description).sorted().joined(separator: ", ")
      wrong.append(Diagnostic(file: product.file, field: "targets", "has no target for \(asked)"))
      return
    }
    // By label: targets with manifests of their own may name another standard version.
    var byVariant: [Variant: [PlannedImage.CellReference]] = [:]
    for target in targets {
      let manifest = (target.manifest ?? product.manifest).value
      for variant in catalog.variants(of: product, manifest: manifest) {
        guard let key = try cell(of: product, variant, target, manifest) else { continue }
        byVariant[variant, default: []].append(
          PlannedImage.CellReference(key: key, target: target.target, required: target.required))
      }
    }
    if byVariant.isEmpty, wrong.isEmpty {
      wrong.append(
        Diagnostic(
          file: product.file, field: "matrix",
          "no variant is possible: \(impossible.last?.reason ?? "all are excluded")"))
    }
    for (variant, references) in byVariant {
      images.append(
        PlannedImage(
          product: product.name, productVersion: product.version, variant: variant.label, repository: product.image,
          tags: tags(of: product, variant), cells: references))
    }
  }

  // MARK: Tags

  private mutating func tags(of product: Product, _ variant: Variant) -> [String] {
    guard request.movesTags else { return [] }
    let values = [
      "product": product.name, "version": product.version, "variant": variant.tagText,
      "revision": revision.map { String($0.prefix(12)) } ?? catalogDigest.short,
    ]
    var tags: Set<String> = []
    for rule in product.tagRules {
      if let tag = TagRule.expand(rule.value, values: values), Name.isTag(tag) {
        tags.insert(tag)
      } else {
        wrong.append(
          Diagnostic(
            file: product.file, line: rule.line, field: "tags",
            "'\(rule.value)' gives no valid tag for the variant '\(variant.label)'"))
      }
    }
    return tags.sorted()
  }

  /// A tag that two images want would go to whichever is done last.
  private mutating func checkTags() {
    var owners: [String: PlannedImage] = [:]
    for image in images.sorted(by: { ($0.product, $0.variant) < ($1.product, $1.variant) }) {
      for tag in image.tags {
        let reference = "\(image.repository):\(tag)"
        if let other = owners[reference], let product = catalog.products[image.product] {
          wrong.append(
            Diagnostic(
              file: product.file, line: product.tagRules.first?.line, field: "tags",
              "\(describe(image)) and \(describe(other)) would both be \(reference)",
              suggestion: .hint("say '{variant}' or '{product}' in it")))
        }
        owners[reference] = image
      }
    }
  }

  private func describe(_ image: PlannedImage) -> String {
    image.variant.isEmpty ? image.product : "\(image.product)[\(image.variant)]"
  }

  // MARK: Cells

  private mutating func cell(
    of product: Product, _ variant: Variant, _ target: ProductTarget, _ manifest: String
  ) throws(CatalogErrors) -> CellKey? {
    let composition = try catalog.compose(manifest: manifest, choice: variant.choice)
    if let reason = composition.impossibility {
      impossible.append(
        PlannedWork.Impossible(
          product: product.name, variant: variant.label, target: target.target, reason: reason))
      return nil
    }
    let platform = target.target.platform
    guard let base = pinnedBase(of: composition, platform),
      let path = try path(
        of: composition, PathInput(manifest: manifest, choice: variant.choice, platform: platform), base)
    else { return nil }
    let tests =
      composition.fragments.flatMap { fragment in
        fragment.tests.map { test in
          SmokeTest(
            name: "\(fragment.id.name).\(test.name)", command: test.command, timeoutSeconds: test.timeoutSeconds,
            expectedOutput: test.expectedOutput)
        }
      } + product.tests
    let key = CellKey(path: path, tests: tests, target: target.target)
    // The first product by name speaks for a cell that several want.
    if cells[key] == nil {
      cells[key] = PlannedCell(
        key: key, product: product.name, productVersion: product.version, variant: variant.label, target: target.target,
        manifest: manifest, template: composition.template.id, fragments: composition.fragments.map(\.id), base: base,
        path: path, tests: tests, testRetries: product.testRetries)
    }
    return key
  }

  private mutating func pinnedBase(of composition: Composition, _ platform: Platform) -> BaseImage? {
    for base in catalog.bases(of: composition) where lock.digest(of: base, platform) == nil {
      wrong.append(
        Diagnostic(
          file: composition.manifest.file, line: composition.manifest.base.line, field: "base",
          "the base image '\(base.name)' (\(base.source)) is not locked for \(platform)",
          suggestion: .hint("run 'kiln lock'")))
    }
    return lock.digest(of: composition.base, platform).map {
      BaseImage(name: composition.base.name, source: composition.base.place, digest: $0)
    }
  }

  // MARK: Layers

  private mutating func path(
    of composition: Composition, _ input: PathInput, _ base: BaseImage
  ) throws(CatalogErrors) -> [LayerKey]? {
    if let known = paths[input] { return known }
    var path: [LayerKey]? = []
    let rendered = try catalog.render(composition, platform: input.platform, lock: lock, cache: &contextCache)
    var parent = PlannedLayer.Parent.base(base)
    for section in rendered.sections where !section.isEmpty {
      guard let layer = layer(section, parent, input.platform) else {
        path = nil
        break
      }
      path?.append(layer.key)
      parent = .layer(layer.key)
    }
    if let built = path, built.isEmpty {
      wrong.append(
        Diagnostic(
          file: composition.manifest.file, "there is nothing to build: neither template nor fragments say anything"))
      path = nil
    }
    paths[input] = path
    return path
  }

  private mutating func layer(
    _ section: RenderedDockerfile.Section, _ parent: PlannedLayer.Parent, _ platform: Platform
  ) -> PlannedLayer? {
    var epoch: Int?
    if let fragment = section.fragment, fragment.refreshSeconds != nil {
      guard let locked = lock.epochs[fragment.id] else {
        wrong.append(
          Diagnostic(
            file: fragment.file, field: "refresh",
            "no epoch is locked for \(fragment.id), which depends on the outside",
            suggestion: .hint("run 'kiln lock'")))
        return nil
      }
      epoch = locked
    }
    if let context = section.context { contexts[context.reference.digest] = context.bytes }
    func planned(_ parent: PlannedLayer.Parent, _ dockerfile: String) -> PlannedLayer {
      let secrets = section.fragment?.secrets ?? [:]
      let inputs = LayerKey.Inputs(
        dockerfile: keyed(dockerfile, platform), context: section.context?.reference.digest,
        arguments: section.arguments, platform: platform, parent: parent, secrets: secrets, epoch: epoch)
      return PlannedLayer(
        key: LayerKey(inputs), parent: parent, fragment: section.fragment?.id, title: section.title,
        platform: platform, dockerfile: dockerfile, arguments: section.arguments,
        context: section.context?.reference, secrets: secrets, reproducible: section.fragment?.reproducible ?? true,
        origins: section.origins)
    }
    var layer = planned(parent, section.dockerfile)
    if let fragment = section.fragment, fragment.independent {
      var own = planned(.scratch, section.dockerfile(from: "scratch"))
      own.title += " (independent)"
      add(own)
      layer.key = LayerKey(graft: own.key, on: parent)
      layer.title += " (graft)"
      layer.graft = PlannedLayer.Graft(
        layer: own.key, arguments: Set(fragment.text.arguments.map(\.name)).sorted())
    }
    add(layer)
    return layer
  }

  private mutating func add(_ layer: PlannedLayer) {
    depths[layer.key] = (layer.below.compactMap { depths[$0] }.max() ?? 0) + 1
    layers[layer.key] = layers[layer.key].map { Self.joined($0, layer) } ?? layer
  }

  /// As if there were no mirrors: a site that fetches an image elsewhere has the same layers.
  private func keyed(_ dockerfile: String, _ platform: Platform) -> String {
    var text = dockerfile
    for base in catalog.settings.bases.values {
      guard let mirror = base.mirror, let digest = lock.digest(of: base, platform) else { continue }
      text = text.replacing("\(mirror)@\(digest)", with: "\(base.source)@\(digest)")
    }
    return text
  }

  private static func order(_ origins: [LineOrigin]) -> String {
    origins.map { "\($0.file ?? ""):\($0.fileLine)" }.joined(separator: ",")
  }

  /// Of two layers with one key, what is said to people must not depend on which came first.
  private static func joined(_ left: PlannedLayer, _ right: PlannedLayer) -> PlannedLayer {
    var layer = left.title <= right.title ? left : right
    layer.reproducible = left.reproducible && right.reproducible
    layer.origins = [left, right].compactMap(\.origins).min { Self.order($0) < Self.order($1) }
    if case .base(let one) = left.parent, case .base(let two) = right.parent {
      layer.parent = (one.name, one.source) <= (two.name, two.source) ? left.parent : right.parent
    }
    return layer
  }
}
