//! Curves over time: messages per second, the queue, its oldest message, acknowledgement latency, ping round trip.

use super::axis::{Scale, Tick, count, length};
use super::chart::{self, Column, Figure, Key, Sheet, plot};
use super::markup::{Markup, Number, Percent};
use crate::facts::{Facts, Samples};

/// Points of one curve; more samples than this are drawn joined.
const POINTS: usize = 600;

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draw {
    Line(&'static str),
    Area(&'static str),
}

/// One curve.
#[derive(Clone, Copy, Debug)]
struct Curve {
    column: &'static str,
    words: &'static str,
    key: &'static str,
    draw: Draw,
}

/// A chart of curves.
struct Chart<'a> {
    id: &'static str,
    title: &'static str,
    gist: String,
    curves: &'a [Curve],
    height: u32,
    scale: Scale,
    say: fn(f64) -> String,
    /// A value with a dashed line.
    limit: Option<f64>,
    /// What is normal: from, to.
    normal: Option<(f64, f64)>,
}

const ACCEPTED: Curve =
    Curve { column: "accepted_per_s", words: "accepted", key: "line s1", draw: Draw::Line("line s1") };
const ACKNOWLEDGED: Curve =
    Curve { column: "acked_per_s", words: "acknowledged", key: "area s2", draw: Draw::Area("area s2") };
const RECEIVED: Curve =
    Curve { column: "received_per_s", words: "received", key: "line s3", draw: Draw::Line("line s3") };
const QUEUE: Curve = Curve { column: "queue", words: "waiting", key: "area s1", draw: Draw::Area("area s1") };
const OLDEST: Curve =
    Curve { column: "oldest_ms", words: "oldest", key: "area s3", draw: Draw::Area("area s3") };
const P50: Curve = Curve { column: "ack_p50_ms", words: "p50", key: "line s1", draw: Draw::Line("line s1") };
const P95: Curve = Curve { column: "ack_p95_ms", words: "p95", key: "line s4", draw: Draw::Line("line s4") };
const P99: Curve = Curve { column: "ack_p99_ms", words: "p99", key: "line s3", draw: Draw::Line("line s3") };
const PING: Curve =
    Curve { column: "ping_ms", words: "round trip", key: "line s1 dots", draw: Draw::Line("line s1 dots") };

/// Writes all curves that have something to show, and says what has not.
pub(crate) fn write(page: &mut Markup, sheet: &Sheet<'_>) {
    let facts = sheet.facts;
    let samples = &facts.samples;
    let published = facts.total("accepted") > 0.0 || peak(samples, "accepted_per_s") > 0.0;
    let received = facts.total("received") > 0.0 || peak(samples, "received_per_s") > 0.0;
    if published || received {
        rates(page, sheet, published, received);
    }
    if published {
        queue(page, sheet);
    }
    if samples.has("ack_p50_ms") {
        latency(page, sheet);
    }
    if samples.has("ping_ms") {
        ping(page, sheet);
    }
    let mut nothing = Vec::new();
    if !published {
        nothing.push("nothing was published, so there is no queue and no acknowledgement to show");
    }
    if !samples.has("ping_ms") {
        nothing.push("no ping was answered: a busy link needs none");
    }
    if !nothing.is_empty() {
        page.element("p", &[("class", &"note")], &format!("Not drawn: {}.", nothing.join("; ")));
    }
}

fn rates(page: &mut Markup, sheet: &Sheet<'_>, published: bool, received: bool) {
    let facts = sheet.facts;
    let mut curves = Vec::new();
    let mut gist = Vec::new();
    if published {
        curves.extend([ACKNOWLEDGED, ACCEPTED]);
        gist.push(format!(
            "accepted {}, acknowledged {}, failed {}, sent again {}",
            count(facts.total("accepted")),
            count(facts.total("acked")),
            count(facts.total("failed")),
            count(facts.total("resent"))
        ));
    }
    if received {
        curves.push(RECEIVED);
        gist.push(format!("received {}", count(facts.total("received"))));
    }
    let highest = curves.iter().map(|curve| peak(&facts.samples, curve.column)).fold(0.0, f64::max);
    Chart {
        id: "rates",
        title: "Messages per second",
        gist: gist.join("; "),
        curves: &curves,
        height: 130,
        scale: Scale::up_to(highest),
        say: count,
        limit: None,
        normal: None,
    }
    .write(page, sheet);
}

fn queue(page: &mut Markup, sheet: &Sheet<'_>) {
    let samples = &sheet.facts.samples;
    let most = peak(samples, "queue");
    // A limit far above what was used would press the curve to the ground.
    let limit = samples.queue_limit.filter(|limit| *limit <= most.max(1.0) * 4.0);
    let mut gist = format!("at most {} waiting", count(most));
    match (samples.queue_limit, limit) {
        (Some(limit), None) => gist.push_str(&format!("; the limit of {} is far above", count(limit))),
        (Some(limit), Some(_)) => gist.push_str(&format!("; the limit is {}", count(limit))),
        (None, _) => {}
    }
    Chart {
        id: "queue",
        title: "Queue",
        gist,
        curves: &[QUEUE],
        height: 96,
        scale: Scale::up_to(most.max(limit.unwrap_or(0.0))),
        say: count,
        limit,
        normal: None,
    }
    .write(page, sheet);
    if samples.has("oldest_ms") {
        let oldest = peak(samples, "oldest_ms");
        let gist = format!("at most {}", length(oldest));
        Chart {
            id: "oldest",
            title: "Oldest message waiting",
            gist,
            curves: &[OLDEST],
            height: 64,
            scale: Scale::up_to(oldest),
            say: length,
            limit: None,
            normal: None,
        }
        .write(page, sheet);
    }
}

fn latency(page: &mut Markup, sheet: &Sheet<'_>) {
    let samples = &sheet.facts.samples;
    let curves = [P50, P95, P99];
    let all = curves.iter().flat_map(|curve| samples.column(curve.column)).flatten().copied();
    let scale = Scale::around(all);
    let middle = median(samples.column("ack_p50_ms"));
    let worst = peak(samples, "ack_p99_ms");
    let gist = format!(
        "usually {}, at worst {}; counted from the moment a message was meant to be sent, so an outage is not hidden",
        length(middle),
        length(worst)
    );
    Chart {
        id: "latency",
        title: "Publish to acknowledgement",
        gist,
        curves: &curves,
        height: 130,
        scale,
        say: length,
        limit: None,
        normal: None,
    }
    .write(page, sheet);
}

fn ping(page: &mut Markup, sheet: &Sheet<'_>) {
    let facts = sheet.facts;
    let samples = &facts.samples;
    let normal = normal(facts);
    let both = samples.column("ping_ms").iter().flatten().copied();
    let (low, high) = normal.unzip();
    let scale = Scale::around(both.chain(low).chain(high));
    let mut gist = match facts.round_trips {
        // Those of the whole run, each ping once: rows that were merged hold the longest of several.
        Some([middle, above, most]) => format!(
            "median {}, one in a hundred above {}, at most {}",
            length(middle),
            length(above),
            length(most)
        ),
        None => {
            let middle = median(samples.column("ping_ms"));
            format!("median {}, at most {}", length(middle), length(peak(samples, "ping_ms")))
        }
    };
    if let Some((from, to)) = normal {
        gist.push_str(&format!("; normal here is {} to {}", length(from), length(to)));
    }
    Chart {
        id: "ping",
        title: "Ping round trip",
        gist,
        curves: &[PING],
        height: 96,
        scale,
        say: length,
        limit: None,
        normal,
    }
    .write(page, sheet);
}

/// The band of the baseline, in milliseconds: three spreads around the median.
fn normal(facts: &Facts) -> Option<(f64, f64)> {
    let baseline = facts.baselines.iter().find(|baseline| baseline.signal == "ping_round_trip")?;
    let unit = match baseline.unit.as_str() {
        "s" => 1e3,
        "ms" => 1.0,
        _ => return None,
    };
    let (median, spread) = (baseline.median?, baseline.spread?);
    (median > 0.0)
        .then(|| ((median - 3.0 * spread).max(median / 10.0) * unit, (median + 3.0 * spread) * unit))
}

impl Chart<'_> {
    fn write(&self, page: &mut Markup, sheet: &Sheet<'_>) {
        let mut keys: Vec<Key> =
            self.curves.iter().map(|curve| Key { class: curve.key, words: curve.words }).collect();
        if self.limit.is_some() {
            keys.push(Key { class: "line limit", words: "limit" });
        }
        if self.normal.is_some() {
            keys.push(Key { class: "normal", words: "normal" });
        }
        if keys.len() == 1 {
            keys.clear();
        }
        Figure { id: self.id, title: self.title, gist: &self.gist, keys: &keys }.begin(page);
        let ticks = self.scale.ticks(self.say);
        let y = |tick: &Tick| f64::from(self.height) * (1.0 - tick.at);
        let names = |page: &mut Markup| {
            for tick in &ticks {
                // The outermost ones would be cut in half at the edge.
                chart::name(page, y(tick).clamp(6.0, f64::from(self.height) - 2.0), &tick.label);
            }
        };
        let titled = format!("{} over time: {}", self.title, self.gist);
        plot(page, self.height, &titled, names, |page| {
            sheet.bands(page, self.height);
            sheet.times(page, self.height);
            for tick in &ticks {
                let y = Number(y(tick));
                page.leaf("line", &[("class", &"grid"), ("x1", &0), ("x2", &"100%"), ("y1", &y), ("y2", &y)]);
            }
            self.across(page);
            page.open(
                "svg",
                &[
                    ("class", &"curves"),
                    ("width", &"100%"),
                    ("height", &self.height),
                    ("viewBox", &"0 0 1000 100"),
                    ("preserveAspectRatio", &"none"),
                ],
            );
            for curve in self.curves {
                self.curve(page, sheet, curve);
            }
            page.close();
        });
        let column = |curve: &Curve| Column { name: curve.words, samples: curve.column, say: self.say };
        let columns: Vec<Column> = self.curves.iter().map(column).collect();
        sheet.table(page, &columns);
        page.close();
    }

    /// The limit, and what is normal.
    fn across(&self, page: &mut Markup) {
        let y = |value: f64| f64::from(self.height) * (1.0 - self.scale.at(value));
        if let Some((from, to)) = self.normal {
            let height = (y(from) - y(to)).max(1.0);
            chart::Block { class: "normal", from: 0.0, to: 1.0, y: y(to), height, title: "normal" }
                .draw(page);
        }
        if let Some(limit) = self.limit {
            let y = Number(y(limit).max(1.0));
            let right = Percent(1.0);
            page.leaf(
                "line",
                &[("class", &"line limit"), ("x1", &0), ("x2", &right), ("y1", &y), ("y2", &y)],
            );
        }
    }

    fn curve(&self, page: &mut Markup, sheet: &Sheet<'_>, curve: &Curve) {
        let path = |points: &[(f64, f64)], closed: bool| {
            let mut path = String::new();
            for (n, (t, value)) in points.iter().enumerate() {
                let (x, y) = (sheet.time.at(*t) * 1_000.0, 100.0 * (1.0 - self.scale.at(*value)));
                path.push_str(if n == 0 { "M" } else { "L" });
                path.push_str(&format!("{} {}", tenth(x), tenth(y)));
            }
            if points.len() == 1 {
                // Nothing to join: the round ends of a line without length are a dot.
                path.push_str("h0");
            }
            if let (true, Some(first), Some(last)) = (closed, points.first(), points.last()) {
                let (left, right) = (sheet.time.at(first.0) * 1_000.0, sheet.time.at(last.0) * 1_000.0);
                path.push_str(&format!("L{} 100L{} 100Z", tenth(right), tenth(left)));
            }
            path
        };
        for piece in pieces(sheet.facts, curve.column) {
            match curve.draw {
                Draw::Line(class) => page.leaf("path", &[("class", &class), ("d", &path(&piece, false))]),
                Draw::Area(class) => page.leaf("path", &[("class", &class), ("d", &path(&piece, true))]),
            }
        }
    }
}

