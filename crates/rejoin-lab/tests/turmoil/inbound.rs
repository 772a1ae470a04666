//! What was sent to an application, and what its handler made of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rejoin::Qos;

/// The account of messages towards one application. Clones share it: the handler runs on a task of the client.
#[derive(Clone, Default)]
pub(crate) struct Inbound(Arc<Mutex<BTreeMap<u64, Letter>>>);

#[derive(Clone, Copy, Default)]
struct Letter {
    /// The broker had a subscriber for it.
    sent: Option<Qos>,
    calls: u32,
    successes: u32,
}

impl Inbound {
    fn with<T>(&self, number: u64, look: impl FnOnce(&mut Letter) -> T) -> T {
        look(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_default())
    }

    /// The broker took it for this application.
    pub(crate) fn sent(&self, number: u64, qos: Qos) {
        self.with(number, |letter| letter.sent = Some(qos));
    }

    /// The handler was called with it.
    pub(crate) fn called(&self, number: u64) {
        self.with(number, |letter| letter.calls += 1);
    }

    /// The handler dealt with it.
    pub(crate) fn dealt_with(&self, number: u64) {
        self.with(number, |letter| letter.successes += 1);
    }

    /// What is not as it should be once all is calm. `until_it_works`: a failed message comes again.
    pub(crate) fn complaints(&self, until_it_works: bool) -> Vec<String> {
        let letters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = letters.iter().filter_map(|(number, letter)| {
            let Letter { sent, calls, successes } = *letter;
            let said = match sent {
                None => "was never sent",
                Some(_) if calls == 0 => "never came to the handler",
                Some(_) if until_it_works && successes == 0 => "was given up",
                Some(Qos::ExactlyOnce) if until_it_works && successes > 1 => "worked twice at QoS 2",
                Some(Qos::ExactlyOnce) if !until_it_works && calls > 1 => "came twice at QoS 2",
                Some(_) => return None,
            };
            Some(format!("message {number} towards the application {said}"))
        });
        wrong.collect()
    }
}
