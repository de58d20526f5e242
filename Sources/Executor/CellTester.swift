package import Foundation
package import Model
package import Registry

/// Tries a finished image, and says what is in it: containers on a real host, nothing in benches.
package protocol CellTester: Sendable {
  /// Runs every test of `request`, also after one has failed. Throws `Failure` where a test could not be
  /// run at all, or not to its end before the request's deadline, never because one failed;
  /// `CancellationError` when the calling task was cancelled.
  /// Containers and the image's copy in the engine are gone when it returns.
  func test(_ request: CellTestRequest, report: any BuildReport) async throws -> [TestResult]

  /// The SBOM as SPDX JSON in a new file in the attempt's folder, or nil where none is made here.
  func describe(_ request: CellTestRequest, report: any BuildReport) async throws -> URL?
}

package struct CellTestRequest: Sendable {
  package var job: JobID
  package var image: ImageLocation
  package var imageDigest: Digest
  package var platform: Platform
  package var tests: [SmokeTest]
  /// Whether the tests are to see the pool's accelerator.
  package var accelerator: Accelerator?
  /// Fresh, owned by the attempt.
  package var attemptFolder: URL
  /// When all of it must be done: this time source's monotonic seconds.
  package var deadline: Double

  /// What is left until the deadline, in seconds; throws where that is nothing.
  func secondsLeft(_ time: any TimeSource) throws -> Double {
    let left = deadline - time.monotonicSeconds()
    guard left > 0 else { throw late }
    return left
  }

  var late: Failure {
    Failure(
      .infrastructure, code: "deadline", "the image was not tested and described in the time that its pool gives",
      hint: "limits.finishSeconds of the pool's file")
  }

  package init(
    job: JobID, image: ImageLocation, imageDigest: Digest, platform: Platform, tests: [SmokeTest],
    accelerator: Accelerator? = nil, attemptFolder: URL, deadline: Double
  ) {
    self.job = job
    self.image = image
    self.imageDigest = imageDigest
    self.platform = platform
    self.tests = tests
    self.accelerator = accelerator
    self.attemptFolder = attemptFolder
    self.deadline = deadline
  }
}
