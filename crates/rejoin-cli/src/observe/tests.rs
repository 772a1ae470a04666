//! Stories told to the model of a run, and what its documents say then.

use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use rejoin::{Event, LossCause, OutageBill, SessionState, StopReason, TransportErrorKind, Verdict, Version};
use rejoin_core::TransportError;
use rejoin_core::error::Stage;

use super::document::{
    ClockStep, Document, Figure, HealthView, LinkWord, OutlookWord, Program, StateView, Subject, Totals,
    VerdictView,
};
use super::recording::{self, Recording};
use super::run::{Head, Moment, Run, STEPS_MAX};
use super::update::Update;
use crate::narrator::Role;

const MS: fn(u64) -> Duration = Duration::from_millis;

pub(super) fn head(proxied: bool) -> Head {
    Head {
        program: Program {
            version: "0.1.0".to_owned(),
            verb: "watch".to_owned(),
            command: "rejoin watch mqtt://broker".to_owned(),
            seed: None,
            machine: "linux x86_64, 2 cores".to_owned(),
        },
        started_unix_ms: 1_764_150_000_000,
        subject: Subject {
            id: "gw-17".to_owned(),
            servers: vec!["broker:1883".to_owned()],
            name: String::new(),
        },
        role: Role { publishes: true, subscribes: true, ..Role::default() },
        controls: if proxied { vec!["cut".to_owned(), "heal".to_owned()] } else { vec!["nudge".to_owned()] },
        proxied,
        zone: TimeZone::UTC,
    }
}

fn closed() -> Event {
    Event::Closed {
        cause: LossCause::PingTimeout(Duration::from_secs(5)),
        verdict: Verdict::Now,
        lasted: MS(2_000),
        in_flight: 3,
        queued: 0,
        next_in: Some(MS(140)),
        held_by_budget: false,
    }
}

fn failed() -> Event {
    let error = TransportError::new(TransportErrorKind::Refused, "os error 111");
    Event::AttemptFailed {
        attempt: 1,
        server: 0,
        cause: LossCause::Open { stage: Stage::Tcp, error },
        verdict: Verdict::Absent,
        next_in: Some(MS(500)),
        held_by_budget: false,
        repeated: 1,
        stages: Box::default(),
    }
}

fn opened(session: SessionState, outage: Option<Duration>) -> Event {
    Event::Opened {
        server: 0,
        version: Version::V5,
        attempt: 1,
        took: MS(12),
        stages: Box::default(),
        session,
        outage,
        resending: 3,
    }
}

fn recovered() -> Event {
    let bill = OutageBill {
        detect: MS(1_500),
        refused: MS(20),
        waited: MS(640),
        connect: MS(12),
        resubscribe: MS(3),
        drain: MS(30),
        total: MS(702),
    };
    Event::Recovered { bill, drained: 118 }
}

fn moment(link: LinkWord, ahead: u64, accepted: u64) -> Moment {
    let open = link == LinkWord::Open;
    Moment {
        state: StateView {
            link,
            is_connected: true,
            is_connection_open: open,
            ready: open,
            outlook: if open { OutlookWord::Now } else { OutlookWord::Later },
            ahead,
            heard_ms: open.then_some(900),
            server: "broker:1883".to_owned(),
            ..StateView::default()
        },
        client_id: "gw-17".to_owned(),
        totals: Totals { accepted, acked: accepted - ahead, ..Totals::default() },
        ack_ms: [Some(Figure(1.5)), None, None],
        health: HealthView { status: "healthy".to_owned(), checks: Vec::new() },
        ..Moment::default()
    }
}

