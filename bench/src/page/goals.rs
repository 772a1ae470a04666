//! The goals, and which of them this run met; for each one missed, by how much, what was tried and what would do it.

use super::table::{best_peer, reference};
use crate::cast::{OURS, RAW};
use crate::figures::Figures;
use std::fmt::Write;

/// One goal as it stands.
struct Goal {
    what: String,
    wanted: String,
    got: f64,
    shown: String,
    /// What has to be at least, or at most.
    bound: f64,
    rises: bool,
    /// Key of the explanation where it is missed.
    why: &'static str,
}

impl Goal {
    fn met(&self) -> bool {
        if self.rises { self.got >= self.bound } else { self.got <= self.bound }
    }
}

pub(super) fn section(all: &[Figures]) -> String {
    let goals = goals(all);
    let met = goals.iter().filter(|goal| goal.met()).count();
    let mut text = format!(
        "## Goals\n\n{met} of {} goals are met in these figures.\n\n| goal | wanted | measured | |\n|---|---:|---:|---|\n",
        goals.len()
    );
    for goal in &goals {
        let mark = if goal.met() { "✓" } else { "**missed**" };
        let _ = writeln!(text, "| {} | {} | {} | {mark} |", goal.what, goal.wanted, goal.shown);
    }
    let missed: Vec<&Goal> = goals.iter().filter(|goal| !goal.met()).collect();
    if !missed.is_empty() {
        text.push_str("\n### What is missed, what was tried, what would do it\n\n");
    }
    let mut told = Vec::new();
    for goal in missed {
        let off = match goal.rises {
            true => format!("{:.0} % below", (1.0 - goal.got / goal.bound) * 100.0),
            false => format!("{:.0} % above", (goal.got / goal.bound - 1.0) * 100.0),
        };
        let _ = writeln!(text, "- **{}**: {} where {} is wanted, {off}.", goal.what, goal.shown, goal.wanted);
        if !told.contains(&goal.why) {
            told.push(goal.why);
            let _ = writeln!(text, "  {}", reason(goal.why));
        }
    }
    text
}

fn goals(all: &[Figures]) -> Vec<Goal> {
    let of = |key: &str| all.iter().find(|figures| figures.key == key && !figures.all.is_empty());
    let mut goals = Vec::new();
    if let Some(figures) = of("rates-5") {
        rates(figures, &mut goals);
    }
    if let Some(figures) = of("echo") {
        echo(figures, &mut goals);
    }
    if let Some(figures) = of("idle") {
        idle(figures, &mut goals);
    }
    losses(of, &mut goals);
    codec(of, &mut goals);
    goals
}

/// What each of 10,000 connections costs, and whether the cost is linear: what the process holds once, however many there
/// are, is in the figure for 1,000 with ten times the weight, so each connection beyond those is looked at.
fn idle(figures: &Figures, goals: &mut Vec<Goal>) {
    let (few, many) = ("1000 connections", "10000 connections");
    let kib = |v: f64| format!("{:.1} KiB", v / 1024.0);
    least(goals, figures, many, "bytes_each", (8.0 * 1024.0, "8 KiB"), kib, "idle");
    least(goals, figures, many, "cpu_us_s", (1.5, "1.5 µs/s"), |v| format!("{v:.2} µs/s"), "idle");
    let both = |metric| Some((figures.median(few, OURS, metric)?, figures.median(many, OURS, metric)?));
    let goal = |what: &str, wanted: &str, got, shown, bound| Goal {
        what: what.to_owned(),
        wanted: format!("at most {wanted}"),
        got,
        shown,
        bound,
        rises: false,
        why: "idle",
    };
    if let Some((few, many)) = both("bytes_each") {
        let each = (many * 10_000.0 - few * 1_000.0) / 9_000.0;
        let what = "each connection from the 1,001st to the 10,000th: memory";
        goals.push(goal(what, "8 KiB", each, kib(each), 8.0 * 1024.0));
    }
    if let Some((few, many)) = both("cpu_us_s") {
        let times = many / few;
        let what = "10000 connections: processor time each, over that of 1000";
        goals.push(goal(what, "1.1", times, format!("{times:.2}"), 1.1));
    }
}

/// What happens around a loss.
fn losses<'a>(of: impl Fn(&str) -> Option<&'a Figures>, goals: &mut Vec<Goal>) {
    if let Some(figures) = of("fin") {
        least(goals, figures, "FIN", "first_ms", (2.0, "2 ms"), |v| format!("{v:.2} ms"), "return");
    }
    if let Some(figures) = of("offline") {
        let case = "100,000 offline";
        least(goals, figures, case, "accept_s", (0.5, "0.5 s"), |v| format!("{v:.2} s"), "offline");
        least(goals, figures, case, "bytes_each", (400.0, "400 B"), |v| format!("{v:.0} B"), "offline");
        if let Some(got) = figures.median(case, OURS, "drain_s") {
            goals.push(Goal {
                what: format!("{case}: drained"),
                wanted: "at least 300k/s".to_owned(),
                got,
                shown: format!("{:.0}k/s", got / 1e3),
                bound: 300_000.0,
                rises: true,
                why: "offline",
            });
        }
    }
    if let Some(figures) = of("kill") {
        for (case, limit, words) in [("QoS 1", 6.5, "6.5 s"), ("QoS 2", 13.0, "13 s")] {
            least(goals, figures, case, "seconds", (limit, words), |v| format!("{v:.1} s"), "kill");
            least(goals, figures, case, "missing", (0.0, "0"), |v| format!("{v:.0}"), "kill");
            least(goals, figures, case, "disordered", (0.0, "0"), |v| format!("{v:.0}"), "kill");
        }
    }
}

