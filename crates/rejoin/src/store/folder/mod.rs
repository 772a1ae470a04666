//! The durable queue: a folder that one client has, with a redb database in it.
//!
//! ```text
//!   Folder ── place.rs: permissions, lock, names ── Book: one table ── redb ── medium.rs ── file
//!             rows: row.rs, body.rs · a commit: plan.rs · reading back: recover.rs · time: clock.rs
//! ```

mod answer;
mod body;
mod book;
mod clock;
mod inspect;
mod medium;
mod place;
mod plan;
mod recover;
mod row;
mod trouble;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use redb::StorageBackend;
use redb::backends::FileBackend;
use rejoin_core::{Publication, PublishId, Text};

#[cfg(unix)]
pub(super) use body::{get_body, put_body};
pub use clock::{Clock, Moment, SystemClock};
pub use medium::Medium;
/// What a [`Medium`] opens; redb's own trait.
pub use redb::StorageBackend as Backend;

use book::Book;
use place::Place;

use super::tools::{Answer, Request};
use super::{Record, Recovered, Store, StoreError, StoreStats};

/// Most parked messages kept; the oldest go first. They are for people to look at, not a second queue.
pub const PARKED_MOST: usize = 1000;

/// Whose queue it is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The client id; `None`: the one the queue remembers, if it does. A queue of another client is refused.
    pub client_id: Option<Text>,
    /// The servers' names, as the session knows them. A queue of which none of them is recorded is refused; empty: any.
    pub servers: Vec<String>,
}

/// How a queue is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderOptions {
    /// Memory for pages of the file, in bytes. Default 8 MiB: enough for what a queue touches, which is its two ends.
    pub cache_bytes: usize,
    /// Saves with each commit what a start after a crash would otherwise work out: a second sync for each commit, and a
    /// start in milliseconds instead of a second for a million messages. Default `false`.
    pub quick_repair: bool,
    /// A file larger than this, in bytes, of which less than a quarter is used is made smaller when there is nothing to
    /// do. Default 64 MiB: below that the space is not worth the writing.
    pub compact_above_bytes: u64,
}

impl Default for FolderOptions {
    fn default() -> Self {
        Self { cache_bytes: 8 << 20, quick_repair: false, compact_above_bytes: 64 << 20 }
    }
}

/// A queue in a folder of its own: accepted means that it survives this process and a power cut.
///
/// The folder is made if it is not there, for its owner only. One client has it at a time.
///
/// ```
/// use rejoin::store::{Folder, Identity, Store};
///
/// # let dir = std::env::temp_dir().join(format!("rejoin-doc-{}", std::process::id()));
/// let mut queue = Folder::open(&dir, &Identity::default())?;
/// assert!(queue.recover()?.waiting.is_empty());
/// # drop(queue);
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), rejoin::store::StoreError>(())
/// ```
#[derive(Debug)]
pub struct Folder {
    /// Closed before the rest: who waits at it is told that nobody answers, and the lock is held until it is gone.
    #[cfg(unix)]
    entrance: Option<super::door::Entrance>,
    book: Book,
    /// `None` on a medium that is no folder.
    place: Option<Arc<Placed>>,
    client_id: Option<Text>,
    /// No client knows what is in it.
    is_visit: bool,
}

impl Folder {
    /// Opens the queue in this folder, or begins one.
    ///
    /// # Errors
    /// [`StoreError`] names the folder and the remedy: in use, another client's, of another format, damaged, unusable.
    pub fn open(folder: impl AsRef<Path>, identity: &Identity) -> Result<Self, StoreError> {
        Self::open_with(folder, identity, FolderOptions::default(), SystemClock)
    }

