package import Foundation

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

extension CatalogTree {
  /// Reads the definitions below `directory`, following no link.
  ///
  /// Blocks while it reads. Everything that must not be in a catalog is reported at once: special
  /// files, hardlinks (whose content another name can change), links that leave it, what is too
  /// large or too many.
  package init(directory: URL) throws(CatalogErrors) {
    var reader = Reader(root: directory.path)
    reader.readAll()
    try reader.found.throwIfAny()
    try self.init(reader.entries)
  }

  /// Files and folders below `directory` as they are, by the same rules: of `paths`, those that exist.
  /// An empty path is all of it, without git's own folder. Blocks while it reads.
  ///
  /// `emptyFolders`: they may be there, and are left out.
  package static func files(
    _ paths: [String], in directory: URL, emptyFolders: Bool = false
  ) throws(CatalogErrors) -> [Entry] {
    var reader = Reader(root: directory.path)
    reader.allowsEmptyFolders = emptyFolders
    reader.readThese(paths)
    try reader.found.throwIfAny()
    return reader.entries
  }

  /// A build context's files and folders, by the same rules: of `paths`, what `ignore` (the text of a
  /// .dockerignore) lets through. Blocks while it reads.
  package static func context(
    _ paths: [String], in directory: URL, ignore: String?
  ) throws(CatalogErrors) -> [Entry] {
    var reader = Reader(root: directory.path)
    reader.isContext = true
    reader.ignore = ignore.map { text in
      IgnoreRules(text) { line, message in reader.found.add(IgnoreRules.fileName, line, message) }
    }
    reader.readThese(paths)
    try reader.found.throwIfAny()
    return reader.entries
  }

  private struct Reader {
    let root: String
    var entries: [Entry] = []
    var totalBytes = 0
    var allowsEmptyFolders = false
    /// None of its files is a definition.
    var isContext = false
    var ignore: IgnoreRules?
    let found = Diagnostics()

    init(root: String) { self.root = root }

    /// What the last call that failed said.
    private static var systemMessage: String { strerror(errno).map { String(cString: $0) } ?? "unknown error" }

    mutating func readAll() {
      guard let names = list("") else {
        found.add(root, nil, "is not a directory that can be read")
        return
      }
      if names.contains(".dockerignore") {
        found.add(".dockerignore", nil, "docker would leave files out that Kiln sends; remove it")
      }
      for name in names where CatalogTree.files.contains(name) { visit(name, depth: 1) }
      let folders = CatalogTree.folders + CatalogTree.contextPaths(in: entries)
      for name in names where folders.contains(name) { visit(name, depth: 1) }
    }

    mutating func readThese(_ paths: [String]) {
      guard let names = list("") else {
        found.add(root, nil, "is not a directory that can be read")
        return
      }
      let all = paths.contains("") ? names.filter { $0 != ".git" } : paths
      var seen: [String] = []
      for path in Set(all).sorted() where !seen.contains(where: { path.hasPrefix($0 + "/") }) {
        seen.append(path)
        var status = stat()
        // A folder on the way that is a symlink leads elsewhere; what it would give matches nothing.
        let parts = path.split(separator: "/")
        let isReached = (1..<max(1, parts.count)).allSatisfy { count in
          lstat("\(root)/\(parts.prefix(count).joined(separator: "/"))", &status) == 0
            && status.st_mode & S_IFMT == S_IFDIR
        }
        if isReached, lstat("\(root)/\(path)", &status) == 0 { visit(path, depth: parts.count) }
      }
    }

