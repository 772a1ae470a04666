//! The picture: what is injected, what is true, what the client claims, and what becomes of the messages.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use rejoin::{Link, Outlook, Stage, State};

use super::chronicle::{self, Chronicle, short};
use super::model::{History, Lamp, Sample};
use super::script::{Fault, Times};
use super::world::Lane;
use crate::picture::{self, braille, dim, wrapped};

const KEYS: &str = "q quit · space pause · f freeze · c cut · h heal";
const KEYS_SHORT: &str = "q space f c h";
/// Width of the names before the lanes.
const NAME: usize = 10;
/// From this width on the answers stand beside the graph.
const WIDE: u16 = 76;
/// What stands above and below graph and events.
const FIXED_ROWS: u16 = 8;

/// Everything one frame shows.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// Where the story is.
    pub(crate) at: Duration,
    /// How long it is.
    pub(crate) total: Duration,
    /// It stands still.
    pub(crate) paused: bool,
    /// What happened.
    pub(crate) chronicle: &'a Chronicle,
    /// What was so.
    pub(crate) history: &'a History,
    /// What the client says now.
    pub(crate) state: &'a State,
    /// Whether bytes get through now.
    pub(crate) passing: bool,
    /// Our lane.
    pub(crate) ours: Lane,
    /// The lane without recovery.
    pub(crate) plain: Option<Lane>,
    /// How long the oldest queued message has waited.
    pub(crate) oldest_queued: Duration,
    /// The times the client runs with.
    pub(crate) times: Times,
    /// Whether colours are wanted.
    pub(crate) colour: bool,
}

/// Draws one frame.
pub(crate) fn draw(frame: &mut Frame<'_>, view: &View<'_>) {
    let area = frame.area();
    let width = usize::from(area.width);
    let roomy = area.height >= 22;
    let mut lines = vec![title(view, width)];
    let scaling = wrapped(&view.times.brief(), width.saturating_sub(2)).into_iter();
    lines.extend(scaling.take(if roomy { 2 } else { 1 }).map(|text| Line::styled(format!(" {text}"), dim())));
    lines.extend(lanes(view, width));
    lines.push(caption(view));
    if roomy {
        lines.push(Line::default());
    }
    lines.extend(queue_and_answers(view, area));
    if roomy {
        lines.push(Line::default());
    }
    lines.extend(counters(view));
    if roomy {
        lines.push(Line::default());
    }
    let room = usize::from(area.height).saturating_sub(lines.len());
    let events = view.chronicle.lines();
    lines.extend(events[events.len().saturating_sub(room)..].iter().map(|line| event(line, view.colour)));
    for (row, line) in (0..area.height).zip(lines) {
        let row = Rect { y: area.y + row, height: 1, ..area };
        frame.render_widget(line, row);
    }
}

