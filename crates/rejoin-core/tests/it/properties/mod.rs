//! Properties that hold for every packet and every course of events, over inputs that are drawn and shrunk.

mod packets;
mod sessions;

/// Cases of one property in an ordinary run; `PROPTEST_CASES` asks for more.
pub(crate) fn cases(ordinary: u32) -> proptest::test_runner::Config {
    let given = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    proptest::test_runner::Config {
        cases: given.unwrap_or(ordinary),
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    }
}
