//! The frame every chart stands in: the shared time axis, outages shaded through it, names beside it, a table behind it.
//!
//! Places on the time axis are percentages and texts keep their size, so one drawing serves 320 pixels and 2,560. What
//! needs more room than a narrow page has says so with a class, and the style sheet hides it there.

use super::axis::{TimeAxis, length};
use super::markup::{Markup, Number, Percent};
use crate::facts::{Facts, Outage};

/// Pixels for the names on the left.
const NAMES: u32 = 72;

/// Pixels for the times below.
const TIMES: u32 = 22;

/// Pixels a character takes, generously.
const CHARACTER: f64 = 7.0;

/// Of more outages than this, only those are shaded that take more than a part of the width in [`NARROWEST`].
const BANDS: usize = 400;
const NARROWEST: f64 = 2_000.0;

/// Rows of a table behind a chart.
const ROWS: usize = 40;

/// What all charts of a page share.
#[derive(Debug)]
pub(crate) struct Sheet<'a> {
    /// The run.
    pub(crate) facts: &'a Facts,
    /// The axis.
    pub(crate) time: TimeAxis,
}

/// One line of a legend.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// How it is drawn.
    pub(crate) class: &'static str,
    /// What it is.
    pub(crate) words: &'static str,
}

/// A column of the table behind a chart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// What it is called.
    pub(crate) name: &'static str,
    /// The samples it shows.
    pub(crate) samples: &'static str,
    /// How a value is said.
    pub(crate) say: fn(f64) -> String,
}

/// A chart.
#[derive(Debug)]
pub(crate) struct Figure<'a> {
    /// Its name within the page.
    pub(crate) id: &'static str,
    /// What it shows.
    pub(crate) title: &'static str,
    /// What is to be seen in it, in a few words.
    pub(crate) gist: &'a str,
    /// Its lines.
    pub(crate) keys: &'a [Key],
}

