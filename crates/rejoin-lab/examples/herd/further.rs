//! The further tables, each of one question, so that the large ones stay readable.

use std::fmt::Write as _;
use std::time::Duration;

use rejoin_lab::herd::page::{returns, seconds, thousands, tries_each};
use rejoin_lab::herd::{Crowd, Outcome, SECOND, Scenario, rules};

use super::{LONG, SHORT, Verdict, engines, ruled, settings};

const CLIENTS: usize = 100_000;
/// With a limit of 1 s before the published queue: at most this long, which is about what MQTT.js takes with 86 tries each.
const TRAP_MAX: u64 = 105 * SECOND;
/// Those whose curves differ most where the broker talks, and where it is away for longer or shorter.
const TOLD_BUSY: [&str; 5] =
    ["MQTT.js", "HiveMQ Java", "aws-c-mqtt", "full jitter, 15 s", "rejoin's waits, one clock"];
const OTHER_OUTAGES: [&str; 3] = ["HiveMQ Java", "aws-c-mqtt", "Paho C"];

type Table = fn(&mut Verdict) -> String;

/// In the order of the page; each half is some minutes of one core.
const HALVES: [[Table; 3]; 2] = [[traps, told_busy, own_limits], [sizes, outages, all_wait]];

/// All of them, each half on a thread of its own.
pub(crate) fn tables(verdict: &mut Verdict) -> String {
    let half = |tables: [Table; 3]| {
        let mut verdict = Verdict::default();
        let page = tables.into_iter().fold(String::new(), |page, table| {
            let text = table(&mut verdict);
            println!("{text}");
            page + &text
        });
        (page, verdict)
    };
    let halves = std::thread::scope(|scope| {
        HALVES.map(|tables| scope.spawn(move || half(tables))).map(std::thread::ScopedJoinHandle::join)
    });
    halves.into_iter().fold(String::new(), |page, half| {
        let (text, found) = half.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        verdict.join(found);
        page + &text
    })
}

/// Short time-outs before long queues: where a herd can stay stuck for ever.
fn traps(verdict: &mut Verdict) -> String {
    let mut page = String::from(
        "\n### Short time-outs before long queues: rejoin, `fleet`, 100,000 clients, time to 100 %\n\n\
         | accept queue (wait in it) | 0.5 s | 1 s | 3 s | 10 s | default (10 s + 30 s) |\n|---|---:|---:|---:|---:|---:|\n",
    );
    for backlog in [512, 4_096, 16_384] {
        let scenario = Scenario { backlog, ..Scenario::default() };
        let wait = seconds(scenario.bound(backlog));
        let _ = write!(page, "| {} ({wait} s) |", thousands(backlog));
        for limit in [Some(500), Some(1_000), Some(3_000), Some(10_000), None] {
            let limits = limit.map(Duration::from_millis).map(|limit| (limit, limit));
            let outcome = engines(&scenario, CLIENTS, &settings(true, limits));
            let back = outcome.all_back().map_or_else(|| "**never**".to_owned(), seconds);
            let _ = write!(page, " {back} |");
            verdict.never_stuck(&format!("limit {limit:?} ms, queue {backlog}"), &outcome);
            if backlog == Scenario::default().backlog && limit == Some(1_000) {
                verdict.within("rejoin, `fleet`, 100,000 clients, limit 1 s", &outcome, TRAP_MAX);
            }
        }
        page.push('\n');
    }
    page
}

/// Windows, repetitions of a SYN and the bound meet differently at other sizes; one good number may be luck.
fn sizes(verdict: &mut Verdict) -> String {
    let mut page = String::from(
        "\n### Other sizes: rejoin, `fleet`, its own limits\n\n| clients | bound | 50 / 99 / 100 % back | times the bound |\n\
         |---:|---:|---|---:|\n",
    );
    let scenario = Scenario::default();
    for clients in [50_000, 80_000, CLIENTS, 120_000, 200_000] {
        let outcome = engines(&scenario, clients, &settings(true, None));
        let bound = scenario.bound(clients);
        let ratio = outcome.all_back().map_or(f64::NAN, |back| back as f64 / bound as f64);
        let (clients, bound) = (thousands(clients), seconds(bound));
        let _ = writeln!(page, "| {clients} | {bound} | {} | {ratio:.2} |", returns(&outcome));
        verdict.never_stuck(&clients, &outcome);
    }
    page
}

