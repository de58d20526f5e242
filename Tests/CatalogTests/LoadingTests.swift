import Catalog
import Testing

@Suite struct LoadingTests {
  @Test func theFixtureIsFine() throws { #expect(try Fixture.errors([:]) == []) }
}
