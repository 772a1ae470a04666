//! A flight read back: the same engine, the same inputs at the same times, and what comes out beside what came out then.

use std::fmt;

use super::VERSION;
use super::call::{self, Call};
use super::line::Fields;
use super::settings;
use super::taken;
use super::told::Teller;
use super::weight::{HELD_MOST, Weight};
use crate::config::Config;
use crate::engine::Engine;
use crate::event::Event;
use crate::interface::Output;
use crate::session::Recovered;
use crate::text::Text;
use crate::time::{Now, Timestamp};

/// A flight that cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it and what to do.
    pub what: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Unreadable {}

/// The first output that is not the one recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line, from 1.
    pub line: usize,
    /// When, on the clock of the flight.
    pub at: Timestamp,
    /// What came out then.
    pub recorded: String,
    /// What comes out of this build; `None`: nothing does.
    pub replayed: Option<String>,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// Inputs given.
    pub inputs: u64,
    /// Outputs that were the same.
    pub outputs: u64,
    /// The time of the last input.
    pub until: Timestamp,
    /// Where this build goes another way. Inputs after it would answer what was never asked, so the replay ends there.
    pub difference: Option<Difference>,
    /// Why the recording ended before the client did, in the words of the recorder.
    pub cut: Option<String>,
    /// The client stopped. Where it did not, and nothing says why the recording ended, it was killed or the disk took no
    /// more.
    pub stopped: bool,
}