/// A link is frozen, given up, refused once, and comes back.
fn scripted_outage() -> (Document, Vec<Update>) {
    let mut run = Run::new(head(true));
    let mut updates = Vec::new();
    let open = |ahead, accepted| moment(LinkWord::Open, ahead, accepted);
    run.truth(0, true);
    run.tell(0, &Event::Attempt { attempt: 1, server: 0 });
    run.tell(12, &opened(SessionState::New, None));
    run.tell(13, &Event::Resubscribed { granted: 1, refused: 0 });
    for (now, accepted) in [(250, 5), (500, 10), (750, 15), (1_000, 20)] {
        run.observe(open(0, accepted));
        run.sample(now);
        updates.push(run.update(now));
    }
    run.inject(1_000, "freeze", "the link is frozen: no FIN, no RST, the socket looks open");
    run.truth(1_000, false);
    run.tell(1_800, &Event::Suspect { silent_for: MS(800) });
    run.observe(moment(LinkWord::Suspect, 40, 60));
    run.sample(2_000);
    updates.push(run.update(2_000));
    run.tell(2_500, &closed());
    run.observe(moment(LinkWord::Waiting, 60, 80));
    updates.push(run.update(2_500));
    run.tell(2_640, &Event::Attempt { attempt: 1, server: 0 });
    run.tell(2_660, &failed());
    run.heal(3_000, "freeze", "the link goes on");
    run.truth(3_000, true);
    run.tell(3_160, &Event::Attempt { attempt: 2, server: 0 });
    run.tell(3_172, &opened(SessionState::Kept, Some(MS(672))));
    run.tell(3_175, &Event::Resubscribed { granted: 1, refused: 0 });
    run.tell(3_202, &recovered());
    run.observe(open(0, 120));
    run.sample(3_250);
    updates.push(run.update(3_250));
    run.judge(VerdictView { pass: true, title: "PASS".to_owned(), ..VerdictView::default() });
    run.tell(3_400, &Event::Stopped { reason: StopReason::Shutdown });
    updates.push(run.update(3_400));
    (run.document().clone(), updates)
}

