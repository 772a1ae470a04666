//! The client of tokio on a simulated network, in virtual time: what the simulation of the core does not see, that is
//! the driver, the handles and the futures that are dropped in the middle. TLS is done by the client itself.
//!
//! `REJOIN_TURMOIL_SEEDS=1000` runs more, `REJOIN_TURMOIL_FROM=17` begins elsewhere, `REJOIN_TURMOIL_SHOW=1`
//! prints every event of every client. A seed draws everything but the order in which tokio looks at the branches of
//! a `select!`, so a rare failure may need a few tries.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod application;
mod book;
mod broker;
mod course;
mod ending;
mod ending_held;
mod ending_opening;
mod handed;
mod inbound;
mod setting;
mod way;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn whatever_the_network_and_the_application_do_every_message_is_answered_for() {
    let (from, seeds) = (number("REJOIN_TURMOIL_FROM", 0), number("REJOIN_TURMOIL_SEEDS", 50));
    let (mut accepted, mut arrived, mut links) = (0, 0, 0);
    for seed in from..from + seeds {
        match course::run(seed) {
            Ok(told) => {
                accepted += told.accepted;
                arrived += told.arrived;
                links += told.links;
            }
            Err(why) => panic!("seed {seed} (REJOIN_TURMOIL_FROM={seed} REJOIN_TURMOIL_SEEDS=1): {why}"),
        }
    }
    eprintln!(
        "{seeds} seeds: {accepted} messages accepted, {arrived} above QoS 0 at the broker, {links} links"
    );
    // A world in which nothing happens proves nothing; one seed may well be quiet.
    assert!(
        seeds < 50 || arrived as u64 > seeds * 20 && links > seeds,
        "{arrived} arrived over {links} links"
    );
}
