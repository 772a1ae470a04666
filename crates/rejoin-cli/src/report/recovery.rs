//! Recovery: one stacked bar per outage, and all of them as a table.

use super::axis::{count, length};
use super::chart::{self, Block, Figure, Key, head, plot, scroller};
use super::markup::{Markup, Percent};
use crate::facts::{Facts, Outage, PHASES};

/// Height of a bar with the gap below it.
const ROW: f64 = 24.0;
const BAR: f64 = 16.0;

/// So many bars are drawn: of the longest outages.
const BARS: usize = 30;

/// So many rows has the table: the latest outages.
const ROWS: usize = 500;

/// The longest bar leaves room for its length in words.
const WIDEST: f64 = 0.78;

const CLASSES: [&str; PHASES.len()] = ["p1", "p2", "p3", "p4", "p5", "p6"];

/// Writes the bars and the table.
pub(crate) fn write(page: &mut Markup, facts: &Facts) {
    if facts.outages.is_empty() {
        page.element("p", &[("class", &"note")], "No link was lost.");
        return;
    }
    let mut shown: Vec<usize> = (0..facts.outages.len()).collect();
    shown.sort_by(|a, b| whole(&facts.outages[*b]).total_cmp(&whole(&facts.outages[*a])));
    shown.truncate(BARS);
    shown.sort_unstable();
    let gist = gist(facts, shown.len());
    let keys: Vec<Key> = PHASES.iter().zip(CLASSES).map(|((words, _), class)| Key { class, words }).collect();
    Figure { id: "recovery", title: "Where the time of each outage went", gist: &gist, keys: &keys }
        .begin(page);
    let longest = shown.iter().map(|n| whole(&facts.outages[*n])).fold(1.0, f64::max);
    let height = (shown.len() as f64 * ROW) as u32;
    let names = |page: &mut Markup| {
        for (row, n) in shown.iter().enumerate() {
            chart::name(page, row as f64 * ROW + BAR / 2.0, &format!("#{}", facts.outages[*n].number));
        }
    };
    plot(page, height, &format!("One bar per outage. {gist}"), names, |page| {
        for (row, n) in shown.iter().enumerate() {
            bar(page, &facts.outages[*n], row as f64 * ROW, WIDEST / longest);
        }
    });
    table(page, facts);
    page.close();
}

/// The phases one after the other. Resubscribing and draining both count from CONNACK: what they have in common is
/// shown once.
fn parts(outage: &Outage) -> [f64; PHASES.len()] {
    let mut parts = outage.phases.map(|phase| phase.unwrap_or(0.0));
    let sum: f64 = parts.iter().sum();
    let told = outage.total.unwrap_or(sum);
    if sum > told + 1.0 {
        parts[5] = (parts[5] - parts[4]).max(0.0);
    }
    parts
}

/// Of one that lasts the phase under way is in no sum yet.
fn whole(outage: &Outage) -> f64 {
    let sum: f64 = parts(outage).iter().sum();
    let known = if sum > 0.0 { sum } else { outage.total.unwrap_or(outage.end - outage.start) };
    if outage.lasts { known.max(outage.end - outage.start) } else { known }
}

fn bar(page: &mut Markup, outage: &Outage, y: f64, scale: f64) {
    let mut left = 0.0;
    let number = outage.number;
    for ((part, (words, _)), class) in parts(outage).into_iter().zip(PHASES).zip(CLASSES) {
        if part <= 0.0 {
            continue;
        }
        let title = format!("outage {number}: {words} {}", length(part));
        let block = Block { class, from: left, to: left + part * scale, y, height: BAR, title: &title };
        block.draw(page);
        left = block.to;
    }
    if left == 0.0 {
        left = whole(outage) * scale;
        let title = format!("outage {number}: not divided");
        Block { class: "band", from: 0.0, to: left, y, height: BAR, title: &title }.draw(page);
    }
    let end = whole(outage) * scale;
    if outage.lasts && left < end {
        let title = format!("outage {number}: lasts, not divided yet");
        Block { class: "band", from: left, to: end, y, height: BAR, title: &title }.draw(page);
        left = end;
    }
    let text = if outage.lasts { format!("{} so far", length(whole(outage))) } else { length(whole(outage)) };
    let x = Percent(left);
    page.element("text", &[("class", &"value"), ("x", &x), ("dx", &6), ("y", &(y + BAR / 2.0 + 4.0))], &text);
}

fn gist(facts: &Facts, shown: usize) -> String {
    let mut all: Vec<f64> = facts.outages.iter().map(whole).collect();
    all.sort_by(f64::total_cmp);
    let half = all.len() / 2;
    let middle = if all.len().is_multiple_of(2) { (all[half - 1] + all[half]) / 2.0 } else { all[half] };
    let longest = all.last().copied().unwrap_or(0.0);
    let mut gist = match all.len() {
        1 => format!("One outage of {}.", length(longest)),
        n => format!("{} outages, median {}, longest {}.", count(n as f64), length(middle), length(longest)),
    };
    let losses = facts.losses();
    if losses > all.len() as f64 {
        gist = format!("{} links were lost; of the last: {gist}", count(losses));
    }
    if shown < all.len() {
        gist.push_str(&format!(" The {shown} longest are drawn."));
    }
    gist
}

fn table(page: &mut Markup, facts: &Facts) {
    let injected = facts.outages.iter().any(|outage| !outage.injected.is_empty());
    scroller(page, "Outages");
    page.open("table", &[("class", &"outages")]);
    let mut names = vec!["#", "lost at", "cause"];
    if injected {
        names.push("injected");
    }
    names.extend(PHASES.map(|(name, _)| name));
    names.extend(["whole", "attempts", "drained", "session"]);
    head(page, &names);
    page.open("tbody", &[]);
    let skipped = facts.outages.len().saturating_sub(ROWS);
    for outage in facts.outages.iter().skip(skipped) {
        page.open("tr", &[]);
        page.element("th", &[("scope", &"row")], &outage.number.to_string());
        page.element("td", &[], &chart::when(outage.start));
        page.element("td", &[("class", &"words")], outage.why());
        if injected {
            page.element("td", &[], &outage.injected);
        }
        for phase in outage.phases {
            page.element("td", &[], &phase.map_or_else(|| "–".to_owned(), length));
        }
        let whole = if outage.lasts { "lasts".to_owned() } else { length(whole(outage)) };
        page.element("td", &[], &whole);
        for number in [outage.attempts, outage.drained] {
            page.element("td", &[], &number.map_or_else(|| "–".to_owned(), count));
        }
        page.element("td", &[], &outage.session);
        page.close();
    }
    page.close();
    page.close();
    page.close();
    if skipped > 0 {
        page.element(
            "p",
            &[("class", &"note")],
            &format!("the {skipped} before them are in the data at the end of this page"),
        );
    }
}
