//! Digests of what an earlier process had taken, on a tape whose payloads are blanked.
//!
//! The digest itself stays out of the recording: where payloads are few, such as `on` and `off`, it would tell which it was.
//! And a replay has blanked payloads, which have other digests. So the state at the beginning says only that there is one,
//! and a line of its own gives it as the replay will reckon it, when a copy of the message comes. Of another message under
//! its identifier nothing has to be told.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::alike::{self, Alike};
use super::blank::BLANK;
use super::line::{Fields, Line};
use crate::codec::packet::PacketId;
use crate::engine::Engine;
use crate::event::MessageId;
use crate::session::{Content, Digest, Recovered};

/// What begins such a line.
pub(super) const MARK: &str = "= ";
/// A digest that no line gives: no copy came, so nothing ever has it.
pub(super) const UNTOLD: Digest = Digest(0);

const WORD: &str = "copy";

/// The messages of which only a digest is at hand.
#[derive(Debug, Default)]
pub(super) struct Untold(BTreeMap<MessageId, PacketId>);

impl Untold {
    pub(super) fn of(kept: &Recovered) -> Self {
        let untold = kept.held.iter().filter(|held| held.digest.is_some());
        Self(untold.filter_map(|held| Some((held.id, held.packet_id?))).collect())
    }

    /// After the engine read what came: lines for the messages of which it saw a copy.
    pub(super) fn lines(&mut self, engine: &Engine, alike: &mut Alike) -> Vec<String> {
        let mut lines = Vec::new();
        self.0.retain(|id, packet_id| match engine.held_content(*packet_id, *id) {
            Some(Some(Content::Whole(topic, payload))) => {
                let digest = Digest::of(topic, &blanked(*packet_id, payload, alike));
                let line = Line::new(WORD).with("id", id.0).with("digest", format_args!("{:016x}", digest.0));
                lines.push(format!("{MARK}{}", line.finish()));
                false
            }
            Some(_) => true,
            None => false,
        });
        lines
    }
}

/// The payload as it is on the tape.
fn blanked(packet_id: PacketId, payload: &Bytes, alike: &mut Alike) -> Vec<u8> {
    let mut blanked = vec![BLANK; payload.len()];
    if let Some(last) = blanked.last_mut() {
        *last = alike.letter(packet_id.get(), alike::sum(payload));
    }
    blanked
}

/// What such a line says, behind its mark.
pub(super) fn read(rest: &str) -> Option<(MessageId, Digest)> {
    let fields = Fields::of(rest).filter(|fields| fields.word == WORD)?;
    let digest = u64::from_str_radix(fields.get("digest")?, 16).ok()?;
    Some((MessageId(fields.number("id")?), Digest(digest)))
}

/// Puts the digests into the state a replay begins with: the engine has them from the beginning.
pub(super) fn foretell(kept: &mut Recovered, text: &str) {
    if kept.held.iter().all(|held| held.digest.is_none()) {
        return;
    }
    let told: BTreeMap<_, _> = text.lines().filter_map(|line| read(line.strip_prefix(MARK)?)).collect();
    for held in kept.held.iter_mut().filter(|held| held.digest.is_some()) {
        held.digest = told.get(&held.id).copied().or(held.digest);
    }
}

#[cfg(test)]
mod tests;