/// What a replay shows on its way, line by line.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// The engine is called.
    In(&'a Call),
    /// This came out, the same as then.
    Out(&'a Output),
    /// Nothing more comes out: whoever drives the engine has done all that it asked for.
    Idle,
}

/// Replays a flight. `look` sees every call and every output that is the same as recorded, with the line and the time.
///
/// # Errors
/// A file that is no flight, of another version, or damaged; one that makes a replay hold more than 1 GiB, four times the
/// largest packet of MQTT. A last line without its end is left out: the process that wrote it was killed.
pub fn replay(text: &str, look: impl FnMut(usize, Now, Step<'_>, &Engine)) -> Result<Replayed, Unreadable> {
    replay_within(text, HELD_MOST, look)
}

fn replay_within(
    text: &str,
    most: u64,
    mut look: impl FnMut(usize, Now, Step<'_>, &Engine),
) -> Result<Replayed, Unreadable> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines().enumerate().map(|(at, line)| (at + 1, line));
    let mut weight = Weight::up_to(most);
    let (mut engine, mut now) = match begin(&mut lines, &mut weight, whole)? {
        Begun::Flight(engine, now) => (*engine, now),
        Begun::Cut(why) => return Ok(Replayed { cut: Some(why), ..Replayed::default() }),
    };
    let mut teller = Teller::new();
    let mut found = Replayed { until: now.mono, ..Replayed::default() };
    for (line, content) in lines {
        let bad = |what: &str| Unreadable { line, what: what.to_owned() };
        match content.split_at_checked(2) {
            Some(("< ", rest)) => {
                let bytes = weight.admit(rest).ok_or_else(|| too_much(line, most))?;
                let (at, call) = timed(rest).ok_or_else(|| bad("this input cannot be read"))?;
                if at.mono < now.mono {
                    return Err(bad("the clock goes backwards"));
                }
                now = at;
                weight.add(&call, bytes);
                look(line, now, Step::In(&call), &engine);
                call.apply(&mut engine, now);
                found.inputs += 1;
                found.until = now.mono;
            }
            Some(("> ", recorded)) => {
                let output = engine.poll();
                let replayed = output.as_ref().map(|output| teller.line(output));
                if replayed.as_deref() != Some(recorded) {
                    let at = now.mono;
                    let recorded = recorded.to_owned();
                    found.difference = Some(Difference { line, at, recorded, replayed });
                    return Ok(found);
                }
                if let Some(output) = &output {
                    match output {
                        Output::Event(Event::Finished { id, .. }) => weight.answered(*id),
                        Output::Event(Event::Stopped { .. }) => found.stopped = true,
                        _ => {}
                    }
                    look(line, now, Step::Out(output), &engine);
                }
                found.outputs += 1;
            }
            None if content == "." => {
                if let Some(output) = engine.poll() {
                    let (at, recorded) = (now.mono, "nothing".to_owned());
                    let replayed = Some(teller.line(&output));
                    found.difference = Some(Difference { line, at, recorded, replayed });
                    return Ok(found);
                }
                weight.idle(&engine);
                look(line, now, Step::Idle, &engine);
            }
            // The engine knew it from the beginning.
            Some((taken::MARK, told)) if taken::read(told).is_some() => {}
            Some(("# ", why)) => {
                found.cut = Some(why.to_owned());
                return Ok(found);
            }
            _ => return Err(bad("this is no line of a flight")),
        }
    }
    Ok(found)
}

fn too_much(line: usize, most: u64) -> Unreadable {
    Unreadable {
        line,
        what: format!("from here on a replay would hold more than {most} bytes; no client does"),
    }
}

fn timed(rest: &str) -> Option<(Now, Call)> {
    let (mono, rest) = rest.split_once(' ')?;
    let (wall_ms, rest) = rest.split_once(' ')?;
    let now = Now::new(Timestamp::from_micros(mono.parse().ok()?), wall_ms.parse().ok()?);
    Some((now, Call::read(&Fields::of(rest)?)?))
}

/// What the head of a flight comes to.
enum Begun {
    Flight(Box<Engine>, Now),
    /// The recording ended in it.
    Cut(String),
}

/// Reads settings and state, up to the line that starts the engine; `whole` is the flight they are of.
fn begin<'a>(
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
    weight: &mut Weight,
    whole: &str,
) -> Result<Begun, Unreadable> {
    let mut config = Config::new(Text::default(), Text::default());
    let mut kept = Recovered::default();
    let mut last = 0;
    let mut first = true;
    for (line, content) in lines {
        let bad = |what: String| Unreadable { line, what };
        last = line;
        if std::mem::take(&mut first) {
            match content.strip_prefix("rejoin-flight ").map(|rest| rest.split(' ').next() == Some(VERSION)) {
                Some(true) => continue,
                Some(false) => {
                    let what = format!("a flight of another version; this program reads version {VERSION}");
                    return Err(bad(what));
                }
                None => return Err(bad("this is no flight; `--flight FILE` writes one".to_owned())),
            }
        }
        if let Some(why) = content.strip_prefix("# ") {
            return Ok(Begun::Cut(why.to_owned()));
        }
        let bytes = weight.admit(content).ok_or_else(|| too_much(line, weight.most()))?;
        weight.begin(bytes);
        if let Some(("set", rest)) = content.split_once(' ') {
            let set = rest.split_once(' ').and_then(|(name, value)| settings::set(&mut config, name, value));
            set.ok_or_else(|| bad("this setting is not known to this build".to_owned()))?;
            continue;
        }
        let fields = Fields::of(content).ok_or_else(|| bad("this line cannot be read".to_owned()))?;
        if fields.word != "start" {
            call::read_kept(&mut kept, &fields)
                .ok_or_else(|| bad("this piece of state cannot be read".to_owned()))?;
            continue;
        }
        let start = || {
            let mono = Timestamp::from_micros(fields.number("mono")?);
            Some((fields.number("seed")?, Now::new(mono, fields.number("wall_ms")?)))
        };
        let (seed, now) = start().ok_or_else(|| bad("the start cannot be read".to_owned()))?;
        taken::foretell(&mut kept, whole);
        return match Engine::new(config, kept, seed, now) {
            Ok(engine) => Ok(Begun::Flight(Box::new(engine), now)),
            Err(error) => Err(bad(error.to_string())),
        };
    }
    Err(Unreadable { line: last + 1, what: "the flight ends before it starts".to_owned() })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use bytes::Bytes;

    use super::*;
    use crate::codec::packet::Qos;
    use crate::event::{Publication, PublishId};
    use crate::flight::Flight;
    use crate::interface::Input;
    use crate::topic::TopicName;

    /// A client that began and tries its first link.
    fn begun() -> String {
        let config = Config::new(Text::from_static("id"), Text::from_static("broker"));
        let settings: String = settings::write(&config).iter().map(|line| format!("{line}\n")).collect();
        format!("rejoin-flight {VERSION} rejoin=x\n{settings}start seed=42 mono=0 wall_ms=0\n< 0 0 tick\n")
    }

    fn within(text: &str, most: u64) -> Result<Replayed, Unreadable> {
        replay_within(text, most, |_, _, _, _| {})
    }

    #[test]
    fn a_few_bytes_that_claim_very_many_are_refused_before_they_are_made() {
        let head = begun();
        let lines = head.lines().count();
        // Topic `t`, QoS 1: a header, then a payload of blanks.
        let publish =
            |id: u32| format!("< 0 0 publish id={id} packet=32a08d0600017400010078x100000;,-,0,-,0\n");
        let received = "< 0 0 received bytes=x100000;\n";
        for two in [publish(1) + &publish(2), received.repeat(2)] {
            let refused = within(&format!("{head}{two}"), 150_000).unwrap_err();
            assert_eq!(refused.line, lines + 2, "{refused}");
            assert!(refused.what.contains("150000 bytes"), "{refused}");
            let most = within(&format!("{head}{two}"), HELD_MOST);
            assert!(most.as_ref().err().is_none_or(|other| !other.what.contains("would hold")), "{most:?}");
        }
        let refused = within(&format!("{head}< 0 0 received bytes=x268435400;x268435400;\n"), 400_000_000);
        assert_eq!(refused.unwrap_err().line, lines + 1, "one line is enough");
        let first = head.lines().next().unwrap();
        let refused = within(&format!("{first}\nheld bytes=x100000;\n"), 50_000).unwrap_err();
        assert!(refused.line == 2 && refused.what.contains("50000 bytes"), "{refused}");
    }

    #[test]
    fn a_recording_that_ended_in_its_head_says_why() {
        let head = begun();
        for kept in 1..4 {
            let part: String = head.lines().take(kept).map(|line| format!("{line}\n")).collect();
            let found = within(&format!("{part}# the limit of 20 bytes is reached\n"), HELD_MOST).unwrap();
            assert_eq!(found.cut.as_deref(), Some("the limit of 20 bytes is reached"));
        }
        assert!(!within(&head, HELD_MOST).unwrap().stopped, "its process was killed");
    }

    /// The tape of a client, with the world played by `script`.
    fn taped(change: impl FnOnce(&mut Config), script: impl FnOnce(&mut Flight)) -> String {
        let (sink, tape) = mpsc::channel();
        let write = move |line: &str| sink.send(format!("{line}\n")).is_ok();
        let mut config = Config::new(Text::from_static("id"), Text::from_static("broker"));
        change(&mut config);
        let start = Now::default();
        let mut flight = Flight::recorded(config, Recovered::default(), 42, start, Box::new(write)).unwrap();
        script(&mut flight);
        drop(flight);
        tape.iter().collect()
    }

    /// One input, and all that comes of it. A store that is asked for something does it at once.
    fn input(flight: &mut Flight, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            flight.handle(input, Now::default());
            while let Some(output) = flight.poll() {
                if let Output::Persist { ticket, .. } = output {
                    next = Some(Input::Persisted(ticket));
                }
            }
        }
    }

    const MOST: u64 = 1_000_000;

    #[test]
    fn one_held_message_does_not_make_all_that_comes_later_count() {
        let text = taped(
            |_| {},
            |flight| {
                input(flight, Input::Tick);
                input(flight, Input::Opened);
                let connack: &[u8] = &[0x20, 3, 0, 0, 0];
                // Topic `t`, QoS 2, identifier 1; nobody takes it.
                let held: &[u8] = &[0x34, 7, 0, 1, b't', 0, 1, 0, b'x'];
                // The same topic at QoS 0, with 10 kB.
                let passing = [&[0x30, 0x94, 0x4E, 0, 1, b't', 0][..], &[b'x'; 10_000]].concat();
                for bytes in [connack, held].into_iter().chain([&passing[..]; 200]) {
                    input(flight, Input::Received(Bytes::copy_from_slice(bytes)));
                }
                assert_eq!(flight.held().ids_held, 1);
            },
        );
        let found = within(&text, MOST).expect("twice what a replay may hold went by, and was not kept");
        assert!(found.difference.is_none() && found.inputs > 200, "{found:?}");
    }

    #[test]
    fn bodies_on_the_store_alone_do_not_count() {
        let publish = |flight: &mut Flight, id: u64| {
            let mut publication = Publication::new(TopicName::new("t").unwrap(), vec![b'x'; 10_000]);
            publication.qos = Qos::AtLeastOnce;
            flight.publish(PublishId(id), publication, Now::default()).unwrap();
            input(flight, Input::Tick);
        };
        let script = |flight: &mut Flight| (1..=200).for_each(|id| publish(flight, id));
        let durable = |config: &mut Config| {
            config.session.durable = true;
            config.session.memory_window_bytes = 50_000;
        };
        let found = within(&taped(durable, script), MOST).expect("a few bodies are in memory");
        assert!(found.difference.is_none() && found.inputs >= 200, "{found:?}");
        let refused = within(&taped(|_| {}, script), MOST).expect_err("without a store all of them are");
        assert!(refused.what.contains("would hold"), "{refused}");
    }
}
