import CPostgres
import RecordStore

/// A result of libpq, freed with it.
struct PostgresResult: ~Copyable {
  private let result: OpaquePointer

  init(_ result: OpaquePointer) { self.result = result }

  deinit { PQclear(result) }

  var status: ExecStatusType { PQresultStatus(result) }

  var isGood: Bool { status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK }

  /// `COMMIT`, or `ROLLBACK` where a failed transaction was to be committed.
  var command: String { PQcmdStatus(result).map { String(cString: $0) } ?? "" }

  /// Where the result is an error.
  var sqlState: String? { field(kiln_pg_diag_sqlstate) }

  var message: String {
    let primary = field(kiln_pg_diag_message_primary) ?? String(cString: PQresultErrorMessage(result))
    return primary + (field(kiln_pg_diag_context).map { " [\($0)]" } ?? "")
  }

  private func field(_ code: Int32) -> String? {
    PQresultErrorField(result, code).map { String(cString: $0) }
  }

  func rows() throws -> [SQLRow] {
    let columns = try (0..<PQnfields(result)).map { index in
      let name = PQfname(result, index).map { String(cString: $0) } ?? ""
      return (index: index, name: name, kind: try Kind(type: PQftype(result, index), column: name))
    }
    return try (0..<PQntuples(result)).map { row in
      var values: [String: SQLValue] = [:]
      for column in columns { values[column.name] = try value(row, column.index, column.name, column.kind) }
      return SQLRow(values)
    }
  }

  private func value(_ row: Int32, _ index: Int32, _ name: String, _ kind: Kind) throws -> SQLValue {
    guard PQgetisnull(result, row, index) == 0, let raw = PQgetvalue(result, row, index) else { return .null }
    switch kind {
    case .nothing: return .null
    case .text: return .text(String(cString: raw))
    case .bool: return .integer(raw.pointee == CChar(UInt8(ascii: "t")) ? 1 : 0)
    case .integer:
      guard let integer = Int64(String(cString: raw)) else {
        throw StoreError(.statement, "column \(name) holds \(String(cString: raw)), which is no 64-bit integer")
      }
      return .integer(integer)
    case .bytes:
      var count = 0
      guard let unescaped = PQunescapeBytea(raw, &count) else {
        throw StoreError(.unavailable, "no memory for column \(name)")
      }
      defer { PQfreemem(unescaped) }
      return .bytes(Array(UnsafeBufferPointer(start: unescaped, count: count)))
    }
  }

  /// How a column is read, by the type's number in pg_type, which never changes.
  enum Kind {
    case integer, bool, text, bytes, nothing

    init(type: Oid, column: String) throws {
      switch type {
      case 20, 21, 23, 1700: self = .integer  // int8, int2, int4; numeric, which sum(bigint) is
      case 16: self = .bool
      case 25, 1043, 1042, 19, 114, 3802, 705: self = .text  // text, varchar, char(n), name, json, jsonb, unknown
      case 17: self = .bytes
      case 2278: self = .nothing  // void
      default:
        throw StoreError(.statement, "column \(column) has the type \(type), which is not read; cast it")
      }
    }
  }
}
