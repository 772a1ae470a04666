//! Nodes that run as processes of ours: started, killed, started again, and all ended with their cluster.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at something that is on its way.
const LOOK: Duration = Duration::from_millis(50);

/// One node.
pub(super) struct Node {
    name: String,
    port: u16,
    log: PathBuf,
    command: Box<dyn Fn() -> Command>,
    child: Option<Child>,
}

impl Node {
    /// A node that this command starts, with its MQTT on this port. It does not run yet.
    pub(super) fn new(name: &str, port: u16, log: PathBuf, command: impl Fn() -> Command + 'static) -> Self {
        Self { name: name.to_owned(), port, log, command: Box::new(command), child: None }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Starts it, also after it was killed, with the data it had. Nothing where it runs.
    pub(super) fn start(&mut self) -> Result<(), String> {
        if self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None))) {
            return Ok(());
        }
        let told = |error: io::Error| format!("{}: {error}", self.name);
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).map_err(told)?;
        let mut command = (self.command)();
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(told)?).stderr(log);
        self.child = Some(command.spawn().map_err(told)?);
        Ok(())
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until it takes connections.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<(), String> {
        let end = Instant::now() + limit;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || Instant::now() > end {
                return Err(format!("{} does not come up; its log: {}", self.name, self.log.display()));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// A kind of broker asks its node in order to leave, and to come back to what it was.
pub(super) trait Manners {
    /// Asks a node to send its clients away. Returns at once or when it is done.
    fn drain(&self, node: &mut Node) -> Result<(), String>;
    /// Undoes it.
    fn revive(&self, node: &mut Node) -> Result<(), String>;
}

/// Nodes that belong together. Dropping it ends their processes, by their ids.
pub(super) struct Cluster {
    nodes: Vec<Node>,
    /// What the nodes need beside them.
    servants: Vec<Child>,
    data: PathBuf,
    manners: Box<dyn Manners>,
    hints: Vec<String>,
}

impl Cluster {
    /// A cluster of these nodes, with its data in a folder of its own.
    pub(super) fn new(data: PathBuf, nodes: Vec<Node>, manners: impl Manners + 'static) -> Self {
        Self { nodes, servants: Vec::new(), data, manners: Box::new(manners), hints: Vec::new() }
    }

    /// Runs beside the nodes and ends with them.
    pub(super) fn with_servant(mut self, servant: Child) -> Self {
        self.servants.push(servant);
        self
    }

    /// Something worth trying, for people.
    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Starts all nodes at once and waits for each.
    pub(super) fn started(mut self, limit: Duration) -> Result<Self, String> {
        for node in &mut self.nodes {
            node.start()?;
        }
        for node in &mut self.nodes {
            node.wait(limit)?;
        }
        Ok(self)
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn node(&mut self, n: usize) -> &mut Node {
        &mut self.nodes[n]
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    pub(super) fn hints(&self) -> &[String] {
        &self.hints
    }

    pub(super) fn drain(&mut self, n: usize) -> Result<(), String> {
        self.manners.drain(&mut self.nodes[n])
    }

    pub(super) fn revive(&mut self, n: usize) -> Result<(), String> {
        self.manners.revive(&mut self.nodes[n])
    }

    /// The servers as flags of rejoin.
    pub(super) fn flags(&self) -> Vec<String> {
        let mut flags = vec!["--clustered".to_owned()];
        flags.extend(self.nodes.iter().flat_map(|node| ["-L".to_owned(), node.url()]));
        flags
    }

    /// Ends the processes and removes their data.
    pub(super) fn end(self) -> Result<(), String> {
        let data = self.data.clone();
        drop(self);
        fs::remove_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill();
        }
        for servant in &mut self.servants {
            let _ = servant.kill();
            let _ = servant.wait();
        }
    }
}

/// Ports that are free now, all held until the last is found, so that they differ.
pub(super) fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let held = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let ports = |held: Vec<TcpListener>| {
        held.iter().map(|listener| listener.local_addr().map(|address| address.port())).collect()
    };
    let found: io::Result<Vec<u16>> = (0..count).map(held).collect::<io::Result<_>>().and_then(ports);
    found.map_err(|error| format!("no free ports: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ() {
        let mut ports = free_ports(20).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }
}
