//! Properties that hold for every packet and every course of events, over inputs that are drawn and shrunk.

mod packets;
mod sessions;

/// What proptest runs where `PROPTEST_CASES` says nothing.
const UNASKED: u32 = 256;

/// Cases of one property in an ordinary run; `PROPTEST_CASES` asks for more.
pub(crate) fn cases(ordinary: u32) -> proptest::test_runner::Config {
    let config = proptest::test_runner::Config::default();
    let cases = if config.cases == UNASKED { ordinary } else { config.cases };
    proptest::test_runner::Config { cases, failure_persistence: None, ..config }
}
