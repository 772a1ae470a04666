//! The picture of a watched link: the two answers, the state over time, rates, ping round trip, why it was lost.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::words::{Lamp, findings, strip};
use crate::facts::{Answer, Event, Facts, Outage, PHASES, Tone};
use crate::picture::{braille, cells, dim, title, wrapped};
use crate::report::{length, percent};
use crate::study::{Study, class};

const KEYS: [&str; 2] = ["q quit · n nudge", "q n"];
/// Width of the names on the left.
const NAME: usize = 10;
/// From this height on there is room for empty lines.
const ROOMY: u16 = 22;
/// The lane shows at most so much of the past, so that what happens now is seen.
const SHOWN_MS: f64 = 600_000.0;

/// Everything one frame shows.
pub(crate) struct View<'a> {
    /// The run.
    pub(crate) facts: &'a Facts,
    /// Whether colours are wanted.
    pub(crate) colour: bool,
    /// For how long nothing new came from whoever looks at the client, in milliseconds, where that is too long: what was
    /// well then is shown without a colour that says it is.
    pub(crate) old: Option<f64>,
    /// Where else it is shown.
    pub(crate) urls: &'a [String],
}

/// Draws one frame. What matters least is left out first where the terminal is small.
pub(crate) fn draw(frame: &mut Frame<'_>, view: &View<'_>) {
    let area = frame.area();
    let width = usize::from(area.width);
    let study = Study::of(view.facts);
    let mut lines = vec![head(view, width)];
    // An address with a token that is cut opens nothing: it has a line of its own, and is left out where it has no room.
    let fits = view.urls.iter().map(|url| format!(" {url}")).filter(|line| cells(line) <= width);
    lines.extend(fits.map(|line| Line::styled(line, dim())));
    lines.extend(answers(view, area));
    lines.extend(state(view, &study, width));
    let spare = usize::from(area.height).saturating_sub(lines.len());
    let (graph_rows, blanks) = match spare {
        16.. => (3, true),
        12.. => (2, true),
        7.. => (1, false),
        _ => (0, false),
    };
    let blank = |lines: &mut Vec<Line<'static>>| {
        if blanks {
            lines.push(Line::default());
        }
    };
    if graph_rows > 0 {
        blank(&mut lines);
        lines.extend(graphs(view, width, graph_rows));
    }
    blank(&mut lines);
    lines.extend(found(view, &study, width, blanks));
    let room = usize::from(area.height).saturating_sub(lines.len());
    let bills = room.saturating_sub(usize::from(blanks)).min(if room > 8 { 3 } else { 1 });
    lines.extend(outages(view, width, bills));
    blank(&mut lines);
    let room = usize::from(area.height).saturating_sub(lines.len());
    let events = &view.facts.events;
    lines.extend(events[events.len().saturating_sub(room)..].iter().map(|told| event(view, told)));
    for (row, line) in (0..area.height).zip(lines) {
        frame.render_widget(line, Rect { y: area.y + row, height: 1, ..area });
    }
}

