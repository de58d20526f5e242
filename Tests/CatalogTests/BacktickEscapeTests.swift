import Testing

@testable import Catalog

@Suite("A Dockerfile with the backtick as its escape character")
struct BacktickEscapeTests {
  static let same: [(text: String, expected: String)] = [
    ("RUN a `\n b\n", "RUN a `\n b\n"),
    ("# a comment\n# escape=`\nRUN a `\n b\n", "# a comment\n# escape=`\nRUN a `\n b\n"),
    ("# escape=\\\nRUN a \\\n b\n", "# escape=\\\nRUN a \\\n b\n"),
    ("# syntax=x\n# escape=`\nRUN a\n", "# syntax=x\n# escape=\\\nRUN a\n"),
    // What continues a line, and what does not.
    (
      "# Escape = `\nRUN a `  \n# said `\n\n  && `b` \\\\c `\n d``\n",
      "# escape=\\\nRUN a \\  \n# said `\n\n  && `b` \\\\c \\\n d``\n"
    ),
    ("# escape=`\n# a ` comment\\\nENV A=b` c D=`$E\n", "# escape=\\\n# a ` comment\\\nENV A=b\\ c D=\\$E\n"),
    // A shell gets what is written.
    (
      "# escape=`\nRUN echo \"\\n`date`\"\nCMD [\"a\\\\b\"]\n",
      "# escape=\\\nRUN echo \"\\n`date`\"\nCMD [\"a\\\\b\"]\n"
    ),
    (
      "# escape=`\nRUN <<END sh `\n -e\na \\\n `b`\nEND\nUSER a\n",
      "# escape=\\\nRUN <<END sh \\\n -e\na \\\n `b`\nEND\nUSER a\n"
    ),
  ]

  @Test(arguments: same) func isSaidWithTheBackslash(_ text: String, _ expected: String) {
    let found = Diagnostics()
    #expect(BacktickEscape.removed(from: text, file: "Dockerfile", into: found) == expected)
    #expect(found.found.isEmpty, "\(found.found)")
  }

  @Test(arguments: [
    "COPY a\\b /c\n", "RUN dir C:\\\n", "RUN a\\`\n b\n", "RUN --mount=target=`a true\n", "COPY <<END /x\n`$A\nEND\n",
    "ENV X='a`b'\n", "LABEL d=\"use ``foo\"\n", "COPY [\"a`b\", \"/c\"]\n",
  ])
  func isRefusedWhereItWouldMeanSomethingElse(_ instruction: String) {
    let found = Diagnostics()
    _ = BacktickEscape.removed(from: "# escape=`\nFROM debian\n" + instruction, file: "Dockerfile", into: found)
    #expect(
      found.found.map(\.description) == [
        "Dockerfile:3: a backslash or a backtick here cannot be said with '\\' as escape character; "
          + "write the file without '# escape=`'"
      ])
  }
}
