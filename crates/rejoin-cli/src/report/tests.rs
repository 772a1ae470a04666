//! The report of documents with known answers.

use serde_json::{Value, json};

use super::html;

/// Thirty seconds with a freeze and a restart, seen through a proxy.
pub(super) fn drill() -> Value {
    let rows = 120;
    let down = |n: u32| (20..34).contains(&n) || (60..78).contains(&n);
    let after = |n: u32| (34..37).contains(&n) || (78..82).contains(&n);
    let column = |of: &dyn Fn(u32) -> Value| (0..rows).map(of).collect::<Vec<Value>>();
    let queue = |n: u32| match n {
        20..34 => (n - 20) * 12,
        60..78 => (n - 60) * 12,
        _ => 2 + n % 3,
    };
    let span = |from: u32, to: u32, state: &str| json!({"from_ms": from, "to_ms": to, "state": state});
    json!({
        "schema": "rejoin-run/1",
        "program": {"version": "0.1.0", "verb": "demo", "command": "rejoin demo --seed 42", "seed": 42, "machine": "linux x86_64, 2 cores"},
        "clock": {"started_unix_ms": 1_764_150_000_000_u64, "now_ms": 30_000},
        "client": {"id": "rejoin-x", "servers": ["127.0.0.1:1883"], "name": "plant"},
        "state": {"link": "open"},
        "answers": {
            "deliver": {"word": "YES, now", "detail": "in memory, 2 on their way", "tone": "good"},
            "link": {"word": "YES", "detail": "heard 0.1 s ago", "tone": "good"},
        },
        "lanes": {
            "injected": [
                {"from_ms": 5_000, "to_ms": 8_000, "what": "restart", "label": "broker restart"},
                {"from_ms": 13_000, "to_ms": 19_300, "what": "freeze", "label": "link frozen"},
            ],
            "truth": [span(0, 5_000, "open"), span(5_000, 8_000, "closed"), span(8_000, 13_000, "open"),
                span(13_000, 19_300, "closed"), span(19_300, 30_000, "open")],
            "client": [span(0, 20, "connecting"), span(20, 5_010, "open"), span(5_010, 8_300, "waiting"),
                span(8_300, 8_420, "connecting"), span(8_420, 14_500, "open"), span(14_500, 15_500, "suspect"),
                span(15_500, 19_300, "waiting"), span(19_300, 19_400, "connecting"), span(19_400, 30_000, "open")],
        },
        "honesty": {"claimed_open_while_closed_ms": 1_510, "longest_ms": 1_500},
        "samples": {
            "every_ms": 250,
            "t_ms": column(&|n| json!(f64::from(n) * 250.0)),
            "accepted_per_s": column(&|n| json!(48 + n % 5)),
            "acked_per_s": column(&|n| if down(n) { json!(0) } else if after(n) { json!(270) } else { json!(48 + n % 4) }),
            "received_per_s": column(&|n| if down(n) { json!(0) } else { json!(47 + n % 3) }),
            "queue": column(&|n| json!(queue(n))),
            "queue_limit": 1_000,
            "oldest_ms": column(&|n| json!(if down(n) { queue(n) * 20 } else { 3 })),
            "in_flight": column(&|_| json!(2)),
            "ack_p50_ms": column(&|n| if down(n) { Value::Null } else if after(n) { json!(1_800) } else { json!(0.4) }),
            "ack_p95_ms": column(&|n| if down(n) { Value::Null } else if after(n) { json!(2_900) } else { json!(1.1) }),
            "ack_p99_ms": column(&|n| if down(n) { Value::Null } else if after(n) { json!(3_300) } else { json!(2.6) }),
            "ping_ms": column(&|n| if n % 8 == 0 && !down(n) { json!(0.3 + f64::from(n % 7) / 20.0) } else { Value::Null }),
            "silent_ms": column(&|n| if down(n) { json!(1_000) } else { json!(20) }),
        },
        "outages": outages(),
        "events": [
            {"id": 1, "at_ms": 20, "level": "good", "word": "open", "text": "in 18 ms, session new"},
            {"id": 2, "at_ms": 5_010, "level": "bad", "word": "lost", "text": "reset after 5.0 s; in flight 3, queued 0"},
            {"id": 3, "at_ms": 14_500, "level": "warn", "word": "suspect", "text": "nothing heard for 1.5 s"},
        ],
        "health": {"status": "healthy", "checks": [{"name": "link", "status": "healthy", "detail": "open", "since_ms": 19_400}]},
        "baselines": [{"signal": "ping_round_trip", "state": "ready", "median": 0.0004, "spread": 0.00005, "now": 0.0005, "ratio": 1.2, "unit": "s", "samples": 14}],
        "alerts": [{"rule": "reconnects over 3 within 10m", "signal": "reconnects", "state": "ok", "since_ms": 1, "value": 2, "limit": 3, "evidence": "", "hint": ""}],
        "totals": {"accepted": 1_500, "acked": 1_500, "failed": 0, "received": 1_499, "resent": 7, "attempts": 9, "links": 3, "losses": 2, "sessions_lost": 0, "gaps": 0},
        "controls": [],
        "verdict": {"pass": true, "title": "PASS", "lines": ["published 1500, delivered 1500, lost 0, duplicated 7 (all explained)"],
            "expectations": [{"name": "lost", "limit": "0", "value": "0", "pass": true}],
            "anomalies": [{"what": "message 312 came twice: sent again with DUP, its first acknowledgement was lost (explained)"}]},
    })
}

