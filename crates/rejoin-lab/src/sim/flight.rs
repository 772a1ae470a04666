//! Flights of simulated clients: each life of each client as the recorder of users' clients writes it.

use std::sync::{Arc, Mutex, PoisonError};

use rejoin_core::flight::Sink;

/// Recordings, one for each process that lived.
#[derive(Debug, Default)]
pub(super) struct Tapes(Vec<Arc<Mutex<String>>>);

impl Tapes {
    /// A sink for a process that begins.
    pub(super) fn begin(&mut self) -> Sink {
        let tape = Arc::new(Mutex::new(String::new()));
        self.0.push(Arc::clone(&tape));
        Box::new(move |line| {
            let mut tape = tape.lock().unwrap_or_else(PoisonError::into_inner);
            tape.push_str(line);
            tape.push('\n');
            true
        })
    }

    /// What was written.
    pub(super) fn finish(self) -> Vec<String> {
        let text = |tape: &Mutex<String>| tape.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.0.iter().map(|tape| text(tape)).collect()
    }
}
