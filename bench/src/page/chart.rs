//! Charts as SVG, without a library: bars with their figures.

use super::table::reference;
use crate::cast::{OURS, RAW};
use crate::figures::Figures;
use std::fmt::Write;

const BAR: usize = 14;
const LEFT: f64 = 260.0;
/// Where the longest bar ends.
const WIDTH: f64 = 560.0;

/// Bars below each other, in groups with a heading.
#[derive(Default)]
struct Bars {
    body: String,
    y: usize,
}

impl Bars {
    fn heading(&mut self, text: &str) {
        self.y += 30;
        let _ = writeln!(self.body, "<text x=\"10\" y=\"{}\" class=\"t\">{text}</text>", self.y);
        self.y += 10;
    }

    fn bar(&mut self, label: &str, ours: bool, share: f64, figure: &str) {
        let (class, text_y) = (if ours { "us" } else { "they" }, self.y + BAR - 3);
        let width = (share * WIDTH).clamp(1.0, WIDTH);
        let y = self.y;
        let _ = writeln!(self.body, "<text x=\"250\" y=\"{text_y}\" class=\"l\">{label}</text>");
        let height = BAR - 3;
        let _ = writeln!(
            self.body,
            "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" class=\"{class}\"/>"
        );
        let _ = writeln!(self.body, "<text x=\"{:.1}\" y=\"{text_y}\">{figure}</text>", LEFT + width + 5.0);
        self.y += BAR;
    }

    fn done(self) -> String {
        let height = self.y + 20;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
            <style>.t{{font-size:14px;font-weight:bold}}.l{{text-anchor:end}}.us{{fill:#0a7d4f}}.they{{fill:#9aa5b1}}</style>\n\
            <rect width=\"900\" height=\"{height}\" fill=\"#ffffff\"/>\n{}</svg>\n",
            self.body
        )
    }
}

fn found<'a>(all: &'a [Figures], key: &str) -> Option<&'a Figures> {
    all.iter().find(|figures| figures.key == key && !figures.all.is_empty())
}

/// Rates as multiples of the faster rumqttc.
pub(super) fn rates(all: &[Figures]) -> String {
    let mut bars = Bars::default();
    for (key, title) in
        [("rates-5", "MQTT 5, 256 B, window 100"), ("rates-4", "MQTT 3.1.1, 256 B, window 100")]
    {
        let Some(figures) = found(all, key) else { continue };
        bars.heading(&format!("{title}: rate as a multiple of rumqttc"));
        for case in figures.cases() {
            let Some(reference) = reference(figures, case) else { continue };
            for client in figures.clients().into_iter().filter(|client| *client != RAW) {
                let Some(rate) = figures.median(case, client, "rate_s") else { continue };
                let times = rate / reference;
                bars.bar(&format!("{case}, {client}"), client == OURS, times / 7.0, &format!("{times:.2}"));
            }
            bars.y += 8;
        }
    }
    bars.done()
}

/// What is better when it is short, on a logarithmic scale: the clients are orders of magnitude apart.
pub(super) fn recovery(all: &[Figures]) -> String {
    /// Key, case, metric, heading, what a figure is divided by to be in the heading's unit, the decades shown.
    const CHARTS: [(&str, &str, &str, &str, f64, (f64, f64)); 6] = [
        ("echo", "echo QoS 1", "p50_ms", "Round trip p50, ms, default options", 1.0, (-2.0, 3.0)),
        ("echo", "echo QoS 1", "p99_ms", "Round trip p99, ms, default options", 1.0, (-2.0, 3.0)),
        ("fin", "FIN", "first_ms", "From FIN to the first acknowledgement, ms", 1.0, (-2.0, 4.0)),
        (
            "back",
            "away",
            "first_ms",
            "From the broker's return to the first acknowledgement, ms",
            1.0,
            (-1.0, 4.0),
        ),
        ("idle", "10000 connections", "bytes_each", "Idle connection, KiB", 1024.0, (0.0, 3.0)),
        (
            "kill",
            "QoS 1",
            "seconds",
            "20,000 messages with a cut every 300 ms, s (who delivered all)",
            1.0,
            (0.0, 2.0),
        ),
    ];
    let mut bars = Bars::default();
    for (key, case, metric, title, unit, (from, to)) in CHARTS {
        let Some(figures) = found(all, key) else { continue };
        bars.heading(&format!("{title}, logarithmic"));
        for client in figures.clients() {
            let Some(value) = figures.median(case, client, metric).map(|value| value / unit) else {
                continue;
            };
            let share = (value.max(1e-6).log10() - from) / (to - from);
            bars.bar(client, client == OURS, share, &format!("{value:.2}"));
        }
    }
    bars.done()
}
