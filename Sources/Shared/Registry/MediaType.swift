import Foundation

/// Media types of the OCI image specification, and Docker's that mean the same.
package enum MediaType {
  package static let imageManifest = "application/vnd.oci.image.manifest.v1+json"
  package static let imageIndex = "application/vnd.oci.image.index.v1+json"
  package static let imageConfig = "application/vnd.oci.image.config.v1+json"
  static let dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
  static let dockerList = "application/vnd.docker.distribution.manifest.list.v2+json"
  static let accepted = [imageManifest, imageIndex, dockerManifest, dockerList]

  package static func isIndex(_ type: String) -> Bool { type == imageIndex || type == dockerList }

  /// What a document says that it is; older ones tell only by their fields.
  static func ofManifest(_ bytes: Data) throws -> String {
    let json = try JSONValue.parse(bytes, what: "a manifest")
    return json["mediaType"]?.string ?? (json["manifests"] == nil ? imageManifest : imageIndex)
  }

  /// OCI's name for a blob that Docker names otherwise: the bytes are the same.
  static func ociBlob(_ type: String) -> String {
    let tar = "application/vnd.oci.image.layer.v1.tar"
    switch type {
    case "application/vnd.docker.image.rootfs.diff.tar": return tar
    case "application/vnd.docker.image.rootfs.diff.tar.gzip",
      "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":
      return tar + "+gzip"
    case "application/vnd.docker.image.rootfs.diff.tar.zstd": return tar + "+zstd"
    default: return type
    }
  }
}