fn outages() -> Value {
    json!([
        {"start_ms": 5_000, "end_ms": 8_700, "cause": "reset", "words": "reset by the peer", "detect_ms": 10, "refused_ms": 40, "waited_ms": 3_250,
         "connect_ms": 120, "resubscribe_ms": 40, "drain_ms": 240, "total_ms": 3_700, "attempts": 5, "drained": 118, "session": "kept", "injected": "restart"},
        {"start_ms": 13_000, "end_ms": 19_900, "cause": "ping-timeout", "words": "no PINGRESP within 1.0 s", "detect_ms": 2_500, "refused_ms": 1_900, "waited_ms": 1_900,
         "connect_ms": 100, "resubscribe_ms": 60, "drain_ms": 440, "total_ms": 6_900, "attempts": 3, "drained": 204, "session": "kept", "injected": "freeze"},
    ])
}

fn empty() -> Value {
    json!({"schema": "rejoin-run/1"})
}

/// A watch that never saw a good hour: a loss every ten minutes for a month.
fn month() -> Value {
    let hour = 3_600_000_u64;
    let losses: Vec<u64> = (1..4_300).map(|n| n * hour / 6).collect();
    let mut client = vec![json!({"from_ms": 0, "to_ms": 20, "state": "connecting"})];
    let mut from = 20;
    for lost in &losses {
        client.push(json!({"from_ms": from, "to_ms": lost, "state": "open"}));
        client.push(json!({"from_ms": lost, "to_ms": lost + 4_000, "state": "waiting"}));
        from = lost + 4_000;
    }
    let outage = |lost: &u64| {
        json!({"start_ms": lost, "end_ms": lost + 4_100, "cause": "ping-timeout", "words": "no PINGRESP within 5.0 s",
            "lived_ms": hour / 6 - 4_000, "detect_ms": 0, "waited_ms": 3_900, "connect_ms": 200, "total_ms": 4_100, "attempts": 1})
    };
    json!({
        "schema": "rejoin-run/1",
        "program": {"verb": "watch", "command": "rejoin watch mqtt://broker.example"},
        "clock": {"started_unix_ms": 1_764_150_000_000_u64, "now_ms": 720 * hour},
        "client": {"id": "gw-17", "servers": ["broker.example:1883"]},
        "lanes": {"client": client},
        "outages": losses.iter().map(outage).collect::<Vec<_>>(),
        "samples": {"every_ms": hour / 2, "t_ms": (0..1_440).map(|n| n * hour / 2).collect::<Vec<_>>(),
            "ping_ms": (0..1_440).map(|n| 12 + n % 5).collect::<Vec<_>>(), "silent_ms": vec![900; 1_440]},
        "totals": {"attempts": 4_300, "links": 4_300},
    })
}