fn codec<'a>(of: impl Fn(&str) -> Option<&'a Figures>, goals: &mut Vec<Goal>) {
    if let Some(figures) = of("codec") {
        for case in ["encode", "decode"] {
            let (Some(ours), Some(bound)) =
                (figures.median(case, OURS, "ns"), figures.median(case, "by hand", "ns"))
            else {
                continue;
            };
            goals.push(Goal {
                what: format!("codec, {case}"),
                wanted: "at most 1.3 of by hand".to_owned(),
                got: ours / bound,
                shown: format!("{:.2} ({ours:.0} ns)", ours / bound),
                bound: 1.3,
                rises: false,
                why: "codec",
            });
        }
    }
}

/// A figure of ours that may be so much at most.
fn least(
    goals: &mut Vec<Goal>,
    figures: &Figures,
    case: &str,
    metric: &str,
    (bound, wanted): (f64, &str),
    show: fn(f64) -> String,
    why: &'static str,
) {
    let Some(found) = figures.find(case, OURS, metric).filter(|one| !one.values.is_empty()) else { return };
    let got = found.spread().median;
    let what = match metric {
        "bytes_each" => "memory each",
        "cpu_us_s" => "processor time each",
        "first_ms" => "first acknowledgement",
        "accept_s" => "accepted",
        "seconds" => "time",
        other => other,
    };
    let what = match figures.key.as_str() {
        "kill" => format!("a cut every 300 ms, {case}: {what}"),
        _ => format!("{case}: {what}"),
    };
    goals.push(Goal {
        what,
        wanted: format!("at most {wanted}"),
        got,
        shown: show(got),
        bound,
        rises: false,
        why,
    });
}

fn rates(figures: &Figures, goals: &mut Vec<Goal>) {
    let times = |case: &str, theirs: Option<f64>| Some(figures.median(case, OURS, "rate_s")? / theirs?);
    for (qos, bound) in [(0, 3.0), (1, 3.0), (2, 2.0)] {
        let case = format!("publish QoS {qos}");
        if let Some(got) = times(&case, reference(figures, &case)) {
            goals.push(ratio(format!("{case}: rate over rumqttc's"), got, bound, "publish"));
        }
    }
    for (qos, bound) in [(0, 0.6), (1, 1.2), (2, 2.2)] {
        let case = format!("publish QoS {qos}");
        let wanted = format!("{bound} µs");
        least(goals, figures, &case, "cpu_us", (bound, &wanted), |v| format!("{v:.2} µs"), "publish");
        if let Some(goal) = goals.last_mut() {
            goal.what = format!("{case}: client processor time");
        }
    }
    for qos in [0, 2] {
        let case = format!("receive QoS {qos}");
        let best = best_peer(figures, &case, "rate_s", true);
        if let Some(got) = times(&case, best.map(|(_, rate)| rate)) {
            let name = best.map_or("", |(name, _)| name);
            goals.push(ratio(format!("{case}: rate over the best peer's ({name})"), got, 2.0, "receive"));
        }
    }
    let case = "receive QoS 1";
    if let Some(got) = times(case, figures.median(case, RAW, "rate_s")) {
        goals.push(ratio(format!("{case}: rate over raw's"), got, 0.9, "receive-raw"));
    }
    if let Some(got) = times(case, best_peer(figures, case, "rate_s", true).map(|(_, rate)| rate)) {
        goals.push(ratio(format!("{case}: rate over the best peer's"), got, 1.0, "receive"));
    }
}

fn ratio(what: String, got: f64, bound: f64, why: &'static str) -> Goal {
    let wanted = format!("at least {bound}");
    Goal { what, wanted, got, shown: format!("{got:.2}"), bound, rises: true, why }
}

fn echo(figures: &Figures, goals: &mut Vec<Goal>) {
    let case = "echo QoS 1";
    let (ours, raw) = (figures.median(case, OURS, "p50_ms"), figures.median(case, RAW, "p50_ms"));
    if let (Some(ours), Some(raw)) = (ours, raw) {
        goals.push(Goal {
            what: "round trip p50 over raw's".to_owned(),
            wanted: "at most 1.5".to_owned(),
            got: ours / raw,
            shown: format!("{:.2} ({ours:.3} ms)", ours / raw),
            bound: 1.5,
            rises: false,
            why: "echo",
        });
    }
    least(goals, figures, case, "p99_ms", (0.5, "0.5 ms"), |v| format!("{v:.3} ms"), "echo");
    if let Some(goal) = goals.last_mut() {
        goal.what = "round trip p99".to_owned();
    }
}

/// What is known about a miss; written by people, read by the program.
fn reason(key: &str) -> &'static str {
    match key {
        "publish" => include_str!("missed/publish.md").trim_end(),
        "receive" => include_str!("missed/receive.md").trim_end(),
        "receive-raw" => include_str!("missed/receive-raw.md").trim_end(),
        "echo" => include_str!("missed/echo.md").trim_end(),
        "idle" => include_str!("missed/idle.md").trim_end(),
        "return" => include_str!("missed/return.md").trim_end(),
        "offline" => include_str!("missed/offline.md").trim_end(),
        "kill" => include_str!("missed/kill.md").trim_end(),
        _ => include_str!("missed/codec.md").trim_end(),
    }
}
