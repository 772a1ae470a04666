//! What the driver counts, as it happens.

use std::time::Duration;

use rejoin_core::codec::packet::Qos;
use rejoin_core::{LossCause, Message, OutageBill, Stage, Stats, StopReason, Timestamp};

use super::meter::{Meters, Run, Traffic};
use super::names;
use crate::error::PublishError;
use crate::events::Event;

/// The driver's pen.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// How far the present attempt came.
    reached: Stage,
    open: bool,
    state: &'static str,
    pings_answered: u64,
    pings_took: Duration,
    /// Made with the first message.
    runs: Option<Box<Runs>>,
}

/// What this turn measured of messages.
#[derive(Debug, Default)]
struct Runs {
    ack: [Run; 3],
    wait: [Run; 3],
    transit: Run,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            reached: Stage::Credentials,
            open: false,
            state: "",
            pings_answered: 0,
            pings_took: Duration::ZERO,
            runs: None,
        }
    }
}

impl Runs {
    fn flush(&mut self, traffic: &Traffic) {
        let (ack, wait) = (self.ack.iter_mut().zip(&traffic.ack), self.wait.iter_mut().zip(&traffic.wait));
        for (run, cells) in ack.chain(wait) {
            run.flush(cells);
        }
        self.transit.flush(&traffic.transit);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Recorder {
    fn runs(&mut self) -> &mut Runs {
        self.runs.get_or_insert_default()
    }

    /// The attempt goes on to this stage.
    pub(crate) const fn reached(&mut self, stage: Stage) {
        self.reached = stage;
    }

    /// A message was handed to the transport for the first time.
    pub(crate) fn first_sent(&mut self, qos: Qos, waited_micros: u64, meters: &Meters) {
        self.runs().wait[qos as usize].record(waited_micros, &meters.traffic.pen().wait[qos as usize]);
    }

    /// The broker acknowledged a message; at QoS 0 it was handed to the transport.
    pub(crate) fn delivered(&mut self, qos: Qos, took_micros: Option<u64>, meters: &Meters) {
        let index = qos as usize;
        let traffic = meters.traffic.pen();
        traffic.acked[index].add(1);
        let Some(micros) = took_micros else { return };
        match qos {
            Qos::AtMostOnce => self.runs().wait[index].record(micros, &traffic.wait[index]),
            _ => self.runs().ack[index].record(micros, &traffic.ack[index]),
        }
    }

    /// The broker answered a message after this time since it was sent; it was sent once.
    pub(crate) fn in_transit(&mut self, took: Duration, meters: &Meters) {
        self.runs().transit.record(micros(took), &meters.traffic.pen().transit);
    }

    /// A message ended otherwise.
    #[expect(clippy::unused_self, reason = "everything the driver counts goes through here")]
    pub(crate) fn failed(&self, why: &PublishError, meters: &Meters) {
        if let Some(reason) = names::failure(why) {
            meters.traffic.pen().failed[reason].add(1);
        }
    }

    #[expect(clippy::unused_self, reason = "everything the driver counts goes through here")]
    pub(crate) fn received(&self, message: &Message, meters: &Meters) {
        meters.traffic.pen().received[message.qos as usize][usize::from(message.dup)].add(1);
    }

    /// Something happened that is told as an event.
    pub(crate) fn event(&mut self, event: &Event, meters: &Meters) {
        match event {
            Event::Attempt { .. } => self.reached = Stage::Credentials,
            Event::AttemptFailed { cause, .. } => {
                let at = match cause {
                    LossCause::Open { stage, .. } => *stage,
                    LossCause::ConnectTimeout(_) => self.reached,
                    _ => Stage::Connack,
                };
                meters.trouble.pen().failed_at[at as usize].add(1);
            }
            Event::Opened { stages, session, outage, .. } => {
                self.open = true;
                meters.opened.add(1);
                meters.sessions[names::session(*session)].add(1);
                for (stage, took) in stages.iter() {
                    meters.stages[stage as usize].record(micros(took), 1);
                }
                if let Some(outage) = outage {
                    meters.trouble.pen().outage.record(micros(*outage), 1);
                }
            }
            Event::Closed { cause, .. } => {
                self.open = false;
                meters.trouble.pen().link_ends[names::link_end(cause)].add(1);
            }
            Event::Recovered { bill, .. } => recovered(bill, meters),
            Event::TakenOver { .. } => meters.trouble.pen().id_conflicts.add(1),
            // An orderly end closes a link that was never lost.
            Event::Stopped { reason: StopReason::Shutdown } if self.open => {
                self.open = false;
                let shutdown = LossCause::Local(rejoin_core::LocalCause::Shutdown);
                meters.trouble.pen().link_ends[names::link_end(&shutdown)].add(1);
            }
            // Told by whoever knows what a subscription may have missed.
            Event::Gap { .. } => meters.trouble.pen().gaps.add(1),
            _ => {}
        }
    }

    /// The link is in the state of this name, since then.
    pub(crate) fn state(&mut self, name: &'static str, since: Timestamp, meters: &Meters) {
        if self.state != name {
            self.state = name;
            meters.state_since.set(since.as_micros());
        }
    }

    /// A turn of the driver is over.
    pub(crate) fn turn(
        &mut self,
        stats: &Stats,
        in_flight: usize,
        oldest: Option<Timestamp>,
        meters: &Meters,
    ) {
        if let Some(runs) = &mut self.runs {
            runs.flush(meters.traffic.pen());
        }
        if stats.pings_answered != self.pings_answered {
            let took = stats.pings_took - self.pings_took;
            let answered = stats.pings_answered - self.pings_answered;
            (self.pings_answered, self.pings_took) = (stats.pings_answered, stats.pings_took);
            // A second ping waits for the answer to the first and the pause between two: there is only one in a turn.
            meters.ping.record(micros(took) / answered, answered);
        }
        meters.in_flight.set(in_flight as u64);
        meters.oldest.set(oldest.map_or(0, |at| at.as_micros() + 1));
    }
}

fn recovered(bill: &OutageBill, meters: &Meters) {
    let phases = [bill.detect, bill.refused, bill.waited, bill.connect, bill.resubscribe, bill.drain];
    for (cells, took) in meters.trouble.pen().recovery.iter().zip(phases) {
        cells.record(micros(took), 1);
    }
}
