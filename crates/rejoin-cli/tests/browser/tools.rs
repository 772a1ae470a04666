//! What the browser tests need from the system: Chromium, node with npm, and two packages of npm that are brought into
//! the build folder.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::browsers::BROWSERS;
use crate::skipped::skipped;

/// The scripts, built in so that the test binary needs no source folder.
const FILES: [(&str, &str); 10] = [
    ("package.json", include_str!("package.json")),
    ("harness.mjs", include_str!("harness.mjs")),
    ("page.mjs", include_str!("page.mjs")),
    ("demo.mjs", include_str!("demo.mjs")),
    ("report.mjs", include_str!("report.mjs")),
    ("model.mjs", include_str!("model.mjs")),
    // Parts of the page itself, for what can be tested without a browser.
    ("page/feed.js", include_str!("../../src/observe/page/feed.js")),
    ("page/format.js", include_str!("../../src/observe/page/format.js")),
    ("page/run.js", include_str!("../../src/observe/page/run.js")),
    ("page/timeline.js", include_str!("../../src/observe/page/timeline.js")),
];
/// For npm to bring 3 MB.
const NPM_LIMIT: Duration = Duration::from_secs(120);
/// Says that nothing may be installed.
const SWITCH: &str = "REJOIN_TEST_INSTALL";

static WRITTEN: OnceLock<Result<(), String>> = OnceLock::new();
static BROUGHT: OnceLock<Result<(), String>> = OnceLock::new();

/// node, and the folder with the scripts.
pub(crate) struct Node {
    node: PathBuf,
    folder: PathBuf,
}

/// The same with a browser and the packages to drive it.
pub(crate) struct Tools {
    node: Node,
    browser: PathBuf,
}

impl Node {
    /// Looks for it. Without it the test is skipped aloud.
    pub(crate) fn found(test: &str) -> Option<Self> {
        Self::find().map_err(|why| skipped(test, &why)).ok()
    }

    /// node with one of the scripts.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(self.folder.join(name)).current_dir(&self.folder);
        command
    }

    fn find() -> Result<Self, String> {
        let node = program("node").ok_or("node is missing; apt-get install nodejs npm")?;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
        // Once: while one test writes a file, another must not read half of it.
        WRITTEN
            .get_or_init(|| write(&folder).map_err(|error| format!("{}: {error}", folder.display())))
            .clone()?;
        Ok(Self { node, folder })
    }
}

impl Tools {
    /// Looks for the tools and brings the packages. Without them the test is skipped aloud.
    pub(crate) fn found(test: &str) -> Option<Self> {
        Self::find().map_err(|why| skipped(test, &why)).ok()
    }

    /// Where things of a test may lie; in the build folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.node.folder
    }

    /// node with one of the scripts that want a browser.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = self.node.script(name);
        command.env("REJOIN_CHROMIUM", &self.browser);
        command
    }

    fn find() -> Result<Self, String> {
        let browser = BROWSERS.iter().find_map(|name| program(name));
        let browser = browser.ok_or("chromium is missing; apt-get install chromium")?;
        let node = Node::find()?;
        BROUGHT.get_or_init(|| bring(&node.folder)).clone()?;
        Ok(Self { node, browser })
    }
}

fn write(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder.join("page"))?;
    FILES.iter().try_for_each(|(name, body)| fs::write(folder.join(name), body))
}

/// Name and version of what `package.json` asks for.
fn packages() -> Vec<(String, String)> {
    let wanted: serde_json::Value = serde_json::from_str(FILES[0].1).expect("package.json is JSON");
    let wanted = wanted["dependencies"].as_object().expect("it has dependencies").clone();
    wanted
        .into_iter()
        .map(|(name, version)| (name, version.as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn has(folder: &Path, name: &str, version: &str) -> bool {
    let manifest = fs::read(folder.join("node_modules").join(name).join("package.json")).unwrap_or_default();
    let manifest: Option<serde_json::Value> = serde_json::from_slice(&manifest).ok();
    manifest.is_some_and(|manifest| manifest["version"] == version)
}

/// Brings the packages that are not there yet.
fn bring(folder: &Path) -> Result<(), String> {
    if packages().iter().all(|(name, version)| has(folder, name, version)) {
        return Ok(());
    }
    if std::env::var(SWITCH).is_ok_and(|answer| answer == "no") {
        return Err(format!(
            "{SWITCH}=no is set and the packages in package.json are not there; npm install"
        ));
    }
    let npm = program("npm").ok_or("npm is missing; apt-get install npm")?;
    eprintln!("npm brings {:?} into the build folder ({SWITCH}=no forbids this)", packages());
    // No lock file and no script: the versions are exact, and neither package has anything to run.
    let mut child = std::process::Command::new(npm)
        .args([
            "install",
            "--no-package-lock",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ])
        .current_dir(folder)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("npm does not start: {error}"))?;
    let end = Instant::now() + NPM_LIMIT;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("npm could not bring its packages: {status}")),
            Ok(None) if Instant::now() < end => {}
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("npm took more than {} s", NPM_LIMIT.as_secs()));
            }
        }
        // waits: for npm, which tells nobody how far it is
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let path: OsString = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}