    private func list(_ path: String) -> [String]? {
      guard let stream = opendir(path.isEmpty ? root : "\(root)/\(path)") else { return nil }
      defer { closedir(stream) }
      var names: [String] = []
      while let item = readdir(stream) {
        let name = withUnsafePointer(to: &item.pointee.d_name) { tuple in
          tuple.withMemoryRebound(to: UInt8.self, capacity: MemoryLayout.size(ofValue: item.pointee.d_name)) {
            String(validatingCString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
          }
        }
        guard let name else {
          found.add(path, nil, "a file's name is not UTF-8")
          continue
        }
        if name != ".", name != ".." { names.append(name) }
        if names.count > CatalogTree.maxFiles { break }
      }
      return names.sorted()
    }

    /// Below an ignored folder something may be there again by an exception.
    private func isIgnored(_ path: String, isFolder: Bool) -> Bool {
      guard let ignore, ignore.ignores(path) else { return false }
      return !isFolder || !ignore.rules.contains(where: \.isException)
    }

    private mutating func visit(_ path: String, depth: Int) {
      guard entries.count < CatalogTree.maxFiles else {
        if entries.count == CatalogTree.maxFiles { found.add(path, nil, "more than \(CatalogTree.maxFiles) files") }
        return
      }
      guard depth <= CatalogTree.maxDepth else {
        found.add(path, nil, "more than \(CatalogTree.maxDepth) folders deep")
        return
      }
      var status = stat()
      guard lstat("\(root)/\(path)", &status) == 0 else {
        found.add(path, nil, "cannot be read: \(Self.systemMessage)")
        return
      }
      let kind = status.st_mode & S_IFMT
      if isIgnored(path, isFolder: kind == S_IFDIR) { return }
      switch kind {
      case S_IFDIR:
        guard let names = list(path) else {
          found.add(path, nil, "cannot be read: \(Self.systemMessage)")
          return
        }
        // Docker would copy an empty folder, git does not keep it: two hosts, two images.
        if names.isEmpty, !allowsEmptyFolders,
          isContext || depth > 3 || !CatalogTree.folders.contains(CatalogTree.top(of: path))
        {
          found.add(path, nil, "an empty folder, which git does not keep; put a file into it or remove it")
        }
        for name in names { visit("\(path)/\(name)", depth: depth + 1) }
      case S_IFLNK: readLink(path)
      case S_IFREG: readFile(path)
      default: found.add(path, nil, "is neither a file nor a folder nor a symlink")
      }
    }

    private mutating func readLink(_ path: String) {
      guard isContext || path.contains("/") else {
        found.add(path, nil, "a symlink; the catalog's own folders and files must be in it themselves")
        return
      }
      var buffer = [UInt8](repeating: 0, count: 4097)
      let count = buffer.withUnsafeMutableBytes { bytes in
        bytes.withMemoryRebound(to: CChar.self) { characters in
          characters.baseAddress.map { readlink("\(root)/\(path)", $0, characters.count) } ?? -1
        }
      }
      guard count > 0, count <= 4096, let target = String(validating: buffer.prefix(count), as: UTF8.self) else {
        found.add(path, nil, "a symlink that cannot be read")
        return
      }
      entries.append(Entry(path: path, content: .symlink(target: target)))
    }

    private mutating func readFile(_ path: String) {
      // Whatever took the file's place since lstat: a link is not followed, a FIFO does not block.
      let descriptor = open("\(root)/\(path)", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
      guard descriptor >= 0 else {
        found.add(path, nil, "cannot be read: \(Self.systemMessage)")
        return
      }
      defer { close(descriptor) }
      var status = stat()
      guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
        found.add(path, nil, "is not a regular file")
        return
      }
      guard status.st_nlink == 1 else {
        found.add(path, nil, "a hardlink: its content has another name too; make it a file of its own")
        return
      }
      guard status.st_size <= CatalogTree.maxFileBytes else {
        found.add(path, nil, "has \(status.st_size) bytes; at most \(CatalogTree.maxFileBytes) are allowed")
        return
      }
      guard totalBytes + Int(status.st_size) <= CatalogTree.maxTotalBytes else {
        found.add(path, nil, "the catalog is larger than \(CatalogTree.maxTotalBytes) bytes")
        return
      }
      guard let bytes = content(of: descriptor, expecting: Int(status.st_size)) else {
        found.add(path, nil, "cannot be read, or changed while it was read")
        return
      }
      totalBytes += bytes.count
      entries.append(Entry(path: path, content: .file(bytes, executable: status.st_mode & S_IXUSR != 0)))
    }

    private func content(of descriptor: Int32, expecting count: Int) -> Data? {
      var bytes = Data(count: count + 1)
      var filled = 0
      while filled <= count {
        let got = bytes.withUnsafeMutableBytes { buffer in
          read(descriptor, buffer.baseAddress.map { $0 + filled }, count + 1 - filled)
        }
        if got < 0, errno == EINTR { continue }
        guard got >= 0 else { return nil }
        if got == 0 { break }
        filled += got
      }
      return filled == count ? bytes.prefix(count) : nil
    }
  }
}
