import Foundation

/// Between a transfer and the one reader of its body: at most `maxBytes` and one more piece wait
/// here. It never leaves the client's thread.
final class StreamBuffer {
  private let maxBytes: Int
  private var bytes = Data()
  private var ended: HTTPClientError?
  private var isComplete = false
  private var head: HTTPResponse?
  private var headWaiter: CheckedContinuation<HTTPResponse, any Error>?
  private var reader: CheckedContinuation<Data?, any Error>?

  init(maxBytes: Int) { self.maxBytes = maxBytes }

  var hasRoom: Bool { reader != nil || bytes.count < maxBytes }

  // MARK: The transfer's side

  func begin(_ response: HTTPResponse) {
    head = response
    headWaiter?.resume(returning: response)
    headWaiter = nil
  }

  func append(_ piece: UnsafeRawBufferPointer) {
    if let reader {
      self.reader = nil
      reader.resume(returning: Data(piece))
    } else {
      bytes.append(contentsOf: piece)
    }
  }

  func end(_ result: Result<HTTPResponse, HTTPClientError>) {
    guard !isComplete else { return }
    isComplete = true
    switch result {
    case .success(let response):
      headWaiter?.resume(returning: response)
      reader?.resume(returning: nil)
    case .failure(let error):
      ended = error
      headWaiter?.resume(throwing: error)
      reader?.resume(throwing: error)
    }
    headWaiter = nil
    reader = nil
  }

  // MARK: The reader's side

  func waitForHead(_ continuation: CheckedContinuation<HTTPResponse, any Error>) {
    if let ended {
      continuation.resume(throwing: ended)
    } else if let head {
      continuation.resume(returning: head)
    } else {
      headWaiter = continuation
    }
  }

  func read(_ continuation: CheckedContinuation<Data?, any Error>) {
    if !bytes.isEmpty {
      let piece = bytes
      bytes = Data()
      continuation.resume(returning: piece)
    } else if let ended {
      continuation.resume(throwing: ended)
    } else if isComplete {
      continuation.resume(returning: nil)
    } else if reader != nil {
      continuation.resume(throwing: HTTPClientError(.invalidRequest, "a streamed body has one reader"))
    } else {
      reader = continuation
    }
  }
}