    /// [`Folder::open`] with options and clocks of one's own.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn open_with(
        folder: impl AsRef<Path>,
        identity: &Identity,
        options: FolderOptions,
        clock: impl Clock + 'static,
    ) -> Result<Self, StoreError> {
        let place = Place::claim(folder.as_ref(), true)?;
        let shown = place.shown();
        let cannot = |error: io::Error| place::cannot(place.folder(), &error);
        if !place.is_begun()? {
            let file = place.begin_data().map_err(cannot)?;
            let backend =
                FileBackend::new(file).map_err(|error| trouble::Trouble::from(error).tell(&shown, false))?;
            book::create(Box::new(backend), &fresh(identity, &clock), &shown)?;
            place.finish_data().map_err(cannot)?;
        }
        place.note_format()?;
        let placed = Arc::new(Placed { place, data: Mutex::new(None) });
        let medium = Box::new(InFolder(Arc::clone(&placed)));
        let book = Book::open(medium, shown, options, Box::new(clock))?;
        let mut folder = Self {
            #[cfg(unix)]
            entrance: None,
            book,
            place: Some(placed),
            client_id: None,
            is_visit: false,
        };
        folder.identify(identity)?;
        Ok(folder)
    }

    /// Looks into a queue that no client has open: nothing is made, nobody is asked whose it is, and damage is no reason
    /// to refuse. Ask with [`Store::answer`].
    ///
    /// # Errors
    /// There is no queue, a client has it ([`StoreError::InUse`]: ask that one), or the file is damaged beyond reading.
    pub fn visit(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        let place = Place::claim(folder.as_ref(), false)?;
        place.is_begun()?;
        let shown = place.shown();
        let placed = Arc::new(Placed { place, data: Mutex::new(None) });
        let medium = Box::new(InFolder(Arc::clone(&placed)));
        let book = Book::open(medium, shown, FolderOptions::default(), Box::new(SystemClock))?;
        Ok(Self {
            #[cfg(unix)]
            entrance: None,
            book,
            place: Some(placed),
            client_id: None,
            is_visit: true,
        })
    }

    /// A queue on any medium, for tests with a disk of their own. An empty one is begun in place, so power may be cut on
    /// it only once this has returned; [`Folder::open`] begins under another name.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn on(
        mut medium: impl Medium + 'static,
        identity: &Identity,
        options: FolderOptions,
        clock: impl Clock + 'static,
    ) -> Result<Self, StoreError> {
        let shown = "the medium".to_owned();
        let tell = |error: io::Error| trouble::Trouble::from(error).tell(&shown, false);
        let backend = medium.open().map_err(tell)?;
        if backend.len().map_err(tell)? == 0 {
            book::create(backend, &fresh(identity, &clock), &shown)?;
        } else {
            backend.close().map_err(tell)?;
        }
        let book = Book::open(Box::new(medium), shown, options, Box::new(clock))?;
        let mut folder = Self {
            #[cfg(unix)]
            entrance: None,
            book,
            place: None,
            client_id: None,
            is_visit: false,
        };
        folder.identify(identity)?;
        Ok(folder)
    }

    /// Where it is; `None` on a medium that is no folder.
    pub fn path(&self) -> Option<&Path> {
        self.place.as_ref().map(|placed| placed.place.folder())
    }

    /// The client id the queue belongs to: given when it was begun, set later, or chosen by the server.
    pub const fn client_id(&self) -> Option<&Text> {
        self.client_id.as_ref()
    }

    /// Remembers a client id that was chosen after the queue was opened.
    ///
    /// # Errors
    /// [`StoreError::NotOurs`] if it belongs to another client; else as [`Store::commit`].
    pub fn set_client_id(&mut self, client_id: &Text) -> Result<(), StoreError> {
        self.identify(&Identity { client_id: Some(client_id.clone()), servers: Vec::new() })
    }

    /// The servers of this queue are these from now on, whatever was recorded: its server moved. The session stayed
    /// behind, so the next client begins a new one there, as after a session that was lost.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn move_to(&mut self, servers: Vec<String>) -> Result<(), StoreError> {
        let identity = row::Identity { servers, ..self.book.identity()? };
        self.book.set_identity(&identity)
    }

    /// A file that finds no room to become smaller is as good as before.
    fn tidy(&mut self) -> Result<(), StoreError> {
        match self.book.compact_if_worth_it() {
            Err(StoreError::NoSpace { .. }) => Ok(()),
            other => other,
        }
    }

    /// Refuses another client's queue, and notes what is new.
    fn identify(&mut self, given: &Identity) -> Result<(), StoreError> {
        let stored = self.book.identity()?;
        let known = stored.client_id.clone().or(self.book.assigned_client_id()?);
        let not_ours = |what, stored: String, given: String| StoreError::NotOurs {
            place: self.book.place.clone(),
            what,
            stored: stored.escape_debug().to_string(),
            given: given.escape_debug().to_string(),
        };
        if let (Some(known), Some(asks)) = (&known, &given.client_id)
            && known != asks
        {
            return Err(not_ours("client", known.to_string(), asks.to_string()));
        }
        let mut noted = stored.clone();
        if !given.servers.is_empty() {
            let is_known = given.servers.iter().any(|server| stored.servers.contains(server));
            if !is_known && !stored.servers.is_empty() {
                return Err(not_ours("server", stored.servers.join(", "), given.servers.join(", ")));
            }
            noted.servers.clone_from(&given.servers);
        }
        noted.client_id = noted.client_id.or_else(|| given.client_id.clone());
        self.client_id = known.or_else(|| given.client_id.clone());
        if noted != stored {
            self.book.set_identity(&noted)?;
        }
        Ok(())
    }
}