/// A checker of the little XML that is written here: what opens closes, in order; attributes have names once; no text
/// holds what would be markup. Gives the names of all elements with their attributes.
pub(super) fn elements(page: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").unwrap_or(page);
    let mut open: Vec<String> = Vec::new();
    let mut found = Vec::new();
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(
            !text.contains('>') || open.last().is_some_and(|name| name == "style"),
            "a stray > in {text:?}"
        );
        let raw = open.last().is_some_and(|name| name == "style" || name == "script");
        assert!(raw || entities(text), "an ampersand of its own in {text:?}");
        let end = tag_end(&rest[at..]) + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed in another order");
            continue;
        }
        let (tag, leaf) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{name:?} is no name");
        if !leaf {
            open.push(name.to_owned());
        }
        found.push((name.to_owned(), parsed(attributes)));
    }
    assert!(open.is_empty(), "left open: {open:?}");
    found
}

fn tag_end(tag: &str) -> usize {
    let mut quoted = false;
    let end = tag.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '>' && !quoted
    });
    end.expect("a tag ends").0
}

fn entities(text: &str) -> bool {
    text.split('&')
        .skip(1)
        .all(|rest| ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|entity| rest.starts_with(entity)))
}

fn parsed(mut attributes: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    while let Some((name, rest)) = attributes.split_once("=\"") {
        let (value, rest) = rest.split_once('"').expect("a value ends");
        assert!(entities(value) && !value.contains('<'), "{value:?}");
        let name = name.trim().to_owned();
        assert!(found.iter().all(|(known, _)| *known != name), "{name} twice");
        found.push((name, value.to_owned()));
        attributes = rest;
    }
    assert!(attributes.trim().is_empty(), "{attributes:?}");
    found
}

fn attribute<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn part<'a>(page: &'a str, id: &str) -> &'a str {
    let from = page.find(&format!("<figure id=\"{id}\"")).unwrap_or_else(|| panic!("no figure {id}"));
    let to = page[from..].find("</figure>").expect("it ends");
    &page[from..from + to]
}

#[test]
fn the_page_is_well_formed_self_contained_and_small() {
    let page = html(&drill()).unwrap();
    let all = elements(&page);
    assert!(page.len() < 300_000, "{} bytes", page.len());
    for word in ["http://", "https://", "<link", "<img", "url(http", "@import", "onclick"] {
        assert!(!page.contains(word), "{word} in the page");
    }
    for (name, attributes) in &all {
        if name == "script" {
            assert_eq!(attribute(attributes, "type"), Some("application/json"));
        }
        assert!(attribute(attributes, "src").is_none(), "{name} fetches something");
    }
    for wrong in ["NaN", "inf%", "\"inf", "-0.0"] {
        assert!(!page.contains(wrong), "{wrong} in the page");
    }
    assert_eq!(page, html(&drill()).unwrap(), "the same document makes the same bytes");
}

#[test]
fn every_chart_has_a_title_and_a_table() {
    let page = html(&drill()).unwrap();
    for id in ["lanes", "rates", "queue", "oldest", "latency", "ping", "recovery"] {
        let figure = part(&page, id);
        assert!(
            figure.contains("<table") && figure.contains("<title>") && figure.contains("role=\"img\""),
            "{id}"
        );
    }
}

