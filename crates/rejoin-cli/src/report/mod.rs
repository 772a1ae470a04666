//! The report: one HTML file that shows a run to somebody who was not there. It needs no script, no network and no
//! program; the drawing is SVG made here, and the data it was made from is inside.
//!
//! ```text
//!   run document ──► Facts ──► charts and tables ──► page
//!         └────────────────────────────────────────► data in the page
//! ```

mod axis;
mod chart;
mod curves;
mod lanes;
mod lists;
mod markup;
mod recovery;
#[cfg(test)]
mod tests;
mod verb;

use jiff::Timestamp;
use serde_json::Value;

use crate::facts::{Answer, Facts, Tone};
use crate::study::Study;
use axis::TimeAxis;
use chart::Sheet;
use markup::Markup;

pub(crate) use axis::length;
pub(crate) use chart::when;
pub(crate) use verb::{Args, Page, run, save};

const STYLE: &str = include_str!("style.css");

/// No page may fetch or run anything, whatever is written into it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The report of a run document.
///
/// The same document makes the same bytes.
pub(crate) fn html(document: &Value) -> Result<String, String> {
    let facts = Facts::of(document)?;
    let mut page = Markup::default();
    page.raw("<!DOCTYPE html>\n");
    page.open("html", &[("lang", &"en")]);
    top(&mut page, &facts);
    page.open("body", &[]);
    patterns(&mut page);
    header(&mut page, &facts);
    page.open("main", &[]);
    banner(&mut page, &facts);
    answers(&mut page, &facts);
    page.open("div", &[("class", &"columns")]);
    page.open("section", &[("class", &"charts")]);
    page.element("h2", &[], "The run on one time axis");
    let sheet =
        Sheet { facts: &facts, time: TimeAxis::new(facts.started_unix_ms, &facts.steps, facts.now_ms) };
    lanes::write(&mut page, &sheet);
    curves::write(&mut page, &sheet);
    recovery::write(&mut page, &facts);
    page.close();
    page.open("div", &[("class", &"lists")]);
    if let Some(verdict) = &facts.verdict {
        lists::verdict(&mut page, verdict);
    }
    lists::health(&mut page, &facts);
    lists::events(&mut page, &facts);
    lists::repeat(&mut page, &facts);
    page.close();
    page.close();
    page.close();
    data(&mut page, document);
    Ok(page.finish())
}

fn top(page: &mut Markup, facts: &Facts) {
    page.open("head", &[]);
    page.leaf("meta", &[("charset", &"utf-8")]);
    page.leaf("meta", &[("name", &"viewport"), ("content", &"width=device-width, initial-scale=1")]);
    page.leaf("meta", &[("http-equiv", &"Content-Security-Policy"), ("content", &POLICY)]);
    page.leaf("meta", &[("name", &"color-scheme"), ("content", &"light dark")]);
    page.element("title", &[], &format!("rejoin {}: {}", facts.program.verb, headline(facts).1));
    page.open("style", &[]);
    page.raw(STYLE);
    page.close();
    page.close();
}

/// Hatches and dots, which all drawings of the page use.
fn patterns(page: &mut Markup) {
    page.open("svg", &[("class", &"defs"), ("width", &0), ("height", &0), ("aria-hidden", &"true")]);
    page.raw(include_str!("patterns.svg"));
    page.close();
}

fn header(page: &mut Markup, facts: &Facts) {
    page.open("header", &[]);
    page.open("h1", &[]);
    page.words("rejoin ");
    page.element("span", &[], &facts.program.verb);
    page.close();
    let mut about = Vec::new();
    if let Ok(start) = Timestamp::from_millisecond(facts.started_unix_ms as i64) {
        about.push(start.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    }
    about.push(length(facts.now_ms));
    about.push(facts.servers.join(", "));
    about.push(facts.client_id.clone());
    about.retain(|part| !part.is_empty());
    page.element("p", &[], &about.join(" · "));
    page.close();
}

/// The verdict, or what it comes to where nobody judged.
fn headline(facts: &Facts) -> (Tone, String, Vec<String>) {
    if let Some(verdict) = &facts.verdict {
        let title = if verdict.title.is_empty() {
            if verdict.pass { "PASS" } else { "FAIL" }
        } else {
            &verdict.title
        };
        let tone = if verdict.pass { Tone::Good } else { Tone::Bad };
        return (tone, title.to_owned(), verdict.lines.clone());
    }
    let study = Study::of(facts);
    let (tone, title) = match study.open {
        None | Some(0.0) => (Tone::Bad, "Never open".to_owned()),
        Some(open) => {
            let tone = if study.losses < 1.0 { Tone::Good } else { Tone::Wait };
            (tone, format!("Open {} % of {}", percent(open), length(study.watched_ms)))
        }
    };
    (tone, title, crate::watch::sentences(&study))
}

/// A share as people write it; only all of it is 100.
pub(crate) fn percent(share: f64) -> String {
    match share {
        1.0.. => "100".to_owned(),
        // The sum of nothing is minus zero.
        share => format!("{:.1}", (share * 1e3).floor() / 10.0 + 0.0),
    }
}

fn banner(page: &mut Markup, facts: &Facts) {
    let (tone, title, lines) = headline(facts);
    let class = format!("banner {}", lists::class(tone));
    page.open("section", &[("class", &class), ("aria-label", &"Verdict")]);
    page.open("p", &[("class", &"word")]);
    lists::sign(page, tone, 28);
    page.element("strong", &[], &title);
    page.close();
    for line in lines {
        // The verdict stands above already.
        let line = line.trim();
        page.element("p", &[], line.strip_prefix(title.as_str()).unwrap_or(line).trim());
    }
    page.close();
}

fn answers(page: &mut Markup, facts: &Facts) {
    page.open("section", &[("class", &"answers"), ("aria-label", &"At the end of the run")]);
    for (question, answer) in [("Will deliver", &facts.deliver), ("Link open", &facts.open)] {
        let Answer { word, detail, tone } = answer;
        let class = format!("answer {}", lists::class(*tone));
        page.open("div", &[("class", &class)]);
        page.element("h2", &[], &format!("{question}, at the end of the run"));
        page.open("p", &[("class", &"word")]);
        lists::sign(page, *tone, 22);
        page.element("strong", &[], if word.is_empty() { "not known" } else { word });
        page.close();
        page.element("p", &[], detail);
        page.close();
    }
    page.close();
}

/// The document itself, for programs and for who does not believe a drawing.
fn data(page: &mut Markup, document: &Value) {
    page.open("footer", &[]);
    page.element(
        "p",
        &[],
        "The data behind this page is in it: the element with id \"run\" is the run document as JSON (rejoin-run/1).",
    );
    page.close();
    page.open("script", &[("type", &"application/json"), ("id", &"run")]);
    page.raw(&markup::json_in_script(&document.to_string()));
    page.close();
}
