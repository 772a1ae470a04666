//! A door into a queue that is in use: tools knock, and the one who has the store answers between two commits.
//!
//! ```text
//!   rejoin queue ── Visitor ── queue.sock in the folder ── Door (a thread) ── knock ──► keeper ── Store::answer
//! ```
//! One question and one answer for each connection. The client never waits for a tool: what is slow is the door's own
//! thread, and what the store does for one request is bounded.

mod bytes;

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rejoin_core::PublishId;

use super::tools::{Answer, Request};
use super::{Bell, Folder, Store, StoreError};

/// The socket in the folder.
const SOCKET: &str = "queue.sock";
const UNFINISHED: &str = "queue.sock.new";
/// What the path of a socket may have on any system, in bytes; Linux takes 107.
const PATH_MOST: usize = 100;
/// Most bytes of a question.
const QUESTION_MOST: u32 = 1 << 17;
/// Most bytes of an answer: a page, or the largest message MQTT can carry.
const ANSWER_MOST: u32 = 300 << 20;
/// Questions heard and not answered. The door hears one at a time, so one would do.
const AT_THE_DOOR: usize = 4;
/// A visitor that says nothing for so long is sent away; others wait behind it.
const QUESTION_LIMIT: Duration = Duration::from_secs(2);
/// So long the store may take for an answer: compaction of a large file is the longest.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// A question that someone waits for an answer to.
#[derive(Debug)]
pub struct Knock {
    request: Request,
    reply: SyncSender<Answer>,
}

impl Knock {
    /// What is asked.
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// Asks the store and passes the answer on. Gives messages that the client is to withdraw, which the answer counts as
    /// withdrawn already: those under way stay all the same.
    pub fn serve(self, store: &mut dyn Store) -> Vec<PublishId> {
        let mut withdraw = Vec::new();
        let answer = match store.answer(&self.request) {
            Ok(Answer::Withdraw { ids, messages, bytes }) => {
                withdraw = ids;
                Answer::Purged { messages: messages + withdraw.len() as u64, bytes }
            }
            Ok(answer) => answer,
            Err(error) => Answer::Refused(error.to_string()),
        };
        self.answer(answer);
        withdraw
    }

    /// Answers it in another way. A visitor that is gone misses nothing.
    pub fn answer(self, answer: Answer) {
        let _ = self.reply.try_send(answer);
    }
}

/// Listens in the folder of a queue until it is dropped.
#[derive(Debug)]
pub struct Door {
    socket: PathBuf,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Device and number of the socket's file, so that only ours is removed.
    is: (u64, u64),
}

impl Door {
    /// Opens a door into the folder of this queue. `knock` is called on the door's thread with each question and must
    /// not block for long; it gives `false` when nobody is there to answer any more.
    ///
    /// # Errors
    /// [`StoreError::Place`] where the socket cannot be made. A queue without a door works all the same.
    pub fn open(folder: &Folder, knock: impl Fn(Knock) -> bool + Send + 'static) -> Result<Self, StoreError> {
        let Some(path) = folder.path() else {
            let what = "a queue that is no folder has no door".to_owned();
            return Err(StoreError::Place { place: String::new(), what });
        };
        let failed = |error: io::Error| StoreError::Place {
            place: path.display().to_string(),
            what: format!("`{SOCKET}` in it, where tools ask, cannot be made: {error}"),
        };
        let socket = path.join(SOCKET);
        let listener = listen(path).map_err(failed)?;
        let made = fs::symlink_metadata(&socket).map_err(failed)?;
        let closing = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&closing);
        let thread = std::thread::Builder::new()
            .name("rejoin-door".to_owned())
            .spawn(move || attend(&listener, &seen, &knock))
            .map_err(failed)?;
        Ok(Self { socket, closing, thread: Some(thread), is: (made.dev(), made.ino()) })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        // The thread waits for a visitor: be one. What cannot be woken is left to end with the process.
        let woken = self.socket.parent().is_some_and(|folder| connect(folder).is_ok());
        if let Ok(found) = fs::symlink_metadata(&self.socket)
            && (found.dev(), found.ino()) == self.is
        {
            let _ = fs::remove_file(&self.socket);
        }
        if let Some(thread) = self.thread.take()
            && woken
        {
            let _ = thread.join();
        }
    }
}

/// The door of a folder and who stands at it.
#[derive(Debug)]
pub(super) struct Entrance {
    /// Dropped first, so that nobody at the door waits for an answer.
    knocks: Receiver<Knock>,
    _door: Door,
}

impl Entrance {
    pub(super) fn open(folder: &Folder, bell: Bell) -> Result<Self, StoreError> {
        let (sender, knocks) = sync_channel(AT_THE_DOOR);
        let door = Door::open(folder, move |knock| {
            let heard = sender.send(knock).is_ok();
            bell();
            heard
        })?;
        Ok(Self { knocks, _door: door })
    }

    /// Answers everybody. Gives the messages that the client is to withdraw.
    pub(super) fn serve(&self, store: &mut dyn Store) -> Vec<PublishId> {
        let mut withdraw = Vec::new();
        for knock in self.knocks.try_iter().take(AT_THE_DOOR) {
            withdraw.extend(knock.serve(store));
        }
        withdraw
    }
}

