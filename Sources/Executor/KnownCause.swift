import Model

/// What a step's last words are known to mean.
package enum KnownCause {
  private static let network = "is the network up? The pool's file says which one steps have ('network')"

  /// The first that fits, of the most particular first.
  private static let hints: [(sign: String, hint: String)] = [
    ("exec format error", "the program is for another platform: does the base image have it for this one?"),
    ("No space left on device", "free space where the engine keeps its data, or give the step less to write"),
    ("Temporary failure resolving", Self.network),
    ("Temporary failure in name resolution", Self.network),
    ("Could not resolve host", Self.network),
    ("Network is unreachable", Self.network),
    ("Unable to locate package", "the package lists are old or absent: run 'apt-get update' in the same step"),
    ("No matching distribution found", "no such version for this platform and Python in the index that pip asks"),
    ("Read-only file system", "a mounted file or secret cannot be written"),
    ("Permission denied", "the step runs as the USER that was set last"),
    ("certificate verify failed", "the image lacks the certificate authority of that server (ca-certificates)"),
    ("command not found", "the program is in no layer below, or not in PATH"),
    (": not found", "the program is in no layer below, or not in PATH"),
  ]

  package static func hint(exitCode: Int, tail: [UInt8]) -> String? {
    let text = String(decoding: tail.suffix(4096), as: UTF8.self)
    if let known = hints.first(where: { text.contains($0.sign) })?.hint { return known }
    switch exitCode {
    case 126: return "the program was found and cannot be run: is it executable?"
    case 127: return "the program is in no layer below, or not in PATH"
    case 137: return "something killed the step; where memory is short, that is the kernel"
    case 139: return "a program of the step crashed"
    default: return nil
    }
  }
}