fn outages(verdict: &mut Verdict) -> String {
    let mut page = String::from(
        "\n### Other outages: limit 10 s, rejoin with its own\n\nBack in seconds, and tries of each client.\n\n\
         | client | 10,000 clients, 5 s down | tries | 10,000, 600 s | tries | 100,000, 5 s | tries | 100,000, 600 s | tries |\n\
         |---|---|---:|---|---:|---|---:|---|---:|\n",
    );
    let worlds: Vec<(usize, Scenario)> = [10_000, CLIENTS]
        .into_iter()
        .flat_map(|clients| [5, 600].map(|down| (clients, down * SECOND)))
        .map(|(clients, down)| (clients, Scenario { down, ..Scenario::default() }))
        .collect();
    for fleet in [true, false] {
        let name = named(fleet);
        let _ = write!(page, "| {name} |");
        for (clients, scenario) in &worlds {
            let outcome = engines(scenario, *clients, &settings(fleet, None));
            let _ = write!(page, " {} | {} |", returns(&outcome), tries_each(&outcome));
            verdict.never_stuck(&format!("{name}, down {} s", scenario.down / SECOND), &outcome);
        }
        page.push('\n');
    }
    for rule in OTHER_OUTAGES.into_iter().filter_map(rules::Rule::named) {
        let _ = write!(page, "| {} |", rule.name);
        for (clients, scenario) in &worlds {
            let outcome = ruled(scenario, *clients, rule, LONG);
            let _ = write!(page, " {} | {} |", returns(&outcome), tries_each(&outcome));
        }
        page.push('\n');
    }
    page
}

fn own_limits(_: &mut Verdict) -> String {
    let mut page = String::from(
        "\n### Each with the limit it has by default, 100,000 clients\n\n\
         | client | limit | 50 / 99 / 100 % back | tries each |\n|---|---|---|---:|\n",
    );
    let scenario = Scenario::default();
    let ours = engines(&scenario, CLIENTS, &settings(true, None));
    line(&mut page, &format!("{} | 10 s + 30 s", named(true)), &ours);
    for rule in rules::ALL {
        if let Some(limit) = rule.own_limit() {
            let outcome = ruled(&scenario, CLIENTS, rule, limit);
            line(&mut page, &format!("{} | {} s", rule.name, limit.as_secs()), &outcome);
        }
    }
    page
}

fn told_busy(verdict: &mut Verdict) -> String {
    let mut page = String::from(
        "\n### A broker that says it is busy, 100,000 clients, limit 10 s\n\n\
         Whom its queue does not hold is answered CONNACK with 0x9F at once, which costs it no slot. rejoin has its own limits.\n\n\
         | client | 50 / 99 / 100 % back | tries each |\n|---|---|---:|\n",
    );
    let scenario = Scenario { crowd: Crowd::ToldBusy, ..Scenario::default() };
    for fleet in [true, false] {
        let outcome = engines(&scenario, CLIENTS, &settings(fleet, None));
        line(&mut page, named(fleet), &outcome);
        verdict.never_stuck(&format!("{}, told that the broker is busy", named(fleet)), &outcome);
    }
    for rule in TOLD_BUSY.into_iter().filter_map(rules::Rule::named) {
        line(&mut page, rule.name, &ruled(&scenario, CLIENTS, rule, LONG));
    }
    page
}

fn all_wait(verdict: &mut Verdict) -> String {
    let mut page = String::from(
        "\n### A broker that loses nothing by those who leave, 100,000 clients, limit 1 s\n\n\
         Its queue has no end, a place that was left costs nothing, and there is no round trip. Simulations of back-off often\n\
         assume this; compare *full jitter* here and above.\n\n\
         | client | 50 / 99 / 100 % back | tries each |\n|---|---|---:|\n",
    );
    let scenario = Scenario { crowd: Crowd::AllWait, round_trip: 0, ..Scenario::default() };
    for fleet in [true, false] {
        let outcome = engines(&scenario, CLIENTS, &settings(fleet, Some((SHORT, SHORT))));
        line(&mut page, named(fleet), &outcome);
        verdict.never_stuck(&format!("{}, where all may wait, limit 1 s", named(fleet)), &outcome);
    }
    let own = engines(&scenario, CLIENTS, &settings(true, None));
    line(&mut page, &format!("{}, its own limits", named(true)), &own);
    verdict.never_stuck("rejoin, `fleet`, where all may wait", &own);
    for rule in rules::ALL {
        line(&mut page, rule.name, &ruled(&scenario, CLIENTS, rule, SHORT));
    }
    page
}

const fn named(fleet: bool) -> &'static str {
    if fleet { "rejoin, `fleet`" } else { "rejoin, default" }
}

fn line(page: &mut String, name: &str, outcome: &Outcome) {
    let _ = writeln!(page, "| {name} | {} | {} |", returns(outcome), tries_each(outcome));
}
