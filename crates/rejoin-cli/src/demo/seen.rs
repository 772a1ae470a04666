//! The demo as others see it: what it injects and what its proxy knows go to the observer, and what they ask for comes
//! back.

use std::time::{Duration, Instant};

use rejoin::{Client, Events};
use tokio::sync::mpsc;

use super::script::{Fault, Pace};
use super::world::Settings;
use crate::narrator::Role;
use crate::observe::document::{Document, VerdictView};
use crate::observe::flags::Places;
use crate::observe::observer::{Observer, Plan, Told};
use crate::observe::routes::{Action, Asked};
use crate::observe::{self};

/// Requests to act that wait for the next look at the script.
const ASKED: usize = 16;

/// Whoever looks on.
pub(crate) struct Seen {
    observer: Observer,
    asked: mpsc::Receiver<Asked>,
    /// Of the proxy's history, how many changes were told.
    truths: usize,
}

impl Seen {
    /// Begins to look at the demo's client. `server` is what stands for the broker.
    pub(crate) fn start(
        client: Client,
        events: Events,
        server: String,
        settings: &Settings,
        places: Places,
    ) -> Result<Self, String> {
        let role = Role { publishes: true, subscribes: true, ..Role::default() };
        let mut head = observe::head("demo", vec![server], role);
        head.program.seed = Some(settings.seed);
        head.subject.name = if settings.pace == Pace::FAST { "demo --fast" } else { "demo" }.to_owned();
        head.proxied = true;
        let offered = [Action::Cut, Action::Freeze, Action::Heal, Action::Restart];
        head.controls = offered.map(|action| action.name().to_owned()).into();
        let (sender, asked) = mpsc::channel(ASKED);
        let plan = Plan { head, places, recording: None, asked: Some(sender) };
        let observer = Observer::start(client, events, plan)?;
        Ok(Self { observer, asked, truths: 0 })
    }

    /// A fault begins.
    pub(crate) fn begin(&self, fault: Fault) {
        let label = fault.label().to_owned();
        self.observer.tell(Told::Inject { at: Instant::now(), what: fault.name(), label });
    }

    /// It is over.
    pub(crate) fn end(&self, fault: Fault) {
        let label = format!("{} no more", fault.label());
        self.observer.tell(Told::Heal { at: Instant::now(), what: fault.name(), label });
    }

    /// What the proxy knows by now.
    pub(crate) fn truth(&mut self, history: &[(Instant, bool)]) {
        for &(at, passing) in history.get(self.truths..).unwrap_or_default() {
            self.observer.tell(Told::Truth { at, passing });
        }
        self.truths = history.len();
    }

    /// The run was judged.
    pub(crate) fn judge(&self, verdict: VerdictView) {
        self.observer.tell(Told::Verdict(verdict));
    }

    /// The run with its verdict, which must have been told.
    pub(crate) async fn document(&self) -> Document {
        let live = self.observer.live();
        let mut newest = live.watch();
        let judged = async {
            while live.read(|document| document.verdict.is_none()) {
                if newest.changed().await.is_err() {
                    return;
                }
            }
        };
        // An observer that is held up is not waited for: the document is then as of its last look.
        let _ = tokio::time::timeout(Duration::from_secs(1), judged).await;
        live.read(Document::clone)
    }

    /// The next request to act.
    pub(crate) async fn asked(&mut self) -> Asked {
        match self.asked.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }

    /// Nothing is done from here on; the run is still shown.
    pub(crate) async fn close(&mut self) {
        self.asked.close();
        while let Ok(asked) = self.asked.try_recv() {
            let _ = asked.reply.send(Err("the run is over".to_owned()));
        }
        self.observer.settle().await;
    }
}

/// The next request to act; never, where nobody looks on.
pub(crate) async fn asked(seen: &mut Option<Seen>) -> Asked {
    match seen {
        Some(seen) => seen.asked().await,
        None => std::future::pending().await,
    }
}