#[test]
fn the_document_of_a_scripted_outage_is_the_one_in_the_file() {
    let (document, _) = scripted_outage();
    let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/observe/tests/outage.json");
    if std::env::var_os("REJOIN_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, golden, "REJOIN_BLESS=1 writes the file anew: look at its difference");
    assert_eq!(serde_json::from_str::<Document>(&text).unwrap(), document, "what is written can be read");
    let outage = &document.outages[0];
    let whole = outage.total_ms.unwrap().0;
    assert!((whole - (outage.end_ms.unwrap() - outage.start_ms) as f64).abs() <= 1.0, "{outage:?}");
    assert_eq!(outage.injected.as_deref(), Some("freeze"));
    assert_eq!(document.honesty.unwrap().claimed_open_while_closed_ms, 800);
}

#[test]
fn a_change_over_to_new_credentials_is_in_no_list_of_outages() {
    let mut run = Run::new(head(false));
    run.tell(0, &Event::Attempt { attempt: 1, server: 0 });
    run.tell(12, &opened(SessionState::New, None));
    let cause = LossCause::Local(rejoin_core::error::LocalCause::Renewal);
    let Event::Closed { verdict, lasted, in_flight, queued, next_in, held_by_budget, .. } = closed() else {
        unreachable!()
    };
    run.tell(900, &Event::Closed { cause, verdict, lasted, in_flight, queued, next_in, held_by_budget });
    run.tell(901, &Event::Attempt { attempt: 1, server: 0 });
    run.tell(905, &opened(SessionState::Kept, Some(MS(5))));
    run.tell(906, &recovered());
    run.update(1_000);
    assert_eq!(run.document().outages, []);
}

#[test]
fn the_state_says_since_when_also_between_attempts_and_after_the_end() {
    let mut run = Run::new(head(false));
    run.tell(0, &Event::Attempt { attempt: 1, server: 0 });
    run.tell(12, &opened(SessionState::New, None));
    run.tell(2_500, &closed());
    run.observe(moment(LinkWord::Waiting, 0, 0));
    run.update(9_000);
    assert_eq!(run.document().state.since_ms, 2_500);
    run.tell(9_100, &Event::Stopped { reason: StopReason::Shutdown });
    run.observe(moment(LinkWord::Stopped, 0, 0));
    run.update(9_900);
    assert_eq!(run.document().state.since_ms, 9_100);
}

#[test]
fn a_clock_that_is_set_and_a_machine_that_slept_are_told_and_times_of_day_follow() {
    let mut run = Run::new(head(false));
    let started = run.document().clock.started_unix_ms;
    // 900 ms are the clocks being read one after another, or a clock that is drawn slowly to where it should be.
    for (at, ahead) in [(1_000, 0), (2_000, 900), (3_000, -900), (4_000, 0)] {
        run.wall(at, started.saturating_add(at).saturating_add_signed(ahead));
    }
    run.update(4_000);
    assert_eq!((run.document().clock.steps.len(), run.document().events.len()), (0, 0));
    assert_eq!(run.document().clock.now_unix_ms, started + 4_000);
    let hours = 3 * 3_600_000;
    run.wall(5_000, started + 5_000 + hours);
    run.tell(5_000, &Event::Attempt { attempt: 1, server: 0 });
    run.tell(5_100, &failed());
    let update = run.update(5_200);
    assert_eq!(update.now_unix_ms, started + 5_200 + hours);
    assert_eq!(update.steps.unwrap(), [ClockStep { at_ms: 5_000, offset_ms: hours as i64 }]);
    let told = &run.document().events[0];
    assert_eq!((told.word.as_str(), told.at_ms), ("clock", 5_000));
    assert!(told.text.contains("forward by 3h") && told.text.contains("slept"), "{told:?}");
    run.wall(6_000, started + 6_000);
    let told = run.update(6_000).events.pop().unwrap();
    assert!(told.text.contains("back by 3h"), "{told:?}");
    assert_eq!(run.document().clock.steps[1], ClockStep { at_ms: 6_000, offset_ms: 0 });
    assert_eq!(run.update(6_250).steps, None, "only what is new");
    for n in 0..STEPS_MAX as u64 * 2 {
        run.wall(7_000 + n, started + n % 2 * hours);
    }
    run.wall(10_000, u64::MAX);
    run.wall(10_001, 0);
    run.update(10_001);
    assert_eq!(run.document().clock.steps.len(), STEPS_MAX, "what is held is bounded");
}

#[test]
fn a_recording_read_again_is_the_run_and_its_torn_end_is_forgiven() {
    let (document, updates) = scripted_outage();
    let path = std::env::temp_dir().join(format!("rejoin-recording-{}.jsonl", std::process::id()));
    let mut recording = Recording::create(&path, Run::new(head(true)).document()).unwrap();
    for update in &updates {
        recording.append(update).unwrap();
    }
    recording.finish().unwrap();
    assert_eq!(recording::read(&path).unwrap(), document);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 40]).unwrap();
    let torn = recording::read(&path).unwrap();
    assert_eq!((torn.clock.now_ms, torn.verdict), (3_250, None), "all but the last update");
    for (text, part) in [
        (b"".to_vec(), "empty"),
        (b"{}\n".to_vec(), "the form is ``"),
        (b"nonsense\n".to_vec(), "line 1"),
        ([&whole[..], b"nonsense\n", &whole[..]].concat(), "is no update"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = recording::read(&path).unwrap_err();
        assert!(error.contains(part) && error.contains("rejoin-recording"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(recording::read(&path).unwrap_err().contains("cannot read"));
}

/// A folder of one test, gone with it.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("rejoin-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_recording_is_written_anew_at_its_limit_and_loses_nothing_the_run_holds() {
    let folder = Folder::new("recording-limit");
    let path = folder.0.join("run.jsonl");
    let limit = 16_000;
    let mut run = Run::new(head(false));
    let mut recording = Recording::within(&path, run.document(), limit).unwrap();
    run.tell(0, &opened(SessionState::New, None));
    let (mut before, mut renewed) = (0, 0);
    for n in 1..=400 {
        run.observe(moment(LinkWord::Open, n % 3, 10 * n));
        run.sample(n * 250);
        recording.append(&run.update(n * 250)).unwrap();
        let bytes = std::fs::metadata(&path).unwrap().len();
        let document = serde_json::to_vec(run.document()).unwrap().len() as u64;
        assert!(bytes <= limit.max(2 * document) + 2_000, "{bytes} bytes after {n}");
        renewed += u32::from(bytes < before);
        before = bytes;
    }
    recording.finish().unwrap();
    assert!((2..=60).contains(&renewed), "{renewed} times");
    assert_eq!(recording::read(&path).unwrap(), *run.document());
    let names: Vec<_> =
        std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["run.jsonl"], "nothing is left beside it");
}

#[test]
fn the_first_line_decides_what_a_file_is() {
    let (document, updates) = scripted_outage();
    let value = serde_json::to_value(&document).unwrap();
    let folder = Folder::new("first-line");
    let path = folder.0.join("run");
    let mut recording = Recording::create(&path, Run::new(head(true)).document()).unwrap();
    for update in &updates {
        recording.append(update).unwrap();
    }
    assert_eq!(recording::read_any(&path).unwrap(), value);
    let odd = serde_json::json!({"schema": "rejoin-run/1", "name of later": 1});
    for text in [odd.to_string(), format!("{odd}\n"), format!("{odd:#}\n")] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(recording::read_any(&path).unwrap(), odd, "a document alone is handed on as it is");
    }
    for (text, part) in
        [("", "empty"), ("nonsense\n", "line 1"), ("{\n 1", "line 1"), ("{}\n{}\n", "the form is")]
    {
        std::fs::write(&path, text).unwrap();
        let error = recording::read_any(&path).unwrap_err();
        assert!(error.contains(part) && error.contains("first-line"), "{text:?}: {error}");
    }
}

