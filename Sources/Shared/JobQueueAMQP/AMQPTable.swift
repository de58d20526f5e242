import CRabbitMQ

/// The values that we put into tables: queue arguments, client properties.
enum AMQPValue {
  case text(String)
  case integer(Int64)
  case flag(Bool)
  case table([(String, AMQPValue)])
}

/// Calls `body` with a C table of `entries` that lives as long as the call.
func withAMQPTable<R>(_ entries: [(String, AMQPValue)], _ body: (amqp_table_t) -> R) -> R {
  var pool = amqp_pool_t()
  init_amqp_pool(&pool, 4096)
  defer { empty_amqp_pool(&pool) }
  return body(makeTable(entries, &pool))
}

private func makeTable(_ entries: [(String, AMQPValue)], _ pool: inout amqp_pool_t) -> amqp_table_t {
  guard let memory = amqp_pool_alloc(&pool, entries.count * MemoryLayout<amqp_table_entry_t>.stride) else {
    return amqp_empty_table
  }
  let table = memory.bindMemory(to: amqp_table_entry_t.self, capacity: entries.count)
  for (index, (key, value)) in entries.enumerated() {
    var entry = amqp_table_entry_t()
    entry.key = makeBytes(key, &pool)
    switch value {
    case .text(let text):
      entry.value.kind = UInt8(AMQP_FIELD_KIND_UTF8.rawValue)
      entry.value.value.bytes = makeBytes(text, &pool)
    case .integer(let number):
      entry.value.kind = UInt8(AMQP_FIELD_KIND_I64.rawValue)
      entry.value.value.i64 = number
    case .flag(let flag):
      entry.value.kind = UInt8(AMQP_FIELD_KIND_BOOLEAN.rawValue)
      entry.value.value.boolean = flag ? 1 : 0
    case .table(let inner):
      entry.value.kind = UInt8(AMQP_FIELD_KIND_TABLE.rawValue)
      entry.value.value.table = makeTable(inner, &pool)
    }
    (table + index).initialize(to: entry)
  }
  return amqp_table_t(num_entries: Int32(entries.count), entries: table)
}

private func makeBytes(_ text: String, _ pool: inout amqp_pool_t) -> amqp_bytes_t {
  let bytes = Array(text.utf8)
  guard !bytes.isEmpty, let memory = amqp_pool_alloc(&pool, bytes.count) else { return amqp_empty_bytes }
  memory.copyMemory(from: bytes, byteCount: bytes.count)
  return amqp_bytes_t(len: bytes.count, bytes: memory)
}