fn title(view: &View<'_>, width: usize) -> Line<'static> {
    let paused = if view.paused { "  PAUSED" } else { "" };
    let total = view.total.as_secs();
    let left = format!(" rejoin demo  {:.1} s / {total} s{paused}", view.at.min(view.total).as_secs_f64());
    picture::title(left, &[KEYS, KEYS_SHORT], width)
}

fn lanes(view: &View<'_>, width: usize) -> Vec<Line<'static>> {
    let columns = view.history.columns(width.saturating_sub(NAME + 2).max(1));
    let paint = |name: &'static str, cell: &dyn Fn(Sample) -> (char, Color)| {
        let mut spans = vec![Span::raw(format!(" {name:<NAME$}"))];
        let cells = columns.iter().map(|column| column.map_or((' ', Color::Reset), cell));
        spans.extend(cells.map(|(mark, colour)| Span::styled(mark.to_string(), ink(view, colour))));
        Line::from(spans)
    };
    vec![
        paint("injected", &|sample| match sample.injected {
            None => ('─', Color::DarkGray),
            Some(Fault::Restart | Fault::Amnesia) => ('■', Color::Magenta),
            Some(Fault::Freeze | Fault::HeldByKey) => ('▨', Color::Blue),
            Some(Fault::LostAcks) => ('▤', Color::Cyan),
            Some(Fault::Kill) => ('†', Color::Magenta),
            Some(Fault::Cut) => ('╳', Color::Magenta),
        }),
        paint("truth", &|sample| if sample.passing { ('█', Color::Green) } else { ('▁', Color::Red) }),
        paint("client", &|sample| match sample.lamp {
            Lamp::Open => ('█', Color::Green),
            Lamp::Suspect => ('▒', Color::Yellow),
            Lamp::Closed => ('▁', Color::Red),
        }),
    ]
}

/// What the lanes mean just now.
fn caption(view: &View<'_>) -> Line<'static> {
    let lamp = Lamp::from(&view.state.link);
    let fault = view.chronicle.injected();
    let frozen = matches!(fault, Some(Fault::Freeze | Fault::HeldByKey));
    let (text, colour) = match (view.passing, lamp) {
        (false, Lamp::Open) => ("nothing gets through, and nobody can know it yet".to_owned(), Color::Yellow),
        (false, Lamp::Suspect) => {
            ("suspect: the socket looks open, but a ping is late".to_owned(), Color::Yellow)
        }
        (false, Lamp::Closed) if frozen => (
            format!(
                "the socket still looks open; we stopped believing it after {:?}",
                view.times.detection()
            ),
            Color::Red,
        ),
        (true, Lamp::Open) if fault == Some(Fault::LostAcks) => {
            ("open, but nothing is acknowledged".to_owned(), Color::Yellow)
        }
        (_, Lamp::Closed) => (fault.map_or("link lost", Fault::label).to_owned(), Color::Red),
        (true, _) => ("open █ · suspect ▒ · closed ▁".to_owned(), Color::DarkGray),
    };
    Line::from(vec![Span::raw(format!(" {:NAME$}", "")), Span::styled(text, ink(view, colour))])
}

fn queue_and_answers(view: &View<'_>, area: Rect) -> Vec<Line<'static>> {
    let answers = answers(view);
    let wide = area.width >= WIDE;
    let spare = area.height.saturating_sub(FIXED_ROWS + if wide { 2 } else { 4 });
    let rows = usize::from(if wide { (spare / 2).clamp(2, 6) } else { (spare / 2).min(4) });
    let right = if wide { 41 } else { 0 };
    let cells = usize::from(area.width).saturating_sub(NAME + 2 + right).max(1);
    let graph = graph(view, cells, rows);
    if !wide {
        return graph.into_iter().map(|text| Line::styled(text, queue_ink(view))).chain(answers).collect();
    }
    let mut answers = answers.into_iter();
    let beside = |text: String| {
        let mut spans = vec![Span::styled(text, queue_ink(view)), Span::raw("  ")];
        spans.extend(answers.next().unwrap_or_default().spans);
        Line::from(spans)
    };
    graph.into_iter().map(beside).collect()
}

fn graph(view: &View<'_>, cells: usize, rows: usize) -> Vec<String> {
    let highest = view.history.longest_queue().max(1).next_multiple_of(50);
    let values: Vec<Option<u64>> =
        view.history.columns(cells * 2).iter().map(|column| column.map(|sample| sample.queue)).collect();
    let drawn = braille(&values, highest, rows);
    let name = |row: usize| match row {
        0 => format!(" queue{highest:>4}┤"),
        row if row + 1 == rows => format!(" {:>9}┤", 0),
        _ => format!(" {:>9}│", ""),
    };
    drawn.into_iter().enumerate().map(|(row, dots)| format!("{}{dots}", name(row))).collect()
}

fn answers(view: &View<'_>) -> Vec<Line<'static>> {
    let yes_no = |name: &'static str, text: String, colour| {
        Line::from(vec![Span::raw(format!(" {name:<13}")), Span::styled(text, ink(view, colour))])
    };
    let (will, will_colour) = match view.state.outlook() {
        Outlook::Now { .. } => ("YES, now", Color::Green),
        Outlook::Later { .. } => ("YES, when it is back", Color::Green),
        Outlook::Blocked { .. } => ("BLOCKED", Color::Red),
        _ => ("NO, stopped", Color::Red),
    };
    let (open, open_colour) = link_open(&view.state.link);
    vec![yes_no("will deliver", will.to_owned(), will_colour), yes_no("link open", open, open_colour)]
}

fn link_open(link: &Link) -> (String, Color) {
    let now = Instant::now();
    let ago = |moment: Instant| short(now.saturating_duration_since(moment));
    match link {
        Link::Open { heard, since } => {
            (format!("YES, heard {} ago", ago(heard.unwrap_or(*since))), Color::Green)
        }
        Link::Suspect { heard, since } => {
            (format!("NO, silent for {}", ago(heard.unwrap_or(*since))), Color::Yellow)
        }
        Link::Connecting { stage: Stage::Connack, since, .. } => {
            (format!("NO, no CONNACK for {}", ago(*since)), Color::Red)
        }
        Link::Connecting { since, .. } => (format!("NO, connecting {}", ago(*since)), Color::Red),
        Link::Waiting { until, .. } => {
            (format!("NO, next try in {}", short(until.saturating_duration_since(now))), Color::Red)
        }
        _ => ("NO, stopped".to_owned(), Color::Red),
    }
}

fn counters(view: &View<'_>) -> Vec<Line<'static>> {
    let Lane { published, delivered, queued, .. } = view.ours;
    // What is queued is not lost, whatever else it is.
    let lost = published.saturating_sub(delivered + queued);
    let lost_ink = |n: u64| ink(view, if n == 0 { Color::Green } else { Color::Red });
    let mut ours = vec![
        Span::raw(format!(
            " ours   published {published:>5}  delivered {delivered:>5}  queued {queued:>4}  "
        )),
        Span::styled(format!("lost {lost}"), lost_ink(lost)),
    ];
    if queued > 0 {
        ours.push(Span::styled(format!("   oldest {}", short(view.oldest_queued)), dim()));
    }
    let mut lines = vec![Line::from(ours)];
    if let Some(Lane { published, delivered, .. }) = view.plain {
        let missing = published.saturating_sub(delivered);
        lines.push(Line::from(vec![
            Span::raw(format!(" plain  published {published:>5}  delivered {delivered:>5}               ")),
            Span::styled(format!("missing {missing}"), lost_ink(missing)),
            Span::styled("  no recovery", dim()),
        ]));
    }
    lines
}

fn event(line: &chronicle::Line, colour: bool) -> Line<'static> {
    let tone = match line.word {
        "lost" | "injected" => Color::Red,
        "suspect" | "gap" => Color::Yellow,
        "recovered" | "open" | "healed" | "trusted" => Color::Green,
        _ => Color::Reset,
    };
    let tone = if colour { Style::new().fg(tone) } else { Style::new() };
    Line::from(vec![
        Span::styled(format!(" {:5.1} ", line.at.as_secs_f64()), dim()),
        Span::styled(format!("{:<12} ", line.word), tone),
        Span::raw(line.text.clone()),
    ])
}

fn ink(view: &View<'_>, colour: Color) -> Style {
    if view.colour { Style::new().fg(colour) } else { Style::new() }
}

fn queue_ink(view: &View<'_>) -> Style {
    ink(view, Color::Cyan)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use rejoin::Client;

    use super::super::script::Pace;
    use super::*;

    /// The state of a client whose broker is away.
    async fn waiting() -> State {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = Client::builder(&format!("mqtt://{closed}")).start().unwrap();
        let mut states = client.state_watch();
        states.wait_for(|state| matches!(state.link, Link::Waiting { .. })).await.unwrap()
    }

    fn picture(state: &State, width: u16, height: u16) -> Vec<String> {
        let mut chronicle = Chronicle::default();
        for n in 0..40 {
            chronicle.note(Duration::from_millis(n * 100), "suspect", format!("number {n}"));
        }
        chronicle.begin(Fault::Freeze, Duration::from_secs(11));
        let mut history = History::new(Pace::SHOW.sampling(), Pace::SHOW.total());
        let mut sample = Sample { injected: None, passing: true, lamp: Lamp::Open, queue: 3 };
        history.sample(Duration::from_secs(11), sample);
        sample = Sample { injected: Some(Fault::Freeze), passing: false, queue: 120, ..sample };
        history.sample(Duration::from_millis(12_600), sample);
        sample.lamp = Lamp::Suspect;
        history.sample(Duration::from_millis(13_500), sample);
        sample.lamp = Lamp::Closed;
        history.sample(Duration::from_millis(14_000), sample);
        let view = View {
            at: Duration::from_millis(14_000),
            total: Pace::SHOW.total(),
            paused: false,
            chronicle: &chronicle,
            history: &history,
            state,
            passing: false,
            ours: Lane { published: 700, delivered: 550, queued: 150, ..Lane::default() },
            plain: Some(Lane { published: 700, delivered: 421, ..Lane::default() }),
            oldest_queued: Duration::from_millis(2_300),
            times: Times::at(Pace::SHOW),
            colour: true,
        };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &view)).unwrap();
        let cells = terminal.backend().buffer().content();
        cells
            .chunks(usize::from(width.max(1)))
            .map(|row| row.iter().map(|cell| cell.symbol()).collect())
            .collect()
    }

    #[tokio::test]
    async fn the_frame_shows_what_counts_at_every_usual_size() {
        let state = waiting().await;
        for (width, height) in [(80, 24), (100, 30), (40, 12), (132, 50)] {
            let rows = picture(&state, width, height);
            let all = rows.join("\n");
            for word in [
                "rejoin demo",
                "14.0 s / 30 s",
                "times scaled down",
                "injected",
                "▨",
                "truth",
                "client",
                "█",
                "▒",
                "the socket still looks open",
                "will deliver",
                "YES, when it is back",
                "link open",
                "NO, next try in",
                "ours",
                "plain",
                "published   700",
                "number 39",
                "link is frozen",
            ] {
                assert!(all.contains(word), "{word} is missing at {width}x{height}:\n{all}");
            }
            if width >= 80 {
                for word in [
                    "q quit",
                    "h heal",
                    "queue 150┤",
                    "delivered   550",
                    "lost 0",
                    "missing 279",
                    "(2s..15s)",
                ] {
                    assert!(all.contains(word), "{word} is missing at {width}x{height}:\n{all}");
                }
            }
        }
    }

    #[tokio::test]
    async fn no_size_is_too_small() {
        let state = waiting().await;
        for width in [1, 2, 7, 11, 13, 39, 76] {
            for height in 1..26 {
                picture(&state, width, height);
            }
        }
    }
}
