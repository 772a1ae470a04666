//! `rejoin queue show`.

use rejoin::PublishId;
use rejoin::store::tools::{Answer, Body, Entry, Request};

use super::args::ShowArgs;
use super::page::{Halt, Page, clean};
use super::{ask, entry};
use crate::exit::{Exit, Failure};
use crate::quantity::size;

/// Payloads above this are not shown whole on a terminal; `--payload` writes them.
const SHOWN_BYTES: usize = 4096;

/// Shows one message.
pub(super) fn run(args: &ShowArgs) -> Result<Exit, Halt> {
    let request = Request::Show(PublishId(args.id));
    let Answer::Bodies { bodies, .. } = ask::ask(&args.at.folder, &request)?.answer else {
        return Err(ask::other_answer().into());
    };
    let Some((found, body)) = bodies.first() else {
        return Err(Failure::local(format!(
            "no message {} is in the queue; it was delivered, or never there (`rejoin queue ls` shows what is)",
            args.id
        ))
        .into());
    };
    let mut page = Page::new();
    if args.payload {
        let body = body.as_ref().ok_or_else(|| Failure::local("its payload cannot be read"))?;
        page.bytes(entry::parts(body).0)?;
    } else if args.at.json {
        page.object(entry::whole(found, body.as_ref()))?;
    } else {
        in_words(&mut page, found, body.as_ref())?;
    }
    page.flush()?;
    Ok(Exit::Done)
}

fn in_words(page: &mut Page, found: &Entry, body: Option<&Body>) -> Result<(), Halt> {
    let now = entry::now_ms();
    for (name, value) in entry::object(found) {
        let value = match (name.as_str(), value.as_str(), value.as_u64()) {
            (_, Some(text), _) => clean(text),
            ("payload_bytes", _, Some(bytes)) => size(bytes),
            (name, _, Some(at)) if name.ends_with("_unix_ms") => moment(at, now),
            _ => value.to_string(),
        };
        let name = name.trim_end_matches("_unix_ms").trim_end_matches("_bytes").replace('_', " ");
        page.line(&format!("{name:<20}{value}"))?;
    }
    let Some(body) = body else { return page.line("payload cannot be read") };
    let (payload, properties) = entry::parts(body);
    if let Some(properties) = properties {
        for (name, value) in entry::told(properties) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            page.line(&format!("{:<20}{}", name.replace('_', " "), clean(&value)))?;
        }
    }
    page.line("")?;
    match std::str::from_utf8(payload) {
        Ok(text) if payload.len() <= SHOWN_BYTES => text.lines().try_for_each(|line| page.line(&clean(line))),
        _ => page.line(&format!(
            "({} of payload, not shown: --payload writes it as it is, --json as text)",
            size(payload.len() as u64)
        )),
    }
}

/// A moment as date, time and distance.
fn moment(at_ms: u64, now_ms: u64) -> String {
    let date = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let date = date.map_or_else(|| "a moment no calendar has".to_owned(), |date| format!("{date:.3}"));
    if at_ms <= now_ms {
        format!("{date}, {} ago", entry::since(at_ms, now_ms))
    } else {
        format!("{date}, in {}", entry::since(now_ms, at_ms))
    }
}
