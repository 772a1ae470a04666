//! One direction of one connection: read, suffer, write. A queue by construction: nothing can overtake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

use super::fault::{Conditions, OneWay};
use super::frames::Frames;
use crate::wire::{Direction, Ending, Times};

/// Bytes read at a time.
const READ_SIZE: usize = 64 * 1024;
/// Bytes between reader and writer. More would hide a full path from its sender. Chunks are not counted: what is under
/// way for a time must not depend on how small its parts are.
const QUEUE_BYTES: u32 = 1 << 20;
/// Writes are this long, at a limited bandwidth.
const BEAT: Duration = Duration::from_millis(20);

/// What the reader hands to the writer.
enum Item {
    Chunk(Instant, Bytes, OwnedSemaphorePermit),
    /// The end of the stream, or of the connection.
    End(Instant, Ending),
    /// End the connection after all before it: a cut.
    Cut(Ending),
}

/// A direction of a path: where its bytes come from and go to, and what the conditions are.
pub(super) struct Pipe<'a> {
    pub(super) direction: Direction,
    pub(super) from: &'a TcpStream,
    pub(super) to: &'a TcpStream,
    pub(super) conditions: &'a watch::Sender<Conditions>,
}

impl Pipe<'_> {
    /// Runs until the stream ended in order, or the connection is to be ended (`Err`).
    pub(super) async fn run(self) -> Result<(), Ending> {
        let (queue, items) = mpsc::unbounded_channel();
        // Once a black hole has touched it, the connection is dead in this direction.
        let dead = watch::Sender::new(false);
        let write = self.write(items, &dead);
        let read = async {
            self.read(queue, &dead).await;
            Ok(())
        };
        tokio::try_join!(read, write).map(|_| ())
    }

    fn way<'c>(&self, conditions: &'c Conditions) -> &'c OneWay {
        if self.direction == Direction::Up { &conditions.up } else { &conditions.down }
    }

    fn look<T>(&self, look: impl FnOnce(&OneWay) -> T) -> T {
        look(self.way(&self.conditions.borrow()))
    }

    async fn until(&self, holds: impl Fn(&OneWay) -> bool) {
        let mut changes = self.conditions.subscribe();
        // The sender outlives every pipe, so this cannot fail.
        let _ = changes.wait_for(|conditions| holds(self.way(conditions))).await;
    }

    async fn read(&self, queue: mpsc::UnboundedSender<Item>, dead: &watch::Sender<bool>) {
        let room = Arc::new(Semaphore::new(QUEUE_BYTES as usize));
        let mut frames = Frames::new();
        let mut passed = 0u64;
        let mut last_due = Instant::now();
        let mut buffer = BytesMut::new();
        loop {
            self.until(|way| !way.stalled && !way.frozen).await;
            let readable = tokio::select! {
                ready = self.from.readable() => ready.is_ok(),
                () = self.until(|way| way.stalled || way.frozen) => continue,
            };
            buffer.reserve(READ_SIZE);
            let read =
                if readable { self.from.try_read_buf(&mut buffer) } else { Err(io::ErrorKind::Other.into()) };
            if self.look(|way| way.black_hole) {
                dead.send_replace(true);
            }
            last_due = last_due.max(Instant::now() + self.look(delay));
            let end = match read {
                Ok(0) => Some(Ending::Fin),
                Ok(_) => None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => Some(Ending::Rst),
            };
            if let Some(ending) = end {
                let _ = queue.send(Item::End(last_due, ending));
                return;
            }
            let chunk = self.suffer(buffer.split().freeze(), &mut frames);
            let (chunk, cut) = self.cut(chunk, &mut passed);
            if !chunk.is_empty() {
                let bytes = u32::try_from(chunk.len()).unwrap_or(u32::MAX).min(QUEUE_BYTES);
                // Nobody closes the semaphore.
                let Ok(room) = Arc::clone(&room).acquire_many_owned(bytes).await else { return };
                if queue.send(Item::Chunk(last_due, chunk, room)).is_err() {
                    return;
                }
            }
            if let Some(ending) = cut {
                let _ = queue.send(Item::Cut(ending));
                return;
            }
        }
    }

    /// Swallows the packets that are to be lost.
    fn suffer(&self, chunk: Bytes, frames: &mut Frames) -> Bytes {
        if frames.holds_nothing() && self.look(|way| way.losses.is_empty()) {
            frames.follow(&chunk);
            return chunk;
        }
        frames.filter(&chunk, &mut |kind| {
            let mut lost = false;
            // Nobody waits for a count to go down.
            self.conditions.send_if_modified(|conditions| {
                let up = self.direction == Direction::Up;
                let way = if up { &mut conditions.up } else { &mut conditions.down };
                lost = way.losses.iter_mut().any(|(which, times)| *which == kind && times.take());
                way.losses.retain(|(_, times)| *times != Times::Count(0));
                false
            });
            lost
        })
    }

    /// Counts what passes and ends it at the byte a cut names; a cut happens once.
    fn cut(&self, chunk: Bytes, passed: &mut u64) -> (Bytes, Option<Ending>) {
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        let reached = |way: &OneWay| way.cut.is_some_and(|(bytes, _)| *passed + length >= bytes);
        if !self.look(reached) {
            *passed += length;
            return (chunk, None);
        }
        let mut taken = None;
        self.conditions.send_if_modified(|conditions| {
            let way = if self.direction == Direction::Up { &mut conditions.up } else { &mut conditions.down };
            taken = way.cut.take();
            false
        });
        let Some((bytes, ending)) = taken else { return (chunk, None) };
        let keep = usize::try_from(bytes.saturating_sub(*passed)).unwrap_or(usize::MAX).min(chunk.len());
        (chunk.slice(..keep), Some(ending))
    }

    async fn write(
        &self,
        mut items: mpsc::UnboundedReceiver<Item>,
        dead: &watch::Sender<bool>,
    ) -> Result<(), Ending> {
        while let Some(item) = items.recv().await {
            // A timer is never shorter than a millisecond, so none is set without a delay.
            if let Item::Chunk(due, ..) | Item::End(due, _) = &item
                && *due > Instant::now()
            {
                tokio::time::sleep_until(*due).await;
            }
            self.until(|way| !way.frozen).await;
            if self.look(|way| way.black_hole) {
                dead.send_replace(true);
            }
            let is_dead = *dead.borrow();
            match item {
                Item::Cut(ending) => return Err(ending),
                Item::Chunk(..) | Item::End(..) if is_dead => {}
                Item::Chunk(_, chunk, _room) => self.write_chunk(chunk).await.map_err(|_| Ending::Rst)?,
                Item::End(_, Ending::Rst) => return Err(Ending::Rst),
                Item::End(_, Ending::Fin) => {
                    let _ = socket2::SockRef::from(self.to).shutdown(std::net::Shutdown::Write);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn write_chunk(&self, mut chunk: Bytes) -> io::Result<()> {
        while !chunk.is_empty() {
            self.until(|way| !way.frozen).await;
            let (slice, bandwidth) = self.look(|way| (way.slice, way.bandwidth));
            let mut most = chunk.len();
            if let Some(slice) = slice {
                most = most.min(fastrand::usize(1..=slice));
            }
            if let Some(rate) = bandwidth {
                let beat = rate.saturating_mul(u64::try_from(BEAT.as_millis()).unwrap_or(1)) / 1_000;
                most = most.min(usize::try_from(beat.max(1)).unwrap_or(usize::MAX));
            }
            self.to.writable().await?;
            match self.to.try_write(&chunk[..most]) {
                Ok(n) => {
                    chunk.advance(n);
                    if let Some(rate) = bandwidth {
                        let micros = (n as u64).saturating_mul(1_000_000) / rate;
                        tokio::time::sleep(Duration::from_micros(micros)).await;
                    }
                    if slice.is_some() {
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn delay(way: &OneWay) -> Duration {
    way.latency.map_or(Duration::ZERO, |(delay, jitter)| delay + jitter.mul_f64(fastrand::f64()))
}
