import GRDB
import RecordStore

/// SQLite's result codes in the store's words.
enum SQLiteErrors {
  static func translate(_ error: any Error) -> StoreError {
    if let error = error as? StoreError { return error }
    guard let error = error as? DatabaseError else { return StoreError(.statement, "\(error)") }
    let (code, hint) = meaning(error.resultCode)
    let statement = error.sql.map { " in: \($0.prefix(200))" } ?? ""
    let message = error.message ?? "SQLite result code \(error.resultCode.rawValue)"
    return StoreError(code, message + (code == .statement ? statement : "") + (hint.map { ". \($0)" } ?? ""))
  }

  static func meaning(_ code: ResultCode) -> (code: StoreError.Code, hint: String?) {
    switch code {
    case .SQLITE_BUSY, .SQLITE_LOCKED: (.conflict, "Another program holds the store's file")
    case .SQLITE_FULL: (.unavailable, "Free some disk space")
    case .SQLITE_IOERR, .SQLITE_NOMEM, .SQLITE_INTERRUPT: (.unavailable, nil)
    case .SQLITE_CANTOPEN: (.refused, "Check that the path is a file's in a folder that exists")
    case .SQLITE_READONLY, .SQLITE_PERM, .SQLITE_AUTH: (.refused, "Check who owns the store's file")
    case .SQLITE_NOTADB: (.refused, "The file is something else; give the store a path of its own")
    case .SQLITE_CORRUPT: (.statement, "The store's file is damaged; restore a copy")
    default: (.statement, nil)
    }
  }
}
