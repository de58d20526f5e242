package import Foundation

/// The build context of a layer: a normalised tar of exactly the files that its text names.
package struct ContextArchive: Sendable, Hashable {
  /// How the Dockerfile is called inside what `docker buildx build --file NAME -` reads.
  package static let dockerfileName = ".kiln.Dockerfile"

  /// The tar, without a Dockerfile.
  package let bytes: Data
  package let reference: BlobReference

  /// `entries` have paths as the Dockerfile writes them.
  package init(_ entries: [TarArchive.Entry]) {
    bytes = TarArchive.write(entries)
    reference = BlobReference(digest: Digest(of: bytes), sizeBytes: Int64(bytes.count))
  }

  /// What goes to the builder's standard input: the Dockerfile, then the files of `archive`, if any.
  /// Nothing in a context is called `name`: a catalog's paths begin with a definition's folder.
  package static func withDockerfile(archive: Data?, dockerfile: String, name: String = dockerfileName) -> Data {
    var whole = Data()
    TarArchive.append(
      TarArchive.Entry(path: name, content: .file(Data(dockerfile.utf8), executable: false)), to: &whole)
    whole.append(archive ?? TarArchive.write([]))
    return whole
  }
}