fn tenth(value: f64) -> Number {
    Number((value * 10.0).round() / 10.0)
}

/// The points of a curve, in pieces without holes.
fn pieces(facts: &Facts, column: &str) -> Vec<Vec<(f64, f64)>> {
    let samples = &facts.samples;
    let values = samples.column(column);
    let joined = samples.t_ms.len().div_ceil(POINTS).max(1);
    // A ping is answered now and then: what lies between two answers is no hole, unless it was an outage.
    let patient = column == "ping_ms";
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut hole = true;
    let mut lost = facts.outages.iter().map(|outage| outage.start).peekable();
    for (rows, values) in samples.t_ms.chunks(joined).zip(values.chunks(joined)) {
        let worst = values.iter().flatten().copied().reduce(f64::max);
        while lost.next_if(|start| *start < rows[0]).is_some() {
            hole |= patient;
        }
        match (worst, pieces.last_mut()) {
            (Some(value), Some(piece)) if !hole => piece.push((rows[0], value)),
            (Some(value), _) => pieces.push(vec![(rows[0], value)]),
            (None, _) => {}
        }
        hole = worst.is_none() && (hole || !patient || pieces.is_empty());
    }
    pieces
}

fn peak(samples: &Samples, column: &str) -> f64 {
    samples.column(column).iter().flatten().copied().fold(0.0, f64::max)
}

fn median(column: &[Option<f64>]) -> f64 {
    let mut values: Vec<f64> = column.iter().flatten().copied().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
