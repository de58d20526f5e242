import Foundation
import Model
import Registry
import Testing

@testable import KilnExecutor

@Suite struct BuildxArgumentsTests {
  @Test(arguments: [
    ("FROM kiln-parent\nRUN a", "FROM host/r@d\nRUN a"),
    (
      "# c\nFROM x AS b\nfrom --platform=linux/amd64 kiln-parent AS y\n",
      "# c\nFROM x AS b\nfrom --platform=linux/amd64 host/r@d AS y\n"
    ),
    ("FROM kiln-parent\nCOPY --from=kiln-parent /a /b", nil),
    ("FROM kiln-parents", nil),
    ("FROM scratch", nil),
  ]) func namesTheParent(_ dockerfile: String, _ expected: String?) {
    #expect(BuildxArguments.naming("host/r@d", in: dockerfile) == expected)
  }

  @Test func saysEverythingOnOneCommandLine() throws {
    let layer = PlannedLayer(
      key: LayerKey(text: "k"), parent: .layer(LayerKey(text: "p")), fragment: nil, title: "t",
      platform: try present(Platform("linux/arm64/v8")), dockerfile: "FROM kiln-parent\n",
      arguments: ["B": "2 =", "A": "1"],
      context: nil, secrets: ["s": "1"], reproducible: true)
    let digest = Digest(of: "x")
    let request = LayerBuildRequest(
      layer: layer, contextArchive: nil,
      parent: ParentImage(
        location: .layout(directory: URL(fileURLWithPath: "/l"), digest: digest),
        manifest: Manifest(mediaType: "", bytes: Data()), config: Data()),
      attemptFolder: URL(fileURLWithPath: "/a"), network: .none, deadlineSeconds: 1, noOutputSeconds: 1,
      secretFiles: ["s": URL(fileURLWithPath: "/run/a,b"), "other": URL(fileURLWithPath: "/o")])
    let command = BuildxArguments.command(
      for: request, layout: URL(fileURLWithPath: "/e"), metadataFile: URL(fileURLWithPath: "/a/m.json"))
    #expect(command.dockerfile == "FROM kiln-parent\n")
    #expect(
      command.arguments == [
        "buildx", "build", "--file", ".kiln.Dockerfile", "--build-context", "kiln-parent=oci-layout:///l@\(digest)",
        "--platform", "linux/arm64", "--network", "none", "--build-arg", "A=1", "--build-arg", "B=2 =", "--build-arg",
        "SOURCE_DATE_EPOCH=315619200", "--secret", "id=s,\"src=/run/a,b\"", "--provenance=false", "--sbom=false",
        "--progress", "rawjson", "--output", "type=oci,dest=/e,tar=false,rewrite-timestamp=true", "--metadata-file",
        "/a/m.json", "-",
      ])
  }
}