impl Figure<'_> {
    /// Opens the figure and writes what stands above the drawing.
    pub(crate) fn begin(&self, page: &mut Markup) {
        page.open("figure", &[("id", &self.id)]);
        page.open("figcaption", &[]);
        page.element("h3", &[], self.title);
        if !self.gist.is_empty() {
            page.element("p", &[("class", &"gist")], self.gist);
        }
        if !self.keys.is_empty() {
            page.open("ul", &[("class", &"legend")]);
            for key in self.keys {
                page.open("li", &[]);
                page.open(
                    "svg",
                    &[("class", &"key"), ("width", &18), ("height", &12), ("aria-hidden", &"true")],
                );
                if key.class.starts_with("line") {
                    let at: [(&'static str, &dyn std::fmt::Display); 5] =
                        [("class", &key.class), ("x1", &1), ("x2", &17), ("y1", &6), ("y2", &6)];
                    page.leaf("line", &at);
                } else {
                    let of: [(&'static str, &dyn std::fmt::Display); 5] =
                        [("class", &key.class), ("x", &1), ("y", &1), ("width", &16), ("height", &10)];
                    page.leaf("rect", &of);
                }
                page.close();
                page.words(key.words);
                page.close();
            }
            page.close();
        }
        page.close();
    }
}

/// Opens the two drawings of a plot: `names` writes the left one, `body` the right one. `titled` is what a screen reader
/// says of it.
pub(crate) fn plot(
    page: &mut Markup,
    height: u32,
    titled: &str,
    names: impl FnOnce(&mut Markup),
    body: impl FnOnce(&mut Markup),
) {
    page.open("div", &[("class", &"plot")]);
    let class: (&'static str, &dyn std::fmt::Display) = ("class", &"names");
    page.open("svg", &[class, ("width", &NAMES), ("height", &(height + TIMES)), ("aria-hidden", &"true")]);
    names(page);
    page.close();
    let size: (&'static str, &dyn std::fmt::Display) = ("height", &(height + TIMES));
    page.open("svg", &[("class", &"picture"), ("width", &"100%"), size, ("role", &"img")]);
    page.element("title", &[], titled);
    body(page);
    page.close();
    page.close();
}

/// Writes a name or a value on the left; `y` is its middle.
pub(crate) fn name(page: &mut Markup, y: f64, text: &str) {
    page.element("text", &[("x", &(NAMES - 8)), ("y", &Number(y + 4.0)), ("text-anchor", &"end")], text);
}

/// A rectangle on the time axis, with what it means when one points at it.
pub(crate) struct Block<'a> {
    /// How it is drawn.
    pub(crate) class: &'a str,
    /// From where to where, from 0 to 1.
    pub(crate) from: f64,
    /// See `from`.
    pub(crate) to: f64,
    /// Its upper edge.
    pub(crate) y: f64,
    /// Its height.
    pub(crate) height: f64,
    /// What it means.
    pub(crate) title: &'a str,
}

impl Block<'_> {
    /// Draws it.
    pub(crate) fn draw(&self, page: &mut Markup) {
        let width = (self.to - self.from).max(0.0);
        page.open(
            "rect",
            &[
                ("class", &self.class),
                ("x", &Percent(self.from)),
                ("y", &Number(self.y)),
                ("width", &Percent(width)),
                ("height", &Number(self.height)),
            ],
        );
        if !self.title.is_empty() {
            page.element("title", &[], self.title);
        }
        page.close();
    }

    /// Writes a text into it, where it fits.
    pub(crate) fn label(&self, page: &mut Markup, class: &str, text: &str) {
        let Some(fit) = fit(text, self.to - self.from) else { return };
        let class = format!("{class}{fit}");
        let middle = Percent((self.from + self.to) / 2.0);
        let y = Number(self.y + self.height / 2.0 + 4.0);
        page.element(
            "text",
            &[("class", &class), ("x", &middle), ("y", &y), ("text-anchor", &"middle")],
            text,
        );
    }
}

/// The class that hides a text where it does not fit into this share of the width; `None` where it never does.
pub(crate) fn fit(text: &str, share: f64) -> Option<&'static str> {
    let needed = (text.chars().count() as f64 * CHARACTER + 8.0) / share.max(1e-9);
    match needed {
        ..=205.0 => Some(""),
        ..=400.0 => Some(" fit1"),
        ..=620.0 => Some(" fit2"),
        ..=860.0 => Some(" fit3"),
        _ => None,
    }
}

impl Sheet<'_> {
    /// The shaded outages, behind everything.
    pub(crate) fn bands(&self, page: &mut Markup, height: u32) {
        for (from, to, title) in self.shaded() {
            let band = Block { class: "band", from, to, y: 0.0, height: f64::from(height), title: &title };
            band.draw(page);
        }
    }

    fn shaded(&self) -> Vec<(f64, f64, String)> {
        let place = |outage: &Outage| (self.time.at(outage.start), self.time.at(outage.end));
        let outages = &self.facts.outages;
        if outages.len() <= BANDS {
            return outages
                .iter()
                .map(|outage| {
                    let (from, to) = place(outage);
                    let lasted = length(outage.end - outage.start);
                    (from, to, format!("outage {}: {lasted}, {}", outage.number, outage.why()))
                })
                .collect();
        }
        // Of very many only those are shaded that are wide enough to be seen: the rest would join to one red wall.
        let wide = outages.iter().map(place).filter(|(from, to)| to - from >= 1.0 / NARROWEST);
        wide.take(BANDS).map(|(from, to)| (from, to, String::new())).collect()
    }

    /// The times below a plot of this height, with their lines.
    pub(crate) fn times(&self, page: &mut Markup, height: u32) {
        for tick in self.time.ticks() {
            let fit = if tick.minor { " fit2" } else { "" };
            let x = Percent(tick.at);
            let class = format!("grid{fit}");
            page.leaf(
                "line",
                &[("class", &class), ("x1", &x), ("x2", &x), ("y1", &0), ("y2", &(height + 4))],
            );
            let anchor = match tick.at {
                ..0.02 => "start",
                0.97.. => "end",
                _ => "middle",
            };
            let class = format!("tick{fit}");
            page.element(
                "text",
                &[("class", &class), ("x", &x), ("y", &(height + 17)), ("text-anchor", &anchor)],
                &tick.label,
            );
        }
    }

    /// The time of a row, in words.
    pub(crate) fn when(&self, ms: f64) -> String {
        when(ms)
    }

    /// The table behind a chart of these columns.
    pub(crate) fn table(&self, page: &mut Markup, columns: &[Column]) {
        let samples = &self.facts.samples;
        let rows = samples.t_ms.len();
        let every = rows.div_ceil(ROWS).max(1);
        page.open("details", &[]);
        page.element("summary", &[], "Table");
        scroller(page, "Measured values");
        page.open("table", &[]);
        let names: Vec<&str> =
            std::iter::once("time").chain(columns.iter().map(|column| column.name)).collect();
        head(page, &names);
        page.open("tbody", &[]);
        for from in (0..rows).step_by(every) {
            let to = (from + every).min(rows);
            page.open("tr", &[]);
            page.element("th", &[("scope", &"row")], &self.when(samples.t_ms[from]));
            for Column { samples: column, say, .. } in columns {
                let worst = samples.column(column).get(from..to).unwrap_or(&[]);
                let worst = worst.iter().flatten().copied().reduce(f64::max);
                page.element("td", &[], &worst.map_or_else(|| "–".to_owned(), say));
            }
            page.close();
        }
        page.close();
        page.close();
        page.close();
        if every > 1 {
            page.element("p", &[("class", &"note")], &format!("each row is the highest of {every} samples"));
        }
        page.close();
    }
}

/// A time since the start, exact enough to find it again.
pub(crate) fn when(ms: f64) -> String {
    match ms {
        3_600_000.0.. => {
            let seconds = (ms / 1e3) as u64;
            format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
        }
        60_000.0.. => format!("{}:{:04.1}", (ms / 60_000.0) as u64, ((ms % 60_000.0) / 100.0).floor() / 10.0),
        _ => format!("{:.2} s", ms / 1e3),
    }
}

/// A box that scrolls by itself, also by the keyboard, so that no table makes the page wider than the screen.
pub(crate) fn scroller(page: &mut Markup, label: &str) {
    let label: (&'static str, &dyn std::fmt::Display) = ("aria-label", &label);
    page.open("div", &[("class", &"scroll"), ("tabindex", &"0"), ("role", &"region"), label]);
}

/// The head of a table.
pub(crate) fn head(page: &mut Markup, names: &[&str]) {
    page.open("thead", &[]);
    page.open("tr", &[]);
    for name in names {
        page.element("th", &[("scope", &"col")], name);
    }
    page.close();
    page.close();
}