/// The identity of a queue that begins now.
fn fresh(identity: &Identity, clock: &impl Clock) -> row::Identity {
    row::Identity {
        created_wall_ms: clock.now().wall_ms,
        client_id: identity.client_id.clone(),
        servers: identity.servers.clone(),
    }
}

impl Store for Folder {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        let recovered = self.book.recover()?;
        self.tidy()?;
        Ok(recovered)
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        // A file that was deleted takes writes as before, and keeps none of them.
        if let Some(placed) = &self.place {
            placed.check()?;
        }
        self.book.commit(records)?;
        if self.client_id.is_none() {
            self.client_id = records.iter().rev().find_map(|record| match record {
                Record::ClientId { id } => Some(id.clone()),
                _ => None,
            });
        }
        Ok(())
    }

    fn load(&mut self, ids: &[PublishId]) -> Result<Vec<Option<Publication>>, StoreError> {
        self.book.load(ids)
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        if let Some(placed) = &self.place {
            placed.check()?;
        }
        self.tidy()
    }

    fn stats(&self) -> StoreStats {
        self.book.stats()
    }

    fn attend(&mut self, bell: super::Bell) {
        #[cfg(unix)]
        if self.place.is_some() {
            match super::door::Entrance::open(self, bell) {
                Ok(entrance) => self.entrance = Some(entrance),
                // Messages are kept all the same.
                Err(error) => tracing::warn!(%error, "nobody can look into the queue while it is in use"),
            }
        }
        #[cfg(not(unix))]
        drop(bell);
    }

    fn serve(&mut self) -> Vec<PublishId> {
        #[cfg(unix)]
        if let Some(entrance) = self.entrance.take() {
            let withdrawn = entrance.serve(self);
            self.entrance = Some(entrance);
            return withdrawn;
        }
        Vec::new()
    }

    fn answer(&mut self, request: &Request) -> Result<Answer, StoreError> {
        self.book.answer(request, !self.is_visit)
    }
}

/// The place, and the file in it that is open.
#[derive(Debug)]
struct Placed {
    place: Place,
    data: Mutex<Option<File>>,
}

impl Placed {
    fn check(&self) -> Result<(), StoreError> {
        match &*self.data.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(data) => self.place.check(data),
            None => Ok(()),
        }
    }
}

/// The file of a folder.
#[derive(Debug)]
struct InFolder(Arc<Placed>);

impl Medium for InFolder {
    fn open(&mut self) -> io::Result<Box<dyn StorageBackend>> {
        let file = self.0.place.open_data()?;
        *self.0.data.lock().unwrap_or_else(PoisonError::into_inner) = Some(file.try_clone()?);
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }
}