#[test]
fn each_outage_is_one_band_at_its_place_in_every_chart() {
    let page = html(&drill()).unwrap();
    for id in ["lanes", "rates", "queue", "latency", "ping"] {
        let bands: Vec<f64> = elements(&format!("{}</figure>", part(&page, id)))
            .into_iter()
            .filter(|(name, attributes)| {
                name == "rect"
                    && attribute(attributes, "class") == Some("band")
                    && attribute(attributes, "height") != Some("10")
            })
            .map(|(_, attributes)| {
                attribute(&attributes, "x").unwrap().trim_end_matches('%').parse().unwrap()
            })
            .collect();
        assert_eq!(bands, [16.67, 43.33], "{id}");
    }
}

#[test]
fn the_hatched_area_is_where_the_client_said_too_much() {
    let lanes = html(&drill()).unwrap();
    let lanes = part(&lanes, "lanes");
    // The reset took 10 ms to be noticed, the freeze 1.5 s until the link was suspect.
    assert_eq!(lanes.matches("claimed open while closed for ").count(), 2, "{lanes}");
    assert!(
        lanes.contains("claimed open while closed for 1.5 s") && lanes.contains("1.5 s in all"),
        "{lanes}"
    );
}

#[test]
fn the_bars_add_up_and_follow_each_other() {
    let page = html(&drill()).unwrap();
    let figure = part(&page, "recovery");
    let mut ends = Vec::new();
    let mut right = (String::new(), 0.0);
    for (name, attributes) in elements(&format!("{figure}</figure>")) {
        let class = attribute(&attributes, "class").unwrap_or_default();
        let y = attribute(&attributes, "y").unwrap_or_default().to_owned();
        if name != "rect" || !class.starts_with('p') || attribute(&attributes, "height") != Some("16") {
            continue;
        }
        let number =
            |name| attribute(&attributes, name).unwrap().trim_end_matches('%').parse::<f64>().unwrap();
        if right.0 != y {
            ends.push(right.1);
            right = (y, 0.0);
        }
        assert!((number("x") - right.1).abs() < 0.02, "a gap before {class}");
        right.1 = number("x") + number("width");
    }
    ends.push(right.1);
    assert!((ends[2] - 78.0).abs() < 0.1 && (ends[1] - 78.0 * 3.7 / 6.9).abs() < 0.1, "{ends:?}");
}

#[test]
fn hostile_texts_stay_texts_and_the_data_is_the_document() {
    let mut document = drill();
    let evil = "</script><script>alert(1)</script><!--\u{0}\u{202e} ' \" & ]]>";
    for place in [
        "/client/id",
        "/program/command",
        "/events/0/text",
        "/events/1/word",
        "/outages/0/words",
        "/verdict/lines/0",
        "/lanes/injected/0/label",
        "/lanes/client/0/state",
        "/answers/link/word",
        "/health/checks/0/detail",
        "/alerts/0/rule",
    ] {
        *document.pointer_mut(place).unwrap() = json!(evil);
    }
    let page = html(&document).unwrap();
    assert_eq!(elements(&page).iter().filter(|(name, _)| name == "script").count(), 1);
    assert!(!page.contains("alert(1)</script>") && !page.contains('\u{0}') && !page.contains('\u{202e}'));
    let data = page.split_once("id=\"run\">").unwrap().1.split_once("</script>").unwrap().0;
    // Compared as text: reading a number back may change its last bit.
    let back = serde_json::from_str::<Value>(&document.to_string()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(data).unwrap(), back);
}

#[test]
fn an_empty_run_one_sample_and_a_month_can_be_shown() {
    let page = html(&empty()).unwrap();
    elements(&page);
    assert!(page.contains("Never open") && page.contains("No link was lost."), "{page}");
    let mut one = drill();
    for column in one["samples"].as_object_mut().unwrap().values_mut() {
        if let Some(column) = column.as_array_mut() {
            column.truncate(1);
        }
    }
    one["clock"]["now_ms"] = json!(1);
    elements(&html(&one).unwrap());
    let page = html(&month()).unwrap();
    elements(&page);
    let lanes = part(&page, "lanes");
    assert!(
        lanes.contains("client: open 99.3 % of the time") && !lanes.contains("class=\"waiting\" x=\"0"),
        "{lanes}"
    );
    let drawn = page.len() - month().to_string().len();
    assert!(drawn < 600_000, "{drawn} bytes of drawing");
    assert!(
        page.contains("The 30 longest are drawn.")
            && page.contains("fell silent 9 min 56 s after our CONNACK"),
        "month"
    );
}

