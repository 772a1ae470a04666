//! A mosquitto of our own: its configuration, its log, its deaths.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::skipped::skipped;

/// Where Debian puts it; the folder is not on everybody's path.
const MOSQUITTO: &str = "/usr/sbin/mosquitto";

/// What the log says when the broker listens.
const RUNNING: &str = " running";

/// The line put into the log when the broker was killed.
pub(crate) const KILLED: &str = "# killed with -9";

/// A folder that goes away at the end, unless the test fails.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new folder, in memory where the system has that: a killed process loses nothing it wrote, and the broker
    /// writes its whole store again for every second message.
    pub(crate) fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rejoin-{name}-{}-{number}", std::process::id());
        let memory = Path::new("/dev/shm").join(&name);
        match std::fs::create_dir(&memory) {
            Ok(()) => Self(memory),
            Err(_) => Self::at(std::env::temp_dir().join(&name)),
        }
    }

    /// A new folder where a sync takes its time, beside this one.
    pub(crate) fn on_disk(&self) -> Self {
        let name = self.0.file_name().expect("it was given one").to_string_lossy();
        Self::at(std::env::temp_dir().join(format!("{name}-disk")))
    }

    fn at(path: PathBuf) -> Self {
        std::fs::create_dir(&path).expect("the temporary folder takes a new one");
        Self(path)
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in it and gives its path as text.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let path = self.file(name);
        std::fs::write(&path, content).expect("the folder is ours");
        path.to_str().expect("it has a plain name").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what happened is kept in {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A broker, running or dead. Dropping it kills the process.
pub(crate) struct Mosquitto {
    child: Option<Child>,
    namespace: Option<String>,
    configuration: PathBuf,
    log: PathBuf,
    pub(crate) address: String,
    pub(crate) port: u16,
}

impl Mosquitto {
    /// Whether it is installed; says so when not.
    pub(crate) fn is_here(test: &str) -> bool {
        let here = Path::new(MOSQUITTO).exists();
        if !here {
            skipped(test, &format!("{MOSQUITTO} is missing; apt-get install mosquitto"));
        }
        here
    }

    /// Starts one on loopback, at a port the system chooses once and every restart keeps.
    pub(crate) fn start(folder: &Folder) -> Self {
        Self::start_with(folder, "", "")
    }

    /// The same with settings of its own beside ours, and listeners beside the plain one.
    pub(crate) fn start_with(folder: &Folder, settings: &str, listeners: &str) -> Self {
        Self::configured(folder, "127.0.0.1", free_port(), None, settings, listeners)
    }

    /// Starts one at an address, in a network namespace.
    pub(crate) fn start_at(folder: &Folder, address: &str, port: u16, namespace: Option<&str>) -> Self {
        Self::configured(folder, address, port, namespace, "", "")
    }

    fn configured(
        folder: &Folder,
        address: &str,
        port: u16,
        namespace: Option<&str>,
        settings: &str,
        listeners: &str,
    ) -> Self {
        let configuration = folder.file("mosquitto.conf");
        // Its defaults lose acknowledged messages by themselves; these keep what they can.
        let text = format!(
            "per_listener_settings true\npersistence true\npersistence_location {}/\nautosave_interval 1\n\
             autosave_on_changes true\nmax_inflight_messages 0\nmax_queued_messages 100000\nlog_type all\n\
             log_dest stderr\nuser root\n{settings}listener {port} {address}\nallow_anonymous true\n{listeners}",
            folder.0.display()
        );
        std::fs::write(&configuration, text).expect("the folder is ours");
        let mut broker = Self {
            child: None,
            namespace: namespace.map(str::to_owned),
            configuration,
            log: folder.file("mosquitto.log"),
            address: address.to_owned(),
            port,
        };
        broker.run();
        broker
    }

    /// Starts the process and waits until it listens.
    pub(crate) fn run(&mut self) {
        let before = self.times_running();
        let log = self.log_file();
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, MOSQUITTO]);
                command
            }
            None => Command::new(MOSQUITTO),
        };
        let child = command
            .arg("-c")
            .arg(&self.configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            .spawn()
            .expect("it was there a moment ago");
        self.child = Some(child);
        let end = Instant::now() + Duration::from_secs(10);
        while self.times_running() == before {
            assert!(Instant::now() < end, "mosquitto did not start within 10 s:\n{}", self.log());
            // waits: for another process, which only writes to its log
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills it with -9, and notes that in its log.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().and_then(|()| child.wait()).expect("the child is ours");
        // It may have died in the middle of a line.
        self.log_file().write_all(format!("\n{KILLED}\n").as_bytes()).expect("the folder is ours");
    }

    /// Sends a signal by the system's own program.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id();
        let sent = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {id}");
    }

    /// All it logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn log_file(&self) -> File {
        OpenOptions::new().append(true).create(true).open(&self.log).expect("the folder is ours")
    }

    fn times_running(&self) -> usize {
        self.log().lines().filter(|line| line.ends_with(RUNNING)).count()
    }
}

/// A port of loopback that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