fn head(view: &View<'_>, width: usize) -> Line<'static> {
    let facts = view.facts;
    let server = facts.servers.first().map(String::as_str).unwrap_or_default();
    let mut left = match view.old {
        Some(old) => format!(" rejoin watch  OLD, nothing new for {}", length((old / 1e3).floor() * 1e3)),
        None => format!(" rejoin watch  {}", length(facts.now_ms.max(1_000.0).floor())),
    };
    for part in [server, facts.client_id.as_str()] {
        if !part.is_empty() && cells(&left) + cells(part) + 2 < width {
            left.push_str("  ");
            left.push_str(part);
        }
    }
    title(left, &KEYS, width)
}

fn answers(view: &View<'_>, area: Rect) -> Vec<Line<'static>> {
    let both = [("will deliver", &view.facts.deliver), ("link open", &view.facts.open)];
    let word = |name: &str, answer: &Answer| {
        let (sign, colour) = match answer.tone {
            Tone::Good => ("●", Color::Green),
            Tone::Wait => ("▲", Color::Yellow),
            _ => ("■", Color::Red),
        };
        let sign = if view.old.is_some() { "?" } else { sign };
        let bold = ink(view, colour).add_modifier(Modifier::BOLD);
        vec![Span::raw(format!(" {name:<13}")), Span::styled(format!("{sign} {}", answer.word), bold)]
    };
    let room = usize::from(area.width).saturating_sub(17);
    let one = |(name, answer): (&str, &Answer)| {
        let mut spans = word(name, answer);
        let used = cells(&answer.word) + 2;
        spans.push(Span::styled(format!("  {}", cut(&answer.detail, room.saturating_sub(used))), dim()));
        Line::from(spans)
    };
    let mut lines: Vec<Line<'static>> = both.into_iter().map(one).collect();
    if area.height >= ROOMY {
        lines.insert(0, Line::default());
        lines.push(Line::default());
    }
    lines
}

/// The lane of states, and what it comes to.
fn state(view: &View<'_>, study: &Study, width: usize) -> Vec<Line<'static>> {
    let facts = view.facts;
    let room = width.saturating_sub(NAME + 2).max(1);
    let from = (facts.now_ms - SHOWN_MS).max(0.0);
    let mut spans = vec![Span::raw(format!(" {:<NAME$}", "state"))];
    spans.extend(strip(&facts.client, from, facts.now_ms, room).into_iter().map(|lamp| {
        let (mark, colour) = match lamp {
            None => (' ', Color::Reset),
            Some(lamp @ Lamp::Open) => (lamp.mark(), Color::Green),
            Some(lamp @ Lamp::Suspect) => (lamp.mark(), Color::Yellow),
            Some(lamp @ Lamp::Closed) => (lamp.mark(), Color::Red),
        };
        Span::styled(mark.to_string(), ink(view, colour))
    }));
    let open = study.open.map_or_else(String::new, |open| format!("open {} %", percent(open)));
    let past = if from > 0.0 { " · shown: 10 min" } else { "" };
    let legend = cut(&format!("{open}{past} · open █ suspect ▒ closed ▁"), room);
    vec![
        Line::from(spans),
        Line::from(vec![Span::raw(format!(" {:NAME$}", "")), Span::styled(legend, dim())]),
    ]
}

/// Ping round trip, and messages where there are any.
fn graphs(view: &View<'_>, width: usize, rows: usize) -> Vec<Line<'static>> {
    let samples = &view.facts.samples;
    let mut lines = Vec::new();
    let received = view.facts.total("received") > 0.0;
    if received {
        let one = rows.div_ceil(2);
        lines.extend(graph(view, "received", samples.column("received_per_s"), width, one, &rate));
    }
    if samples.has("ping_ms") {
        lines.extend(graph(view, "ping", samples.column("ping_ms"), width, rows, &length));
        lines.extend(baseline(view, width));
    } else if !received {
        lines.push(Line::from(vec![
            Span::raw(format!(" {:<NAME$}", "ping")),
            Span::styled("no round trip measured yet", dim()),
        ]));
    }
    lines
}

fn rate(value: f64) -> String {
    format!("{value:.0}/s")
}

fn graph(
    view: &View<'_>,
    name: &str,
    column: &[Option<f64>],
    width: usize,
    rows: usize,
    say: &dyn Fn(f64) -> String,
) -> Vec<Line<'static>> {
    let room = width.saturating_sub(NAME + 12).max(1);
    let points = room * 2;
    // The time of the lane above it.
    let from = (view.facts.now_ms - SHOWN_MS).max(0.0);
    let step = (view.facts.now_ms - from) / points as f64;
    let times = &view.facts.samples.t_ms;
    let values: Vec<Option<u64>> = (0..points)
        .map(|n| {
            let (begin, end) = (from + n as f64 * step, from + (n + 1) as f64 * step);
            // A row covers the time since the one before.
            let first = times.partition_point(|t| *t <= begin);
            let last = times.partition_point(|t| *t < end);
            let part = column.get(first..(last + 1).min(column.len()).max(first));
            let highest = part?.iter().flatten().copied().reduce(f64::max)?;
            // Microseconds: a round trip on one machine is a part of a millisecond.
            Some((highest * 1e3) as u64)
        })
        .collect();
    let highest = values.iter().flatten().copied().max().unwrap_or(1).max(1);
    let newest = column.iter().rev().flatten().next().copied();
    let drawn = braille(&values, highest, rows);
    drawn
        .into_iter()
        .enumerate()
        .map(|(row, dots)| {
            let name = if row == 0 { name } else { "" };
            let value = match row {
                0 => say(highest as f64 / 1e3),
                _ if row + 1 == rows => {
                    newest.map_or_else(String::new, |newest| format!("now {}", say(newest)))
                }
                _ => String::new(),
            };
            Line::from(vec![
                Span::raw(format!(" {name:<NAME$}")),
                Span::styled(dots, ink(view, Color::Cyan)),
                Span::styled(format!(" {}", cut(&value, 11)), dim()),
            ])
        })
        .collect()
}

/// What is normal for the ping.
fn baseline(view: &View<'_>, width: usize) -> Option<Line<'static>> {
    let baseline = view.facts.baselines.iter().find(|baseline| baseline.signal == "ping_round_trip")?;
    let unit = if baseline.unit == "s" { 1e3 } else { 1.0 };
    let text = match (baseline.state.as_str(), baseline.median, baseline.spread) {
        ("learning", ..) => "normal: still learning".to_owned(),
        (_, Some(median), Some(spread)) => {
            let ratio = baseline.ratio.map_or_else(String::new, |ratio| format!(" · now {ratio:.1} × that"));
            format!("normal: {} ±{}{ratio}", length(median * unit), length(spread * unit))
        }
        _ => return None,
    };
    let text = cut(&text, width.saturating_sub(NAME + 2));
    Some(Line::from(vec![Span::raw(format!(" {:NAME$}", "")), Span::styled(text, dim())]))
}

/// The study, and the alerts that are not well.
fn found(view: &View<'_>, study: &Study, width: usize, roomy: bool) -> Vec<Line<'static>> {
    let room = width.saturating_sub(NAME + 2).max(8);
    let mut lines = Vec::new();
    let mut tell = |name: &str, text: &str, style: Style| {
        let rows = if roomy { 2 } else { 1 };
        for (n, part) in wrapped(text, room).into_iter().take(rows).enumerate() {
            let name = if n == 0 { name } else { "" };
            lines.push(Line::from(vec![
                Span::raw(format!(" {name:<NAME$}")),
                Span::styled(cut(&part, room), style),
            ]));
        }
    };
    for alert in view.facts.alerts.iter().filter(|alert| matches!(alert.state.as_str(), "firing" | "pending"))
    {
        let colour = if alert.state == "firing" { Color::Red } else { Color::Yellow };
        tell("alert", &format!("{}: {} {}", alert.state, alert.rule, alert.evidence), ink(view, colour));
    }
    for (word, text) in findings(study) {
        let style = if word == "guess" { ink(view, Color::Yellow) } else { Style::new() };
        // Several spaces part columns in lines; here they would be torn apart.
        tell(word, &text.split_whitespace().collect::<Vec<_>>().join(" "), style);
    }
    lines
}

/// The last outages with their bills.
fn outages(view: &View<'_>, width: usize, rows: usize) -> Vec<Line<'static>> {
    let all = &view.facts.outages;
    let line = |outage: &Outage| {
        let spent = PHASES.iter().zip(outage.phases).filter_map(|((name, _), part)| {
            part.filter(|part| *part >= 1.0).map(|part| format!("{name} {}", length(part)))
        });
        let spent: Vec<String> = spent.collect();
        let whole = if outage.lasts { "lasts".to_owned() } else { length(outage.end - outage.start) };
        let equals = if spent.is_empty() { "" } else { "  = " };
        let text = format!("{whole}  {}{equals}{}", class(outage), spent.join(" + "));
        let text = cut(&text, width.saturating_sub(NAME + 2));
        Line::from(vec![
            Span::raw(format!(" {:<NAME$}", format!("outage {}", outage.number))),
            Span::styled(text, ink(view, if outage.lasts { Color::Red } else { Color::Reset })),
        ])
    };
    let skipped = all.len().saturating_sub(rows);
    all.iter().skip(skipped).map(line).collect()
}

fn event(view: &View<'_>, told: &Event) -> Line<'static> {
    let colour = match told.tone {
        Tone::Good => Color::Green,
        Tone::Wait => Color::Yellow,
        Tone::Bad => Color::Red,
        Tone::Plain => Color::Reset,
    };
    Line::from(vec![
        Span::styled(format!(" {:>8} ", crate::report::when(told.at)), dim()),
        Span::styled(format!("{:<11} ", told.word), ink(view, colour)),
        Span::raw(told.text.clone()),
    ])
}

/// A text that fits, its end left out if it must be.
fn cut(text: &str, room: usize) -> String {
    if cells(text) <= room {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(room.saturating_sub(1)).collect();
    if room > 0 {
        cut.push('…');
    }
    cut
}

fn ink(view: &View<'_>, colour: Color) -> Style {
    match view.old {
        Some(_) => dim(),
        None if view.colour => Style::new().fg(colour),
        None => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;
    use crate::facts::SCHEMA;

    fn flapping() -> Facts {
        let outage = |n: u64| {
            json!({"start_ms": 31_000 * n, "end_ms": 31_000 * n + 900, "cause": "server-disconnect", "detect_ms": 0,
                "words": "the broker disconnected: session taken over (0x8E)", "code": 0x8E, "lived_ms": 30_100,
                "waited_ms": 880, "connect_ms": 20, "number": 40 + n})
        };
        let open = |n: u64| json!({"from_ms": 31_000 * n + 900, "to_ms": 31_000 * (n + 1), "state": "open"});
        let shut = |n: u64| json!({"from_ms": 31_000 * n, "to_ms": 31_000 * n + 900, "state": "waiting"});
        Facts::of(&json!({
            "schema": SCHEMA, "clock": {"now_ms": 124_000},
            "client": {"id": "gw-17", "servers": ["broker.example:1883"]},
            "answers": {
                "deliver": {"word": "YES, when the link is back", "detail": "in memory, 0 waiting", "tone": "wait"},
                "link": {"word": "NO", "detail": "session taken over; next try in 0.4 s", "tone": "bad"},
            },
            "lanes": {"client": (0..4).flat_map(|n| [shut(n), open(n)]).collect::<Vec<_>>()},
            "outages": (1..4).map(outage).collect::<Vec<_>>(),
            "samples": {"t_ms": (1..=40).map(|n| n * 3_100).collect::<Vec<_>>(), "ping_ms": (0..40).map(|n| 12 + n % 3).collect::<Vec<_>>()},
            "baselines": [{"signal": "ping_round_trip", "state": "ready", "median": 0.012, "spread": 0.001, "ratio": 1.1, "unit": "s"}],
            "alerts": [{"rule": "reconnects over 3 within 10m", "state": "firing", "evidence": "4 in 2 min"}],
            "events": (0..40).map(|n| json!({"at_ms": n * 100, "level": "bad", "word": "lost", "text": format!("number {n}")})).collect::<Vec<_>>(),
            "totals": {"attempts": 4, "links": 4},
        }))
        .unwrap()
    }

    fn picture(facts: &Facts, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &View { facts, colour: true, urls: &[], old: None })).unwrap();
        let cells = terminal.backend().buffer().content();
        cells
            .chunks(usize::from(width.max(1)))
            .map(|row| row.iter().map(|cell| cell.symbol()).collect())
            .collect()
    }

    #[test]
    fn the_frame_answers_what_is_asked_at_every_usual_size() {
        let facts = flapping();
        for (width, height) in [(80, 24), (40, 12), (132, 50)] {
            let rows = picture(&facts, width, height);
            let all = rows.join("\n");
            for word in [
                "rejoin watch",
                "2 min 4 s",
                "will deliver",
                "▲ YES, when",
                "link open",
                "■ NO",
                "state",
                "█",
                "▁",
                "ping",
                "alert",
                "firing: reconnects",
                "why",
                "43 losses",
                "guess",
                "another client",
            ] {
                assert!(all.contains(word), "{word} is missing at {width}x{height}:\n{all}");
            }
            if width >= 80 {
                for word in [
                    "broker.example:1883",
                    "gw-17",
                    "q quit · n nudge",
                    "next try in 0.4 s",
                    "normal: 12 ms ±1 ms",
                    "now 12 ms",
                    "open 97.0 %",
                    "every 31 s",
                    "outage 43",
                    "waited 880 ms + connect 20 ms",
                    "number 39",
                ] {
                    assert!(all.contains(word), "{word} is missing at {width}x{height}:\n{all}");
                }
            }
        }
    }

    #[test]
    fn the_graph_shows_the_time_of_the_lane() {
        let row = |n: u64| if n < 100 { 900 } else { 10 };
        let facts = Facts::of(&json!({
            "schema": SCHEMA, "clock": {"now_ms": 3_600_000},
            "lanes": {"client": [{"from_ms": 0, "to_ms": null, "state": "open"}]},
            "samples": {"t_ms": (1..=360).map(|n| n * 10_000).collect::<Vec<_>>(), "ping_ms": (1..=360).map(row).collect::<Vec<_>>()},
        }))
        .unwrap();
        let all = picture(&facts, 80, 24).join("\n");
        assert!(all.contains("shown: 10 min") && all.contains(" 10 ms"), "{all}");
        assert!(!all.contains("900 ms"), "that was before what is shown:\n{all}");
    }

    #[test]
    fn a_picture_that_is_old_says_so_and_shines_no_more() {
        let facts = flapping();
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let view = View { facts: &facts, colour: true, urls: &[], old: Some(5_400.0) };
        terminal.draw(|frame| draw(frame, &view)).unwrap();
        let cells = terminal.backend().buffer().content();
        let text: String = cells.iter().map(|cell| cell.symbol()).collect();
        assert!(text.contains("OLD, nothing new for 5 s") && !text.contains('●'), "{text}");
        assert!(cells.iter().all(|cell| cell.fg == Color::Reset), "no colour");
        let answer = cells.iter().position(|cell| cell.symbol() == "?").expect("a sign before the answer");
        assert!(cells[answer].modifier.contains(Modifier::DIM));
    }

    #[test]
    fn where_else_it_is_shown_stands_on_the_picture_whole_or_not_at_all() {
        let facts = flapping();
        let urls = ["http://127.0.0.1:43210/#token=0123456789abcdef0123456789abcdef".to_owned()];
        let shown = |width| {
            let mut terminal = Terminal::new(TestBackend::new(width, 24)).unwrap();
            terminal
                .draw(|frame| draw(frame, &View { facts: &facts, colour: true, urls: &urls, old: None }))
                .unwrap();
            let cells = terminal.backend().buffer().content();
            cells.iter().map(|cell| cell.symbol()).collect::<String>()
        };
        assert!(shown(80).contains(&urls[0]), "{}", shown(80));
        assert!(!shown(40).contains("http://"), "half a token opens nothing");
    }

    #[test]
    fn no_size_is_too_small_and_no_run_too_empty() {
        let facts = flapping();
        for width in [1, 2, 7, 13, 39, 76] {
            for height in 1..30 {
                picture(&facts, width, height);
                picture(&Facts::default(), width, height);
            }
        }
    }
}
