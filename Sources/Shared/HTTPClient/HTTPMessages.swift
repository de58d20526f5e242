package import Foundation

/// A request as values. The client adds `Host`, `Content-Length` and `User-Agent`; nothing else.
package struct HTTPRequest: Sendable {
  package var method: String
  package var url: String
  package var headers: HTTPHeaders
  package var body: HTTPBody

  package init(_ method: String, _ url: String, headers: HTTPHeaders = [:], body: HTTPBody = .none) {
    self.method = method
    self.url = url
    self.headers = headers
    self.body = body
  }
}

package enum HTTPBody: Sendable {
  case none
  case bytes(Data)
  /// `size` bytes of a file from `offset` on; read while they are sent.
  case file(URL, offset: Int64 = 0, size: Int64)
}

/// What came back, whatever its status.
package struct HTTPResponse: Sendable {
  package var status: Int
  package var headers: HTTPHeaders
  /// Empty where the body went to a file.
  package var body: Data

  package init(status: Int, headers: HTTPHeaders, body: Data) {
    self.status = status
    self.headers = headers
    self.body = body
  }

  package var isSuccess: Bool { (200..<300).contains(status) }
}

/// A response whose body is still arriving.
package struct HTTPStream: Sendable {
  package var status: Int
  package var headers: HTTPHeaders
  /// For one reader. Reading slowly pauses the transfer; dropping it ends the transfer.
  package var body: AsyncThrowingStream<Data, any Error>
}

/// Header fields in their order; names are compared without case.
package struct HTTPHeaders: Sendable, Hashable, ExpressibleByDictionaryLiteral {
  package struct Field: Sendable, Hashable {
    package var name: String
    package var value: String
  }

  package private(set) var fields: [Field] = []

  package init(dictionaryLiteral elements: (String, String)...) {
    for (name, value) in elements { add(name, value) }
  }

  package mutating func add(_ name: String, _ value: String) { fields.append(Field(name: name, value: value)) }

  /// The first field of that name; setting replaces all of them.
  package subscript(name: String) -> String? {
    get { all(name).first }
    set {
      fields.removeAll { Self.isSame($0.name, name) }
      if let newValue { add(name, newValue) }
    }
  }

  package func all(_ name: String) -> [String] {
    fields.filter { Self.isSame($0.name, name) }.map(\.value)
  }

  private static func isSame(_ left: String, _ right: String) -> Bool { left.lowercased() == right.lowercased() }
}

/// Limits of one transfer.
package struct HTTPLimits: Sendable, Hashable {
  /// From the first step to the last byte; nil for what may last.
  package var deadlineSeconds: Double?
  /// How long it may stand still; nil for what may be silent.
  package var stallSeconds: Double?
  package var maxBodyBytes: Int64

  package init(deadlineSeconds: Double?, stallSeconds: Double?, maxBodyBytes: Int64) {
    self.deadlineSeconds = deadlineSeconds
    self.stallSeconds = stallSeconds
    self.maxBodyBytes = maxBodyBytes
  }
}
