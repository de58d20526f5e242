import Catalog
import Foundation
import Model
import Testing

@Suite struct RenderingTests {
  static let app = "fragments/app/1.0.0/"

  private func render(_ changes: [String: String?], platform: String = "linux/amd64") throws -> RenderedDockerfile {
    let catalog = try Fixture.catalog(changes)
    let composition = try catalog.compose(manifest: "hello")
    return try catalog.render(composition, platform: #require(Platform(platform)), lock: LockTests.lock())
  }

  /// What becomes of the app fragment's text.
  private func app(_ text: String, _ changes: [String: String?] = [:]) throws -> RenderedDockerfile.Section {
    let rendered = try render(changes.merging([Self.app + "Dockerfile.fragment": text]) { $1 })
    return try #require(rendered.sections.first { $0.title == "app@1.0.0" })
  }

  @Test func oneDockerfileIsTheSumOfItsSections() throws {
    let rendered = try render([
      "templates/base/1/Dockerfile.tpl": """
      # check=skip=all
      # an ordinary comment
      ARG LEVEL=1
      FROM {base}
      LABEL vendor=fixture
      #--MODULE:core--#
      anything
      #--ENDMODULE--#
      # only a comment

      #--MODULE?:light--#
      #--ENDMODULE--#
      RUN between
      #--MODULE:app--#
      #--ENDMODULE--#
      USER 1000

      """,
      "manifests/hello.yml": (Fixture.files["manifests/hello.yml"] ?? "") + "args: {LEVEL: 2 \"$x\"}\n",
      Self.app + "Dockerfile.stages": "FROM debian AS app-build\nCOPY main.sh /\n",
      Self.app + "Dockerfile.fragment": "\n\nCOPY --from=app-build /main.sh /main.sh\n\n",
    ])
    let digest = Digest(of: "linux/amd64")
    #expect(
      rendered.text == """
        # check=skip=all
        # an ordinary comment
        ARG LEVEL="2 \\"\\$x\\""
        FROM registry.example/library/debian@\(digest) AS app-build
        COPY fragments/app/1.0.0/main.sh /
        FROM registry.example/library/debian@\(digest)
        ARG SOURCE_DATE_EPOCH
        LABEL vendor=fixture
        RUN true
        # only a comment

        #--MODULE:light--#
        #--ENDMODULE--#
        RUN between
        COPY --from=app-build /main.sh /main.sh
        USER 1000

        """)
    #expect(rendered.text == rendered.prologue + rendered.sections.map(\.text).joined())
    #expect(
      rendered.sections.map(\.title) == [
        "template base@1 (head)", "core@0.2.0", "template base@1 (after core)",
        "template base@1 (without light)", "template base@1 (after light)",
        "app@1.0.0",
        "template base@1 (tail)",
      ])
    #expect(rendered.sections.map(\.isEmpty) == [false, false, true, true, false, false, false])
    let layer = try #require(rendered.sections.first { $0.title == "app@1.0.0" })
    #expect(
      layer.dockerfile == """
        # check=skip=all
        ARG LEVEL="2 \\"\\$x\\""
        FROM registry.example/library/debian@\(digest) AS app-build
        COPY fragments/app/1.0.0/main.sh /
        FROM kiln-parent
        ARG SOURCE_DATE_EPOCH
        COPY --from=app-build /main.sh /main.sh

        """)
    #expect(layer.arguments == ["LEVEL": "2 \"$x\""])
    #expect(rendered.sections[1].stages.isEmpty && rendered.sections[1].context == nil)
  }

  static let rewritten: [(String, String)] = [
    ("COPY main.sh /m", "COPY fragments/app/1.0.0/main.sh /m"),
    ("copy ./main.sh  /m", "COPY fragments/app/1.0.0/main.sh /m"),
    (
      "COPY --chown=1:1 --link \\\n  # why\n\n  main.sh \\\n  lib/ /m/",
      "COPY --chown=1:1 --link fragments/app/1.0.0/main.sh fragments/app/1.0.0/lib /m/"
    ),
    (
      "COPY [\"a b\", \"main.sh\", \"/m/\"]",
      "COPY [\"fragments/app/1.0.0/a b\",\"fragments/app/1.0.0/main.sh\",\"/m/\"]"
    ),
    ("COPY *.sh lib/?.txt /m/", "COPY fragments/app/1.0.0/*.sh fragments/app/1.0.0/lib/?.txt /m/"),
    ("COPY main.sh <<EOF /m/\nCOPY x /y\nEOF", "COPY fragments/app/1.0.0/main.sh <<EOF /m/\nCOPY x /y\nEOF"),
    ("COPY <<-\"EOF\" /m\n\t$x\n\tEOF", "COPY <<-\"EOF\" /m\n\t$x\n\tEOF"),
    ("RUN <<EOF\nCOPY main.sh /m\nEOF\nUSER 1", "RUN <<EOF\nCOPY main.sh /m\nEOF\nUSER 1"),
    (
      "RUN --mount=type=bind,source=lib,target=/l \\\n # why\n --network=none \\\n  true && \\\n  false",
      "RUN --mount=type=bind,source=fragments/app/1.0.0/lib,target=/l --network=none true && \\\n  false"
    ),
    ("RUN --mount=target=/l,src=main.sh true", "RUN --mount=target=/l,src=fragments/app/1.0.0/main.sh true"),
    ("RUN --mount=type=tmpfs,target=/t true", "RUN --mount=type=tmpfs,target=/t true"),
    ("ARG A=1 B=\"x y\"\nARG TARGETARCH", "ARG A=1 B=\"x y\"\nARG TARGETARCH"),
    ("ARG A='$x'", "ARG A='$x'"),
    (
      "ADD --checksum=sha256:\(String(repeating: "0", count: 64)) https://e.example/x /m/\nADD main.sh /m/",
      "ADD --checksum=sha256:\(String(repeating: "0", count: 64)) https://e.example/x /m/\n"
        + "ADD fragments/app/1.0.0/main.sh /m/"
    ),
    ("RUN echo \\\\\nCOPY main.sh /m", "RUN echo \\\\\nCOPY fragments/app/1.0.0/main.sh /m"),
    ("# COPY main.sh /m\nRUN true", "# COPY main.sh /m\nRUN true"),
  ]

  static let files: [String: String?] = [
    app + "lib/a.txt": "a", app + "lib/deep/b.sh": "b", app + "a b": "x", app + "other": "y",
  ]

  @Test(arguments: rewritten) func pathsAreTheCatalogs(_ text: String, _ expected: String) throws {
    guard !text.contains("'$x'") else {
      // A default with a variable, even a quoted one, is refused.
      #expect(try Fixture.errors([Self.app + "Dockerfile.fragment": text]).count == 1)
      return
    }
    #expect(try app(text, Self.files).text == expected + "\n")
  }

  @Test func contextHoldsExactlyWhatIsNamed() throws {
    func paths(_ text: String, _ yml: String = "") throws -> [String] {
      let definition = (Fixture.files[Self.app + "fragment.yml"] ?? "") + yml
      let context = try app(text, Self.files.merging([Self.app + "fragment.yml": definition]) { $1 }).context
      let limits = TarArchive.Limits(maxArchiveBytes: 1 << 20, maxFileBytes: 1 << 20, maxEntries: 100)
      return try TarArchive.read(context?.bytes ?? Data(count: 1024), limits: limits)
        .filter { $0.content != .directory }.map { $0.path.replacing(Self.app, with: "") }
    }
    #expect(try paths("RUN true") == [])
    #expect(try paths("COPY main.sh /m") == ["main.sh"])
    #expect(try paths("COPY lib /m") == ["lib/a.txt", "lib/deep/b.sh"])
    #expect(try paths("COPY lib/* /m/") == ["lib/a.txt", "lib/deep/b.sh"])
    #expect(try paths("COPY */?.txt /m/") == ["lib/a.txt"])
    #expect(try paths("RUN --mount=source=lib/deep,target=/x true\nCOPY main.sh /m") == ["lib/deep/b.sh", "main.sh"])
    #expect(try paths("COPY <<main.sh /x\nmain.sh\n") == [])
    #expect(try paths("RUN true", "context: [other]\n") == ["other"])
    #expect(
      try paths("COPY fragments/core/0.2.0/fragment.yml /x", "context: catalog\n") == [
        "fragments/core/0.2.0/fragment.yml"
      ])
  }

  @Test func catalogsOwnPathsAreNotRewritten() throws {
    let yml = (Fixture.files[Self.app + "fragment.yml"] ?? "") + "context: catalog\n"
    let section = try app("COPY ./fragments/app/1.0.0/main.sh  /x", [Self.app + "fragment.yml": yml])
    #expect(section.text == "COPY ./fragments/app/1.0.0/main.sh  /x\n")
  }

  @Test func argumentsGetTheirValues() throws {
    let yml = (Fixture.files[Self.app + "fragment.yml"] ?? "") + "args: {COLOR: red, SIZE: 2, MODE: }\n"
    let manifest = (Fixture.files["manifests/hello.yml"] ?? "") + "args: {COLOR: dark blue, MODE: x}\n"
    let section = try app(
      "ARG COLOR\nARG SIZE=2 \\\n  MODE\nARG PLAIN=1\nARG TARGETARCH\nRUN echo $COLOR",
      [Self.app + "fragment.yml": yml, "manifests/hello.yml": manifest])
    #expect(
      section.text == "ARG COLOR=\"dark blue\"\nARG SIZE=2 MODE=x\nARG PLAIN=1\nARG TARGETARCH\nRUN echo $COLOR\n")
    #expect(section.arguments == ["COLOR": "dark blue", "SIZE": "2", "MODE": "x", "PLAIN": "1"])
  }

  @Test func basesAreNamedByWhatIsLocked() throws {
    #expect(
      try render([:]).prologue
        == "FROM registry.example/library/debian@\(Digest(of: "linux/amd64"))\nARG SOURCE_DATE_EPOCH\n")
    #expect(try render([:], platform: "linux/386").prologue.hasPrefix("FROM registry.example/library/debian:12\n"))
    let layout = try render(["catalog.yml": "name: x\nbases:\n  debian: {source: 'oci-layout:../base'}\n"])
    #expect(layout.prologue.hasPrefix("FROM debian\n"))
    #expect(layout.buildContexts == ["debian": "oci-layout://../base:latest"])
  }
}