/// Made under another name with its permissions, so that it is never open to others.
fn listen(folder: &Path) -> io::Result<UnixListener> {
    for name in [UNFINISHED, SOCKET] {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let listener = with_short_path(folder, UNFINISHED, |path| UnixListener::bind(path))?;
    fs::set_permissions(folder.join(UNFINISHED), fs::Permissions::from_mode(0o600))?;
    fs::rename(folder.join(UNFINISHED), folder.join(SOCKET))?;
    Ok(listener)
}

fn connect(folder: &Path) -> io::Result<UnixStream> {
    with_short_path(folder, SOCKET, |path| UnixStream::connect(path))
}

/// The path of a socket is short on every system. Where it would be too long the folder is named by a descriptor.
fn with_short_path<T>(folder: &Path, name: &str, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = folder.join(name);
    if path.as_os_str().len() <= PATH_MOST {
        return work(&path);
    }
    if !cfg!(target_os = "linux") {
        let what = format!("the path of a socket has at most {PATH_MOST} bytes; use a shorter folder");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    use std::os::fd::AsRawFd;
    let handle = fs::File::open(folder)?;
    work(&Path::new("/proc/self/fd").join(handle.as_raw_fd().to_string()).join(name))
}

fn attend(listener: &UnixListener, closing: &AtomicBool, knock: &dyn Fn(Knock) -> bool) {
    loop {
        let visitor = listener.accept();
        if closing.load(Ordering::Acquire) {
            return;
        }
        match visitor {
            Ok((stream, _)) => {
                if !hear(stream, knock).unwrap_or(true) {
                    return;
                }
            }
            // Too many open files, say. Others may be served when that is over.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// One question. `false`: nobody answers any more.
fn hear(mut stream: UnixStream, knock: &dyn Fn(Knock) -> bool) -> io::Result<bool> {
    stream.set_read_timeout(Some(QUESTION_LIMIT))?;
    stream.set_write_timeout(Some(QUESTION_LIMIT))?;
    let question = receive(&mut stream, QUESTION_MOST)?;
    let (reply, answer) = sync_channel(1);
    let answer = match bytes::request(&question) {
        Err(flaw) => Answer::Refused(format!("the question cannot be read ({flaw}); use the same rejoin")),
        Ok(request) => {
            if !knock(Knock { request, reply }) {
                return Ok(false);
            }
            let gone = "the client did not answer in time; it is ending, or its disk stands still";
            answer.recv_timeout(ANSWER_LIMIT).unwrap_or_else(|_| Answer::Refused(gone.to_owned()))
        }
    };
    send(&mut stream, &bytes::put_answer(&answer))?;
    Ok(true)
}

fn send(stream: &mut UnixStream, body: &[u8]) -> io::Result<()> {
    let len = u32::try_from(body.len()).map_err(|_| io::Error::other("too long for one answer"))?;
    stream.write_all(&len.to_le_bytes())?;
    stream.write_all(body)
}

/// Memory grows with what comes, not with what is announced.
fn receive(stream: &mut UnixStream, most: u32) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len);
    if len > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than the limit"));
    }
    let mut body = Vec::new();
    stream.take(u64::from(len)).read_to_end(&mut body)?;
    if body.len() as u64 == u64::from(len) { Ok(body) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Asks a queue, whoever has it: the client through its door, or this program itself.
///
/// ```
/// use rejoin::store::{Folder, Identity, Visitor, tools::{Answer, Request}};
///
/// # let dir = std::env::temp_dir().join(format!("rejoin-visit-{}", std::process::id()));
/// drop(Folder::open(&dir, &Identity::default())?);
/// let mut queue = Visitor::enter(&dir)?;
/// let Answer::Stats(stats) = queue.ask(&Request::Stats)? else { unreachable!() };
/// assert_eq!((stats.waiting, queue.is_live()), (0, false));
/// # drop(queue);
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), rejoin::store::StoreError>(())
/// ```
#[derive(Debug)]
pub struct Visitor {
    at: At,
}

#[derive(Debug)]
enum At {
    Rest(Box<Folder>),
    Door { folder: PathBuf, by: String },
}

impl Visitor {
    /// Finds out who has the queue in this folder.
    ///
    /// # Errors
    /// As [`Folder::visit`]; [`StoreError::InUse`] when a client has it that opened no door.
    pub fn enter(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        let folder = folder.as_ref();
        match Folder::visit(folder) {
            Ok(queue) => Ok(Self { at: At::Rest(Box::new(queue)) }),
            Err(StoreError::InUse { by, .. }) if fs::symlink_metadata(folder.join(SOCKET)).is_ok() => {
                Ok(Self { at: At::Door { folder: folder.to_owned(), by } })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a client has the queue at this moment.
    pub const fn is_live(&self) -> bool {
        matches!(self.at, At::Door { .. })
    }

    /// Who has the queue at this moment, and since when; `None`: nobody but us.
    pub fn owner(&self) -> Option<&str> {
        match &self.at {
            At::Rest(_) => None,
            At::Door { by, .. } => Some(by),
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The queue cannot be read, or the client that has it does not answer.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, StoreError> {
        let (folder, by) = match &mut self.at {
            At::Rest(queue) => return queue.answer(request),
            At::Door { folder, by } => (folder, by),
        };
        let asked = || -> io::Result<Vec<u8>> {
            let mut stream = connect(folder)?;
            stream.set_write_timeout(Some(QUESTION_LIMIT))?;
            stream.set_read_timeout(Some(ANSWER_LIMIT + QUESTION_LIMIT))?;
            send(&mut stream, &bytes::put_request(request))?;
            receive(&mut stream, ANSWER_MOST)
        };
        let failed = |what: String| StoreError::Io {
            place: folder.display().to_string(),
            what: format!("the client that has it ({by}) does not answer: {what}; ask again"),
        };
        let answer = asked().map_err(|error| failed(error.to_string()))?;
        bytes::answer(&answer).map_err(|flaw| failed(flaw.to_owned()))
    }
}