#[test]
fn an_update_holds_only_what_changed() {
    let mut run = Run::new(head(false));
    run.tell(0, &opened(SessionState::New, None));
    run.observe(moment(LinkWord::Open, 0, 5));
    run.sample(1);
    run.update(1);
    run.observe(moment(LinkWord::Open, 0, 5));
    let update = serde_json::to_value(run.update(1)).unwrap();
    let mut names: Vec<&str> = update.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["lanes", "now_ms", "now_unix_ms", "outages"], "{update}");
}

/// One step of a made-up story.
#[derive(Clone, Debug)]
enum Step {
    Tell(u8),
    Observe(u8, u8),
    Sample,
    Truth(bool),
    Inject,
    Heal,
    Wall(i32),
    Update,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..9_u8).prop_map(Step::Tell),
        3 => (0..4_u8, any::<u8>()).prop_map(|(link, n)| Step::Observe(link, n)),
        3 => Just(Step::Sample),
        1 => any::<bool>().prop_map(Step::Truth),
        1 => Just(Step::Inject),
        1 => Just(Step::Heal),
        1 => any::<i32>().prop_map(Step::Wall),
        4 => Just(Step::Update),
    ]
}

fn event(number: u8) -> Event {
    match number {
        0 => Event::Attempt { attempt: 1, server: 0 },
        1 => failed(),
        2 => opened(SessionState::Kept, None),
        3 => Event::Suspect { silent_for: MS(700) },
        4 => Event::Trusted,
        5 => closed(),
        6 => Event::Resubscribed { granted: 1, refused: 0 },
        7 => recovered(),
        _ => Event::Lagged(3),
    }
}

proptest! {
    /// Whoever has a snapshot and the updates that came after it has the snapshot of later.
    #[test]
    fn a_snapshot_and_its_updates_are_the_later_snapshot(
        steps in proptest::collection::vec((step(), 0..400_u64), 1..200),
        joins in 0..100_usize,
    ) {
        let mut run = Run::new(head(true));
        let mut followed: Option<Document> = None;
        let mut now = 0;
        for (number, (step, pause)) in steps.into_iter().chain([(Step::Update, 1)]).enumerate() {
            now += pause;
            match step {
                Step::Tell(number) => run.tell(now, &event(number)),
                Step::Observe(link, n) => {
                    let link = [LinkWord::Open, LinkWord::Suspect, LinkWord::Waiting, LinkWord::Connecting][link as usize];
                    run.observe(moment(link, u64::from(n), u64::from(n) + number as u64));
                }
                Step::Sample => run.sample(now),
                Step::Truth(passing) => run.truth(now, passing),
                Step::Inject => run.inject(now, "cut", "the link is cut"),
                Step::Heal => run.heal(now, "cut", "it is whole"),
                Step::Wall(ahead) => {
                    run.wall(now, (1_764_150_000_000 + now).saturating_add_signed(i64::from(ahead)));
                }
                Step::Update => {
                    let text = serde_json::to_string(&run.update(now)).unwrap();
                    let update: Update = serde_json::from_str(&text).unwrap();
                    if let Some(document) = &mut followed {
                        update.apply(document);
                        prop_assert_eq!(&*document, run.document());
                    } else if number >= joins {
                        let text = serde_json::to_string(run.document()).unwrap();
                        followed = Some(serde_json::from_str(&text).unwrap());
                    }
                }
            }
        }
    }
}
