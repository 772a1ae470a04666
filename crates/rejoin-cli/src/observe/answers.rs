//! The two answers people look for, in words: will it be delivered, and is the link open.

use std::time::Duration;

use super::document::{Answer, Answers, LinkWord, OutlookWord, StateView, Tone};

/// Both answers for this moment of the run.
pub(crate) fn answers(state: &StateView, now_ms: u64) -> Answers {
    Answers { deliver: deliver(state), link: link(state, now_ms) }
}

fn deliver(state: &StateView) -> Answer {
    let why = || state.why.clone().unwrap_or_else(|| "the reason is not known".to_owned());
    let (word, detail, tone) = match state.outlook {
        OutlookWord::Now => ("YES, now", waiting(state), Tone::Good),
        OutlookWord::Later => {
            let place = if state.durable { "on disk" } else { "in memory" };
            ("YES, when the link is back", format!("{place}, {}", waiting(state)), Tone::Wait)
        }
        OutlookWord::Blocked => {
            ("NO, not as things are", format!("{}; {}", why(), waiting(state)), Tone::Bad)
        }
        OutlookWord::Never => ("NO", why(), Tone::Bad),
    };
    Answer { word: word.to_owned(), detail, tone }
}

fn waiting(state: &StateView) -> String {
    match (state.ahead, state.oldest_ms) {
        (0, _) => "nothing waiting".to_owned(),
        (n, Some(oldest)) => format!("{n} waiting, oldest {}", length(oldest)),
        (n, None) => format!("{n} waiting"),
    }
}

fn link(state: &StateView, now_ms: u64) -> Answer {
    let silent = || match state.heard_ms {
        Some(heard) => format!("nothing heard for {}", length(now_ms.saturating_sub(heard))),
        None => "nothing heard yet".to_owned(),
    };
    let reason = || state.reason.clone().or_else(|| state.last_loss.clone());
    let because = |rest: String| match reason() {
        Some(reason) => format!("{reason}; {rest}"),
        None => rest,
    };
    let (word, detail, tone) = match state.link {
        LinkWord::Open => {
            let heard = state.heard_ms.map(|heard| length(now_ms.saturating_sub(heard)));
            let heard = heard.map_or_else(String::new, |ago| format!(", heard {ago} ago"));
            let ready = if state.ready { "" } else { "; not every subscription is granted" };
            let open = length(now_ms.saturating_sub(state.since_ms));
            ("YES", format!("for {open}{heard}{ready}"), Tone::Good)
        }
        LinkWord::Suspect => ("IN DOUBT", format!("{}, a ping is unanswered", silent()), Tone::Wait),
        LinkWord::Connecting => {
            let attempt = state.attempt.unwrap_or(1);
            let stage = state.stage.as_deref().unwrap_or("opening");
            ("NO", because(format!("attempt {attempt} is under way ({stage})")), Tone::Wait)
        }
        LinkWord::Waiting => {
            let next = match state.until_ms {
                Some(until) if until > now_ms => format!("next try in {}", length(until - now_ms)),
                _ => "next try now".to_owned(),
            };
            let blocked = state.outlook == OutlookWord::Blocked;
            ("NO", because(next), if blocked { Tone::Bad } else { Tone::Wait })
        }
        LinkWord::Stopped | LinkWord::Closed => {
            ("NO", reason().unwrap_or_else(|| "the client stopped".to_owned()), Tone::Bad)
        }
    };
    Answer { word: word.to_owned(), detail, tone }
}

/// A length for people: `0.4 s`, `2.3 s`, `1m32s`.
fn length(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{:.1} s", (ms / 100) as f64 / 10.0),
        _ => crate::quantity::span(Duration::from_millis(ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_situation_has_its_two_answers() {
        let state = |link, outlook| StateView { link, outlook, ready: true, ..StateView::default() };
        let told = |state: &StateView| {
            let Answers { deliver, link } = answers(state, 10_000);
            format!(
                "{} ({}) {:?} / {} ({}) {:?}",
                deliver.word, deliver.detail, deliver.tone, link.word, link.detail, link.tone
            )
        };
        let open =
            StateView { heard_ms: Some(9_600), since_ms: 4_000, ..state(LinkWord::Open, OutlookWord::Now) };
        assert_eq!(told(&open), "YES, now (nothing waiting) Good / YES (for 6.0 s, heard 0.4 s ago) Good");
        let waiting = StateView {
            ahead: 115,
            oldest_ms: Some(2_345),
            until_ms: Some(10_400),
            reason: Some("ping-timeout".to_owned()),
            ..state(LinkWord::Waiting, OutlookWord::Later)
        };
        assert_eq!(
            told(&waiting),
            "YES, when the link is back (in memory, 115 waiting, oldest 2.3 s) Wait / \
             NO (ping-timeout; next try in 0.4 s) Wait"
        );
        let suspect = StateView {
            heard_ms: Some(7_700),
            durable: true,
            ..state(LinkWord::Suspect, OutlookWord::Later)
        };
        assert_eq!(
            told(&suspect),
            "YES, when the link is back (on disk, nothing waiting) Wait / \
             IN DOUBT (nothing heard for 2.3 s, a ping is unanswered) Wait"
        );
        let full = StateView {
            ahead: 9,
            why: Some("the queue is full".to_owned()),
            ..state(LinkWord::Waiting, OutlookWord::Blocked)
        };
        assert_eq!(
            told(&full),
            "NO, not as things are (the queue is full; 9 waiting) Bad / NO (next try now) Bad"
        );
        let stopped =
            StateView { why: Some("shut down".to_owned()), ..state(LinkWord::Stopped, OutlookWord::Never) };
        assert_eq!(told(&stopped), "NO (shut down) Bad / NO (the client stopped) Bad");
    }
}