#[test]
fn the_drawing_of_a_known_run_is_known() {
    let page = html(&drill()).unwrap();
    let lanes = part(&page, "lanes");
    let from = lanes.find("<svg class=\"picture\"").unwrap();
    let to = from + lanes[from..].find("</svg>").unwrap() + "</svg>".len();
    let drawn = lanes[from..to].replace("><", ">\n<");
    let golden = include_str!("lanes.golden.svg");
    assert!(
        drawn.trim() == golden.trim(),
        "the lanes are drawn otherwise; if that is meant, lanes.golden.svg is:\n{drawn}"
    );
}

/// Writes the fixtures as pages, to be looked at: `REJOIN_LOOK=DIR cargo test -p rejoin-cli report`.
#[test]
fn pages_to_look_at() {
    let Some(folder) = std::env::var_os("REJOIN_LOOK") else { return };
    for (name, document) in [("drill", drill()), ("empty", empty()), ("month", month())] {
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.html")), html(&document).unwrap())
            .unwrap();
    }
}

#[test]
fn an_outage_that_lasts_is_as_long_as_it_lasts() {
    let mut document = drill();
    document["outages"][1] = json!({"start_ms": 13_000, "end_ms": null, "cause": "ping-timeout", "detect_ms": 2_500, "waited_ms": 1_500});
    let page = html(&document).unwrap();
    elements(&page);
    assert!(page.contains("17 s so far") && page.contains("longest 17 s"), "not 4 s: {page}");
    assert!(page.contains("lasts, not divided yet"));
}

#[test]
fn rows_that_were_merged_are_no_measurements() {
    use crate::observe::document::Figure;
    use crate::observe::samples::{EVERY_MS, ROWS_MAX, Row, Samples};

    let mut samples = Samples::default();
    for n in 1..=ROWS_MAX as u64 + 1 {
        // Heard every two seconds; of several rows the longest silence and the longest ping stay.
        let row = Row {
            silent_ms: Some(Figure((n % 8 * EVERY_MS + 20) as f64)),
            ping_ms: Some(Figure(if n % 8 == 0 { 90.0 } else { 10.0 })),
            ..Row::default()
        };
        samples.push(n * EVERY_MS, &row);
        samples.bound();
    }
    assert!(samples.rows() < ROWS_MAX, "they were merged");
    let document = json!({
        "schema": "rejoin-run/1",
        "clock": {"now_ms": (ROWS_MAX as u64 + 1) * EVERY_MS},
        "lanes": {"client": [{"from_ms": 0, "to_ms": null, "state": "open"}]},
        "samples": samples,
        "round_trips": {"p50_ms": 10.0, "p99_ms": 80.0, "max_ms": 90.0},
    });
    let page = html(&document).unwrap();
    elements(&page);
    assert!(page.contains("median 10 ms, one in a hundred above 80 ms, at most 90 ms"), "{page}");
    assert!(page.contains("heard: not kept, 0.00 s to 15:0"), "what is not known is not silence");
    let facts = crate::facts::Facts::of(&document).unwrap();
    let fine = facts.samples.finely_from();
    assert!(facts.samples.t_ms[fine] - facts.samples.t_ms[fine - 1] > 1.5 * EVERY_MS as f64);
    assert_eq!(facts.samples.t_ms[fine + 1] - facts.samples.t_ms[fine], EVERY_MS as f64);
    assert_eq!(crate::facts::Facts::of(&drill()).unwrap().samples.finely_from(), 0, "nothing was merged");
}
